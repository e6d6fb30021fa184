"""Who uses which GPU and how many cores: leases that a launcher takes for a job and that end with the job's process.

A GPU is leased by an advisory lock on a file in the machine's temporary folder, which the job's process inherits. So
two sweeps of a user share the GPUs of a machine, and a job that outlives its launcher keeps its own. With k jobs per
GPU, a job has a shared lock of the GPU and one of its k places; a job that needs a whole GPU locks it alone. Cores are
shared out among the jobs of one launcher only.
"""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Lease", "Machine"]


@dataclass
class Lease:
    """What one job has: GPUs by name (none: it computes on the CPU), cores, and the descriptors of its locks."""

    gpus: list[str]
    cores: int
    handles: list[int] = field(default_factory=list)

    @property
    def place(self) -> str:
        """For logs and tables: `gpu 0` or `cpu`."""
        return f"gpu {','.join(self.gpus)}" if self.gpus else "cpu"


class Machine:
    """The GPUs and cores that the jobs of a sweep may use here."""

    def __init__(self, gpus: Sequence[str], jobs_per_gpu: int, cores: int) -> None:
        self.gpus, self.jobs_per_gpu, self.cores = list(gpus), jobs_per_gpu, cores
        self._free_cores = cores
        self._jobs_on = dict.fromkeys(self.gpus, 0)
        self._folder = Path(tempfile.gettempdir()) / f"ncbench-gpus-{os.getuid()}"
        if self.gpus:
            self._folder.mkdir(mode=0o700, exist_ok=True)

    def lease(self, gpus: int, cores: int) -> Lease | None:
        """So many GPUs (0: none) and cores, or None as long as they are not free. A job always fits an idle machine."""
        cores = min(cores, self.cores)
        if not gpus and cores > self._free_cores:
            return None
        names: list[str] = []
        handles: list[int] = []
        for name in sorted(self.gpus, key=self._jobs_on.__getitem__):  # side by side before on top of each other
            if len(names) < gpus and (locks := self._lock(name, alone=gpus > 1 or self.jobs_per_gpu == 1)):
                names.append(name)
                handles += locks
        if len(names) < gpus:
            for handle in handles:
                os.close(handle)
            return None
        for name in names:
            self._jobs_on[name] += 1
        if not gpus:  # the processors beside GPUs are shared out in equal parts instead
            self._free_cores -= cores
        return Lease(names, cores, handles)

    def give_back(self, lease: Lease) -> None:
        """End this process's hold; that of the job ends with the job."""
        for handle in lease.handles:
            with suppress(OSError):
                os.close(handle)
        for name in lease.gpus:
            self._jobs_on[name] -= 1
        if not lease.gpus:
            self._free_cores += lease.cores

    def _lock(self, name: str, *, alone: bool) -> list[int]:
        """The descriptors of the locks of one GPU, or none where it is taken."""
        safe = "".join(letter if letter.isalnum() else "-" for letter in name)
        whole = _locked(self._folder / safe, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if whole is None or alone:
            return [] if whole is None else [whole]
        for place in range(self.jobs_per_gpu):
            taken = _locked(self._folder / f"{safe}.{place}", fcntl.LOCK_EX)
            if taken is not None:
                return [whole, taken]
        os.close(whole)
        return []


def _locked(path: Path, kind: int) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
