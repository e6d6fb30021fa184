"""The batches of a DataLoader whose order is not one of torch's usual two."""

from collections.abc import Callable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from typing_extensions import override

from ncbench.data.class_numbers import class_indices
from ncbench.data.draws import Draws, drawing
from ncbench.data.order import ORDER, hash64
from ncbench.data.passes import Batch, Resumable, batch_sizes, placed
from ncbench.data.samples import check_finite, input_of, label_of, split

__all__ = ["GivenLoader", "has_known_order", "has_own_batches", "part_of_every_pass"]


class GivenLoader(Resumable):
    """The batches of a DataLoader as they come, (x, y), y the classes 0..K-1.

    Samplers with a `set_epoch` are told the epoch. Whenever a batch is asked for, Python's, numpy's and torch's
    generators go on with draws that a hash of (seed, epoch) seeded when the pass began, and are as before afterwards.
    `values` (K,) are the class numbers of the Dataset, `name` is what errors call a batch.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        name: str,
        values: Tensor,
        *,
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.loader, self.name, self.values, self.seed, self.dtype = loader, name, values, seed, dtype
        self._epoch, self._passes = epoch, 0

    @override
    def __len__(self) -> int:
        return len(self.loader)

    @property
    def sizes(self) -> list[int]:
        """The different sizes of the batches of a pass, ascending; none where a sampler of batches decides them."""
        if self.loader.batch_size is None or not isinstance(self.loader.sampler, Sized):
            return []
        return batch_sizes(len(self.loader.sampler), self.loader.batch_size, self.loader.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self._passes if self._epoch is None else self._epoch()
        self._passes += 1
        tell_epoch(self.loader, epoch)
        return self._rest(self._batches(int(hash64(self.seed, ORDER, epoch))))

    def _batches(self, word: int) -> Iterator[Batch]:
        draws, batches, name = Draws(word), None, self.name
        while True:
            with draws.resumed():
                batches = iter(self.loader) if batches is None else batches
                batch = next(batches, None)
            if batch is None:
                return
            inputs, labels = split(batch, name)
            own = torch.tensor([label_of(label, name) for label in labels], dtype=torch.int64)
            yield placed(check_finite(input_of(inputs, name), name), self.dtype), class_indices(own, self.values, name)


def has_known_order(loader: DataLoader[Any]) -> bool:
    """Whether its batches are consecutive samples of the Dataset's order, or of a permutation of all of them."""
    sampler, dataset = loader.sampler, loader.dataset
    if loader.batch_size is None or has_own_batches(loader):  # it has a batch_sampler instead, or another pass
        return False
    if type(sampler) is RandomSampler:
        drawn_from = len(sampler.data_source)
        return not sampler.replacement and sampler.num_samples == drawn_from == len(dataset)  # type: ignore[arg-type]
    return type(sampler) is SequentialSampler and len(sampler) == len(dataset)  # type: ignore[arg-type]


def has_own_batches(loader: DataLoader[Any]) -> bool:
    """Whether its class has an `__iter__` of its own, which may change the batches."""
    return type(loader).__iter__ is not DataLoader.__iter__


def tell_epoch(loader: DataLoader[Any], epoch: int) -> None:
    """Call `set_epoch` of its samplers, of which the order is a function of the epoch, as Lightning does."""
    batches: Any = loader.batch_sampler
    for sampler in (loader.sampler, batches, getattr(batches, "sampler", None)):
        if callable(getattr(sampler, "set_epoch", None)):
            sampler.set_epoch(epoch)  # type: ignore[union-attr]


def part_of_every_pass(loader: DataLoader[Any]) -> Tensor | None:
    """The positions (m,) int64, ascending, of the m < n samples that a sampler of its own draws once in every pass.

    So a SubsetRandomSampler splits a Dataset of n. None where a pass draws every sample, where two passes draw others,
    or one sample twice: then which samples it trains on is left to chance, and all of them count.
    """
    if has_known_order(loader):
        return None
    dataset: Any = loader.dataset
    size = len(dataset)
    passes = []
    for epoch in range(2):
        tell_epoch(loader, epoch)
        passes.append(_drawn(loader, epoch, size))
    if passes[0] is None or passes[0] != passes[1] or not 0 < len(passes[0]) < size:
        return None
    return torch.tensor(passes[0], dtype=torch.int64)


def _drawn(loader: DataLoader[Any], word: int, size: int) -> list[int] | None:
    """What one pass draws, ascending; None where it draws a sample twice or what is no position."""
    sampler: Any = loader.batch_sampler if loader.batch_size is None else loader.sampler
    generator = getattr(sampler, "generator", None)
    state = generator.get_state() if isinstance(generator, torch.Generator) else None
    drawn: set[int] = set()
    try:
        with drawing(word):
            for entry in sampler:
                for position in list(entry) if loader.batch_size is None else [entry]:
                    place = int(position)
                    if place in drawn or not 0 <= place < size:
                        return None
                    drawn.add(place)
    except (TypeError, ValueError):  # keys that are no numbers
        return None
    finally:
        if isinstance(generator, torch.Generator) and state is not None:
            generator.set_state(state)
    return sorted(drawn)
