"""Batches of a Dataset through torch's DataLoader, in the order and with the random draws of (seed, epoch, sample)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from ncbench.data.map_set import NO_EPOCH, TRANSFORM, MapSet
from ncbench.data.order import hash64
from ncbench.data.passes import Batch, Passes, placed

__all__ = ["MapLoader", "random_draws"]

_Key = tuple[int, int]  # the place of a sample in the set, and the 64 bits that seed its random transforms


class MapLoader(Passes):
    """Iterable over (x, y): x (B, ...), y (B,) int64, on the CPU.

    While a sample is read, Python's, numpy's and torch's generators draw what a hash of (seed, epoch, position in the
    Dataset) seeds, so that a random transform does the same to it whatever the batch, the worker and what was drawn
    before. With `shuffle=False` the draws are those of no epoch: the same in every pass.

    Args:
        data, batch_size, epoch, shuffle, drop_last, seed: as of `Passes`; `seed` is that of the draws too.
        num_workers: processes that read ahead; 0 reads in this one.
        keep_workers: leave them running between the passes.
        dtype: of x where it is floats; None for that of the Dataset.
    """

    def __init__(
        self,
        data: MapSet,
        batch_size: int | None,
        *,
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        keep_workers: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(data, batch_size, seed=seed, epoch=epoch, shuffle=shuffle, drop_last=drop_last)
        self.data, self.dtype = data, dtype
        self._keys: list[list[_Key]] = []
        self._reader: DataLoader[Any] = DataLoader(
            _Samples(data),
            batch_sampler=_Listed(self._keys),
            num_workers=num_workers,
            collate_fn=_Together(data),
            generator=torch.Generator(),  # of its own: nothing is drawn from the global one
            persistent_workers=keep_workers and num_workers > 0,
        )

    @override
    def _batches(self, epoch: int) -> Iterator[Batch]:
        order = self._order(epoch)
        places = torch.arange(self.num_samples) if order is None else order
        words = hash64(self.seed, TRANSFORM, epoch if self.shuffle else NO_EPOCH, self.data.positions[places])
        keys = list(zip(places.tolist(), words.tolist(), strict=True))
        self._keys[:] = [keys[start:end] for start, end in self._rows()]
        for inputs, chosen in self._reader:
            yield placed(inputs, self.dtype), self.data.labels[chosen]


class _Listed:
    """A sampler that reads the batches of the coming pass from a list."""

    def __init__(self, keys: list[list[_Key]]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[list[_Key]]:
        return iter(list(self.keys))

    def __len__(self) -> int:
        return len(self.keys)


class _Samples(Dataset[tuple[int, Any]]):
    """(place, sample) for a key."""

    def __init__(self, data: MapSet) -> None:
        self.data = data

    @override
    def __getitem__(self, key: _Key) -> tuple[int, Any]:
        place, word = key
        return place, self.data.sample(place, word)

    def __len__(self) -> int:
        return len(self.data)


class _Together:
    """(inputs (B, ...), places (B,)) of several samples."""

    def __init__(self, data: MapSet) -> None:
        self.data = data

    def __call__(self, samples: list[tuple[int, Any]]) -> tuple[Tensor, Tensor]:
        places = torch.tensor([place for place, _ in samples])
        return self.data.batch([sample for _, sample in samples], places), places


def random_draws(data: MapSet) -> str | None:
    """How a Dataset is random: "drawn" by generators that can be seeded, "own" by others; None where it is not.

    Seen from the first, the middle and the last sample, each read eight times: an augmentation that does something in
    every second reading is missed with probability 2^-21, one in every hundredth mostly.
    """
    places = sorted({0, len(data) // 2, len(data) - 1})
    drawn = None
    for place in places:
        words = [int(hash64(TRANSFORM, word, place)) for word in range(8)]
        same = [data.batch([data.sample(place, words[0])], torch.tensor([place])) for _ in range(2)]
        if not torch.equal(same[0], same[1]):
            return "own"
        others = (data.batch([data.sample(place, word)], torch.tensor([place])) for word in words[1:])
        if drawn is None and not all(torch.equal(same[0], other) for other in others):
            drawn = "drawn"
    return drawn
