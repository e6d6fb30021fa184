"""Measuring with several processes: every sample on exactly one of them, no padding, and the sums of all.

Lightning's DistributedSampler repeats samples until every process has as many as the others, which moves class means.
So a loader is divided here:

    - a DataLoader over a dataset with a length, in any of torch's own orders (sequential, shuffled, distributed):
      process r of P loads the samples r, r + P, r + 2P, ... of the dataset;
    - any other iterable: every process iterates it and measures the batches r, r + P, ...; it must yield the same
      batches in every process, which is checked by their labels;
    - sharded=True: the loader gives each process its own samples already, and is used as it is.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from ncbench.core import ClassMoments
from ncbench.measure.coverage import ONCE, Coverage, samples_expected
from ncbench.measure.notices import Notices
from ncbench.measure.packing import merged, pack

__all__ = ["ProcessGroup", "Shard"]

Key = tuple[str, str]


class ProcessGroup:
    """The processes that measure together; alone unless `distributed` and torch.distributed is initialised."""

    def __init__(self, distributed: bool) -> None:
        several = distributed and dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)

    def total(self, x: Tensor) -> Tensor:
        """The sum over the processes, in a new tensor."""
        if self.size == 1:
            return x
        x = x.clone()
        dist.all_reduce(x)
        return x

    def from_first(self, x: Tensor) -> None:
        """Overwrite x with that of process 0."""
        dist.broadcast(x, src=0)

    def gathered(self, value: Any) -> list[Any]:
        """A small object of every process, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def together(self, run: Callable[[], None]) -> None:
        """Run what each process does by itself; where one fails, all raise, and none waits for it in vain."""
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
        failed = [f"process {rank} failed with {reason}" for rank, reason in enumerate(reasons) if reason is not None]
        if failed:
            raise RuntimeError("; ".join(failed))

    def sums(self, values: Mapping[str, Tensor | float | None]) -> dict[str, Any]:
        """The sum of every value over the processes, on the CPU; a process that has None is left out.

        None where all processes have None.
        """
        on_cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in values.items()}
        gathered = self.gathered(on_cpu)
        totals: dict[str, Any] = {}
        for name in values:
            terms = [values_of_one[name] for values_of_one in gathered if values_of_one[name] is not None]
            totals[name] = sum(terms[1:], terms[0]) if terms else None
        return totals

    def merge(
        self, moments: Mapping[Key, ClassMoments], num_classes: int, device: torch.device
    ) -> dict[Key, ClassMoments]:
        """The moments of the samples of all processes, the same on every one; a process may have seen none."""
        if self.size == 1:
            return dict(moments)
        shapes: dict[Key, tuple[int, ...]] = {}
        for seen in self.gathered({key: tuple(m.offset.shape) for key, m in moments.items()}):
            shapes = {**seen, **shapes}
        union: dict[Key, ClassMoments] = {}
        for key, (*leading, _, width) in shapes.items():
            of_this_process = moments.get(key)
            if of_this_process is None:
                nothing = torch.zeros(*leading, 0, width, device=device)
                of_this_process = ClassMoments.from_batch(nothing, torch.zeros(0, dtype=torch.int64), num_classes)
            union[key] = merged(*(self._of_all_processes(x) for x in pack(of_this_process)))
        return union

    def _of_all_processes(self, x: Tensor) -> Tensor:
        """(P, ...) from the x (...) of every process."""
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x)
        return torch.stack(parts)


class Shard:
    """One process's part of a loader, and the number of samples that all parts must add up to (None: not known).

    `skip(labels)` is to be asked for every batch that `loader` yields.
    """

    def __init__(self, loader: Iterable[Any], group: ProcessGroup, sharded: bool = False) -> None:
        self.group, self.expected = group, samples_expected(loader)
        self.coverage = Coverage(loader)
        self.loader = self.coverage.watched
        self._divides, self._apart = False, sharded and group.size > 1
        self._batches, self._samples, self._trace = 0, 0, 0
        if self._apart:
            if self.expected is not None and not isinstance(loader.sampler, DistributedSampler):  # type: ignore[attr-defined]
                self.expected = sum(group.gathered(self.expected))  # every process has a dataset of its own
        elif group.size > 1:
            if isinstance(loader, DataLoader) and self.expected is not None:
                self.loader = _slice(loader, group, self.expected)
            else:
                self._divides = True

    def skip(self, labels: Tensor) -> bool:
        """Whether this batch belongs to another process."""
        if not self._divides:
            return False
        turn = self._batches
        self._batches, self._samples = turn + 1, self._samples + len(labels)
        self._trace = zlib.crc32(labels.cpu().numpy().tobytes(), self._trace)
        return turn % self.group.size != self.group.rank

    def check(self, counted: int, notices: Notices) -> None:
        """ValueError unless all processes together saw every sample once; `counted` is their sum.

        A pass over a part of a dataset, as a sampler has chosen it, is said in the log.
        """
        if self._divides:
            seen = self.group.gathered((self._samples, self._trace))
            if any(trace != seen[0] for trace in seen):
                raise ValueError(
                    "the loader yields other batches in each process, so they cannot be divided; give all processes "
                    "the same order, or each its own samples with sharded=True"
                )
            self.expected = self._samples
        if self.expected is not None and counted != self.expected:
            raise ValueError(
                f"{ONCE}, but the loader gave {counted} samples of a dataset of {self.expected} (a DistributedSampler "
                "pads; use drop_last=False, or a loader without one)"
            )
        # Of sharded loaders each process knows its own draws alone, and all have to stop where one complains.
        complaints = self.group.gathered(self.coverage.complaint(None if self._apart else counted))
        complaint = next((text for text in complaints if text is not None), None)
        if complaint is not None:
            raise ValueError(complaint)
        if not self._apart:
            self.coverage.warn(counted, notices)


def _slice(loader: "DataLoader[Any]", group: ProcessGroup, size: int) -> Iterable[Any]:
    """The same loader over the samples of this process."""
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_sampler.batch_size,  # type: ignore[union-attr]
        sampler=range(group.rank, size, group.size),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
