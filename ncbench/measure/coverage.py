"""Which samples one pass over a loader sees: counted, never taken for granted.

Class means are averages, so a sample that is seen twice, or not at all, moves every number. Of a DataLoader over a
dataset with a length it is known what a pass should see:

    in torch's own orders (sequential, shuffled, distributed), as many samples as the dataset has;
    with any other sampler or batch sampler, the indices that it draws are looked at while the pass goes on: one drawn
    twice is refused, and indices that are never drawn (a subset, on purpose) are said in the log.

A loader of another kind that has a `dataset` with a length is compared with that length, which the log says too. What
has neither is measured as it comes.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from ncbench.measure.notices import Notices

__all__ = [
    "ONCE",
    "Coverage",
    "SameSamples",
    "check_range",
    "check_same_classes",
    "class_counts",
    "ends_for_good",
    "is_indexed",
    "samples_expected",
]

ONCE = "every sample must be measured exactly once"


class Coverage:
    """What one pass over `loader` sees; the pass goes over `watched` in its place."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = self.watched = loader
        self.size = _length(getattr(loader, "dataset", None))
        self._drawn: _Drawn | None = None
        if is_indexed(loader) and samples_expected(loader) is None:
            assert isinstance(loader, DataLoader)
            of_batches = loader.batch_sampler is not None
            sampler = loader.batch_sampler if of_batches else loader.sampler
            self._drawn = _Drawn(sampler, of_batches, self.size or 0)
            # A copy, as a loader does not let its sampler be exchanged; workers that stay alive would keep the old one.
            self.watched = copy.copy(loader)
            vars(self.watched).update({"batch_sampler" if of_batches else "sampler": self._drawn, "_iterator": None})

    def complaint(self, samples: int | None) -> str | None:
        """Why the `samples` that this pass gave are not what it should measure; None where they are, or not known."""
        if self._drawn is not None:
            return self._drawn.complaint()
        if isinstance(self.loader, DataLoader) and samples is not None and samples > (self.size or samples):
            return f"{ONCE}, but the loader gave {samples} samples of a dataset of {self.size}"
        return None

    def rehearse(self) -> str | None:
        """As `complaint`, before a pass, from the order in which samples will be drawn; no data is read."""
        if self._drawn is not None:
            for _ in self._drawn:
                pass
            return self._drawn.complaint()
        expected = samples_expected(self.loader)
        batches: Any = getattr(self.loader, "batch_sampler", None)
        left = 0 if expected is None or not batches.drop_last else len(batches.sampler) % batches.batch_size
        return f"{ONCE}, but drop_last leaves out {left} of the {expected} samples" if left else None

    def warn(self, samples: int, notices: Notices) -> None:
        """Say in the log that a pass saw other samples than the dataset has, where that may be on purpose."""
        seen = samples if self._drawn is None else self._drawn.distinct()
        if self.size is not None and seen != self.size and samples_expected(self.loader) is None:
            notices.warn(
                "coverage",
                str(self.size),
                "the loader gives %d of the %d samples of its dataset, so the measures are of these alone",
                seen,
                self.size,
            )


