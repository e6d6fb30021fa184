"""Measuring with several processes: every sample on exactly one of them, no padding, and the sums of all.

Lightning's DistributedSampler repeats samples until every rank has as many as the others, which moves class means.
So a loader is divided here:

    - a DataLoader over a dataset with a length, in any of torch's own orders (sequential, shuffled, distributed):
      rank r of P loads the samples r, r + P, r + 2P, ... of the dataset;
    - any other iterable: every rank iterates it and measures the batches r, r + P, ...; it must yield the same
      batches on every rank, which is checked by their labels;
    - sharded=True: the loader gives each rank its own samples already, and is used as it is.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, SequentialSampler

from ncbench.core import ClassMoments
from ncbench.measure.packing import merged, pack

__all__ = ["ProcessGroup", "Shard"]

Key = tuple[str, str]


class ProcessGroup:
    """The processes that measure together; alone unless `distributed` and torch.distributed is initialised."""

    def __init__(self, distributed: bool) -> None:
        together = distributed and dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    def total(self, x: Tensor) -> Tensor:
        """The sum over the ranks, in a new tensor."""
        if self.size == 1:
            return x
        x = x.clone()
        dist.all_reduce(x)
        return x

    def from_first(self, x: Tensor) -> None:
        """Overwrite x with rank 0's."""
        dist.broadcast(x, src=0)

    def gathered(self, value: Any) -> list[Any]:
        """A small object of every rank, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def together(self, run: Callable[[], None]) -> None:
        """Run what each rank does by itself; where one fails, all raise, and none waits for it in vain."""
        failure: Exception | None = None
        try:
            run()
        except Exception as error:
            if self.size == 1:
                raise
            failure = error
        if self.size == 1:
            return
        reasons = self.gathered(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        failed = [f"rank {rank}: {reason}" for rank, reason in enumerate(reasons) if reason is not None]
        if failed:
            raise RuntimeError("; ".join(failed))

    def sums(self, values: Mapping[str, Tensor | float | None]) -> dict[str, Any]:
        """The sum over the ranks of every value, on the CPU, leaving out ranks that have None; None where all have."""
        own = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in values.items()}
        of_ranks = self.gathered(own)
        found: dict[str, Any] = {}
        for name in values:
            known = [of_rank[name] for of_rank in of_ranks if of_rank[name] is not None]
            found[name] = sum(known[1:], known[0]) if known else None
        return found

    def merge(
        self, moments: Mapping[Key, ClassMoments], num_classes: int, device: torch.device
    ) -> dict[Key, ClassMoments]:
        """The moments of all the ranks' samples, the same on every rank; a rank may have seen none."""
        if self.size == 1:
            return dict(moments)
        shapes: dict[Key, tuple[int, ...]] = {}
        for of_rank in self.gathered({key: tuple(m.offset.shape) for key, m in moments.items()}):
            shapes = {**of_rank, **shapes}
        found: dict[Key, ClassMoments] = {}
        for key, (*leading, _, width) in shapes.items():
            own = moments.get(key)
            if own is None:
                nothing = torch.zeros(*leading, 0, width, device=device)
                own = ClassMoments.from_batch(nothing, torch.zeros(0, dtype=torch.int64), num_classes)
            found[key] = merged(*(self._stacked(x) for x in pack(own)))
        return found

    def _stacked(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x)
        return torch.stack(parts)


class Shard:
    """One rank's part of a loader, and the number of samples that all parts must add up to (None: not known).

    `skip(labels)` is to be asked for every batch that `loader` yields.
    """

    def __init__(self, loader: Iterable[Any], group: ProcessGroup, sharded: bool = False) -> None:
        self.loader, self.group = loader, group
        self.expected = _covered(loader)
        self._divides = False
        self._batches, self._samples, self._trace = 0, 0, 0
        if group.size > 1 and sharded:
            if self.expected is not None and not isinstance(loader.sampler, DistributedSampler):  # type: ignore[attr-defined]
                self.expected = sum(group.gathered(self.expected))  # every rank has a dataset of its own
        elif group.size > 1:
            if isinstance(loader, DataLoader) and self.expected is not None:
                self.loader = _slice(loader, group, self.expected)
            else:
                self._divides = True

    def skip(self, labels: Tensor) -> bool:
        """Whether this batch belongs to another rank."""
        if not self._divides:
            return False
        turn = self._batches
        self._batches, self._samples = turn + 1, self._samples + len(labels)
        self._trace = zlib.crc32(labels.cpu().numpy().tobytes(), self._trace)
        return turn % self.group.size != self.group.rank

    def check(self, counted: int) -> None:
        """ValueError unless all ranks together saw every sample once; `counted` is their sum."""
        if self._divides:
            seen = self.group.gathered((self._samples, self._trace))
            if any(of_rank != seen[0] for of_rank in seen):
                raise ValueError(
                    "the loader yields other batches on each rank, so that they cannot be divided: give all ranks the "
                    "same order, or each its own samples with sharded=True"
                )
            self.expected = self._samples
        if self.expected is not None and counted != self.expected:
            raise ValueError(
                f"measured {counted} samples of a dataset of {self.expected}: every sample must be seen exactly once "
                "(a DistributedSampler pads; use drop_last=False, or a loader without one)"
            )


def _covered(loader: Iterable[Any]) -> int | None:
    """The size of the dataset, where the loader is known to go through all of it once."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        return None
    sampler: Any = loader.sampler
    if isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples != len(sampler.data_source)):
        return None
    if type(sampler) not in (SequentialSampler, RandomSampler, DistributedSampler):
        return None
    return len(loader.dataset)  # type: ignore[arg-type]


def _slice(loader: "DataLoader[Any]", group: ProcessGroup, size: int) -> Iterable[Any]:
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=range(group.rank, size, group.size),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
