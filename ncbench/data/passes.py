"""Passes over a set in batches: which samples come in which order, given (seed, epoch), and in which batch."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.order import epoch_order

__all__ = ["Batch", "Passes", "Resumable", "batch_sizes", "placed"]

Batch = tuple[Tensor, Tensor]


class Resumable:
    """A loader whose pass can be gone on with: the first batches of the next one are left out, as many as were read.

    Lightning asks for the state with every checkpoint, and gives it back before the first pass of a resumed training.
    """

    _first = 0  # batches to leave out
    _read = 0  # of the pass that is going on

    def __len__(self) -> int:
        raise NotImplementedError

    def state_dict(self) -> dict[str, int]:
        """How many batches of a pass have been read; 0 between two passes."""
        return {"batches": self._read % len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next pass begin after so many batches."""
        self._first = state["batches"]

    def _rest(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        first, self._first = self._first, 0
        self._read = first
        for batch in islice(batches, first, None):
            self._read += 1
            yield batch


class Passes(Resumable):
    """Iterable over (x (B, ...), y (B,) int64) of the N samples of `data`; a subclass reads the batches.

    The order of a pass is a function of (seed, epoch) (see `ncbench.data.order`); no random generator is touched. With
    `shuffle=False` every sample comes once, in the order of the set, whatever the epoch.

    Args:
        batch_size: samples per batch; None takes all of them as one batch.
        seed: of the order.
        epoch: asked when a pass begins (at `__iter__`); None counts the passes of this object.
        shuffle: False keeps the order of the set.
        drop_last: leave out a last batch that is smaller. The default keeps it: class means must not lose samples.

    Lightning takes it as any sized iterable: it asks `iter()` once per epoch, prefetches nothing and adds no sampler.
    Raises ValueError for a batch size below 1, and for a set without samples.
    """

    begins_anew = True  # at every `__iter__`: a rehearsal of the measurements needs no whole pass to find it out

    def __init__(
        self,
        data: Sized,
        batch_size: int | None,
        *,
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if len(data) == 0:
            raise ValueError("data must hold at least one sample")
        self.num_samples = len(data)
        self.batch_size = self.num_samples if batch_size is None else batch_size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self._epoch = epoch
        self._passes = 0

    @override
    def __len__(self) -> int:
        whole, left = divmod(self.num_samples, self.batch_size)
        return whole if self.drop_last or not left else whole + 1

    @property
    def sizes(self) -> list[int]:
        """The different sizes of the batches of a pass, ascending."""
        return batch_sizes(self.num_samples, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        # Not a generator itself: the epoch is asked here and not when the first batch is wanted.
        epoch = self._passes if self._epoch is None else self._epoch()
        self._passes += 1
        return self._rest(self._batches(epoch))

    @abstractmethod
    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass."""

    def _order(self, epoch: int, device: Any = None) -> Tensor | None:
        """The samples of a pass one after another, (N,) int64; None for the order of the set."""
        return epoch_order(self.seed, epoch, self.num_samples, device) if self.shuffle else None

    def _rows(self) -> Iterator[tuple[int, int]]:
        """(first, end) of every batch among the samples of a pass."""
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield start, min(start + self.batch_size, self.num_samples)


def batch_sizes(num_samples: int, batch_size: int, drop_last: bool) -> list[int]:
    """The different sizes of the batches that so many samples make, ascending.

    >>> batch_sizes(100, 33, False), batch_sizes(100, 33, True), batch_sizes(7, 33, False), batch_sizes(7, 33, True)
    ([1, 33], [33], [7], [])
    """
    whole, left = divmod(num_samples, batch_size)
    return sorted({*([batch_size] if whole else []), *([left] if left and not drop_last else [])})


def placed(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The inputs of a batch with floats in this precision (None: their own) and images (B, C, H, W) with channels last.

    Convolutions are faster on these.
    """
    x = x.to(dtype) if x.is_floating_point() and dtype is not None else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