class _Drawn:
    """A sampler, or a sampler of batches, that remembers the indices of its last pass.

    A pass that draws more than the `size` indices there are ends with a ValueError: some samplers never end.
    """

    def __init__(self, sampler: Any, of_batches: bool, size: int) -> None:
        self.sampler, self.of_batches, self.size = sampler, of_batches, size
        self.indices: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        self.indices = []
        for drawn in self.sampler:
            # A sampler of batches may give any iterable, also one that is read once.
            given = list(drawn) if self.of_batches else drawn
            self.indices += given if self.of_batches else [given]
            complaint = self.complaint() if len(self.indices) > self.size else None
            if complaint is not None:
                raise ValueError(complaint)
            yield given

    def __len__(self) -> int:
        return len(self.sampler)

    def distinct(self) -> int:
        """How many different indices were drawn; those that cannot be compared count as different."""
        try:
            return len(set(self.indices))
        except TypeError:
            return len(self.indices)

    def complaint(self) -> str | None:
        """That an index was drawn twice, or that the last batch was left out."""
        inner = getattr(self.sampler, "sampler", None)
        name = type(self.sampler if inner is None else inner).__name__
        again = len(self.indices) - self.distinct()
        if again:
            drawn = len(self.indices)
            return f"{ONCE}, but {name} drew {again} of its first {drawn} samples again; give a loader without it"
        available = _length(inner)
        if getattr(self.sampler, "drop_last", False) and available is not None and len(self.indices) < available:
            return (
                f"{ONCE}, but drop_last left out {available - len(self.indices)} of the {available} samples of {name}"
            )
        return None


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """How many of the labels (N,) are of each class, (K,), without waiting for their device; others count nowhere."""
    counts = labels.new_zeros(num_classes + 1)
    known = (labels >= 0) & (labels < num_classes)
    return counts.index_add_(0, torch.where(known, labels, num_classes), torch.ones_like(labels))[:-1]


class SameSamples:
    """Whether each measurement of a series has seen as many samples of each class as the first one."""

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def compare(self, class_counts: Mapping[str, Tensor], notices: Notices) -> None:
        """Say in the log where the samples of a split, (K,) by class, are others than those of the first time."""
        for split, counts in class_counts.items():
            before = self._first.setdefault(split, counts)
            if not torch.equal(before, counts):
                notices.warn(
                    "samples",
                    split,
                    "the loader of %s gives other samples than at the first measurement: %d of class %d, then %d "
                    "(%d and %d in all)",
                    split,
                    *_difference(before, counts),
                )


def check_range(labels: Tensor, num_classes: int) -> None:
    """ValueError for labels outside [0, K)."""
    if not labels.numel():
        return
    low, high = torch.stack(labels.aminmax()).tolist()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"num_classes={num_classes} needs labels in [0, {num_classes - 1}], but the data has labels in "
            f"[{low}, {high}]"
        )


def check_same_classes(first: Tensor, again: Tensor) -> None:
    """ValueError where two passes over one loader, of which these are the samples per class (K,), differ."""
    if torch.equal(first.cpu(), again.cpu()):
        return
    was, which, now, before, after = _difference(first, again)
    raise ValueError(
        f"the loader must give the same samples in every pass, but it gave {before} and then {after} ({was} and then "
        f"{now} of class {which}); give one that begins anew each time"
    )


def _difference(first: Tensor, again: Tensor) -> tuple[int, int, int, int, int]:
    """Of the first class that differs: samples before, its number, samples now; then those of all, before and now."""
    which = int((first.cpu() != again.cpu()).nonzero()[0])
    return int(first[which]), which, int(again[which]), int(first.sum()), int(again.sum())


def is_indexed(loader: Iterable[Any]) -> bool:
    """Whether it is a DataLoader over a dataset of known length, from which a sampler chooses."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    return _length(loader.dataset) is not None


def samples_expected(loader: Iterable[Any]) -> int | None:
    """The size of the dataset, where torch's own order goes through all of it once; None where that is not known."""
    if not is_indexed(loader):
        return None
    assert isinstance(loader, DataLoader)
    batches: Any = loader.batch_sampler
    if type(batches) is not BatchSampler:  # without one an item of the dataset may be a batch
        return None
    sampler: Any = batches.sampler
    if isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples != len(sampler.data_source)):
        return None
    return _length(loader.dataset) if type(sampler) in (SequentialSampler, RandomSampler, DistributedSampler) else None


def ends_for_good(loader: Iterable[Any]) -> bool:
    """Whether it certainly can be read only once: a generator, map, zip or another iterator that is not a class of its
    own. An iterator whose class defines `__iter__` may begin anew, and is found out by reading it.
    """
    return isinstance(loader, Iterator) and not isinstance(getattr(type(loader), "__iter__", None), FunctionType)


def _length(value: Any) -> int | None:
    """Its length, None where it has none."""
    try:
        return len(value)
    except TypeError:
        return None
