"""The batches of a DataLoader whose order is not one of torch's usual two."""

from collections.abc import Callable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from typing_extensions import override

from ncbench.data.map_set import class_indices
from ncbench.data.order import ORDER, hash64
from ncbench.data.passes import Batch, Resumable, batch_sizes, placed
from ncbench.data.samples import Draws, check_finite, input_of, label_of, split

__all__ = ["GivenLoader", "has_known_order"]


class GivenLoader(Resumable):
    """The batches of a DataLoader as they come, (x, y), y the classes 0..K-1.

    Whenever a batch is asked for, Python's, numpy's and torch's generators go on with draws that a hash of (seed,
    epoch) seeded when the pass began, and are as before afterwards. `values` (K,) are the class numbers of the Dataset,
    `name` is what errors call a batch.
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
    sampler = loader.sampler
    if loader.batch_size is None:  # it has a batch_sampler instead
        return False
    if type(sampler) is RandomSampler:
        return not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    return type(sampler) is SequentialSampler
