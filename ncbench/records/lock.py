"""The lock of a run folder: advisory, of the operating system, so that a killed process loses it at once.

On a file system that several hosts share it holds between them where the file system has such locks (NFS version 4,
Lustre mounted with `flock`). Where it has none, a file that exists stands in, and a line says so: a process that is
killed leaves the file behind, and of one of another host nobody can tell whether it still runs.
"""

import errno
import sys
import warnings
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

from ncbench.records.schema import LOCK

__all__ = ["SOFT_LOCK", "take_lock"]

SOFT_LOCK = f"{LOCK}.exists"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_said: set[Path] = set()


def take_lock(folder: Path, *, quietly: bool = False) -> BaseFileLock:
    """The lock of a folder, taken. Raises filelock.Timeout where another process has it.

    `quietly`: without the line about a file system that has no locks.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flock not supported")
        lock: BaseFileLock = FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(folder / SOFT_LOCK, blocking=False)
            lock.acquire()
    if isinstance(lock, SoftFileLock) and not quietly and folder not in _said:
        _said.add(folder)
        print(
            f"ncbench: {folder}: this file system has no locks, so the file {lock.lock_file} stands in for one; "
            "if a run was killed there, delete it",
            file=sys.stderr,
        )
    return lock
