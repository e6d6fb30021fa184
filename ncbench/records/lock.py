"""The lock of a run folder: advisory, of the operating system, so that a killed process loses it at once.

On a file system that several hosts share it holds between them where the file system has such locks (NFS version 4,
Lustre mounted with `flock`). Where it has none, a file that exists stands in, and a line says so: a process that is
killed leaves the file behind, and of one of another host nobody can tell whether it still runs.
"""

import contextlib
import errno
import fcntl
import os
import sys
import time
from pathlib import Path

from filelock import BaseFileLock, SoftFileLock, Timeout

from ncbench.records.schema import HOLDER, LOCK, RUN_INFO, TABLES

__all__ = ["SOFT_LOCK", "FolderLock", "LostFolderError", "is_locked"]

SOFT_LOCK = f"{LOCK}.exists"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_PATIENCE = 0.3  # seconds, much longer than a reader holds its shared lock while it looks
_ATTEMPTS = 100
_said: set[Path] = set()


class LostFolderError(OSError):
    """The folder was moved or deleted while a process was running in it, or its lock was."""


class _SystemLock:
    """The advisory lock of the operating system on a file, which is made for it; a link there is not followed."""

    def __init__(self, path: Path) -> None:
        self.lock_file = str(path)
        self._handle = -1

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""
        return self._handle >= 0

    def acquire(self) -> None:
        """Take it. Timeout where another process has it, OSError where the file system has no locks or no such file."""
        until = time.monotonic() + _PATIENCE
        while True:
            self._handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self._handle), os.lstat(self.lock_file)):
                    return
            except BaseException as error:
                if not isinstance(error, FileNotFoundError | BlockingIOError):
                    self.release()
                    raise
                if isinstance(error, BlockingIOError) and time.monotonic() > until:
                    self.release()
                    raise Timeout(self.lock_file) from None
            self.release()  # the file has lost its name while this process waited for it, or is locked
            time.sleep(0.01)

    def release(self) -> None:
        """Once or more often."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)  # also for a forked process, such as a loader's, that has it still
            os.close(handle)


class FolderLock:
    """The lock of a folder, taken when it is made.

    Missing folders are made for it. Raises filelock.Timeout where another process has it, OSError where the folder
    cannot be made or holds no lock; neither leaves anything behind. What stands in the lock's place is not followed
    and not written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: _SystemLock | BaseFileLock | None = None
        self._made: list[Path] = []
        try:
            for left in reversed(range(_ATTEMPTS)):  # another process that is refused may be removing what it made
                try:
                    self._make()
                    self._left_behind = os.path.lexists(folder / LOCK)
                    self._lock = self._take()
                    self._identity = os.lstat(self._lock.lock_file)
                    break
                except FileNotFoundError:
                    if not left:
                        raise
        except BaseException:
            self.release()
            raise

    def _make(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not os.path.lexists(path)]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                self._made.append(path)
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.folder))

    def _take(self) -> _SystemLock | BaseFileLock:
        # Known before it is taken: a signal may come right after it was.
        self._lock = system = _SystemLock(self.folder / LOCK)
        try:
            system.acquire()
            return system
        except OSError as error:
            self._lock = None
            if error.errno not in _NO_LOCKS:
                raise
        return _stand_in(self.folder)

    def check(self) -> None:
        """LostFolderError where the folder that was locked is not what stands there by now."""
        assert self._lock is not None
        try:
            same = os.path.samestat(os.lstat(self._lock.lock_file), self._identity)
        except OSError:
            same = False
        if not same:
            raise LostFolderError(f"{self.folder} was moved or deleted while the run was going on, or its {LOCK} was")

    def release(self) -> None:
        """Let go of the folder. Without a run in it, it goes: a refused command leaves nothing behind.

        That is a folder that holds no more than the lock and tables without rows, and was made for this lock, or for
        one that an earlier start has left. A folder of somebody else's stays.
        """
        if isinstance(self._lock, _SystemLock) and not self._lock.is_held:  # a signal came while it was being taken
            try:
                self._lock.acquire()
            except OSError:  # another process has it
                self._lock = None
        if self._lock is not None and not os.path.lexists(self.folder / RUN_INFO):
            with contextlib.suppress(OSError):
                self._remove_if_unused(self._lock)
        if self._lock is not None:
            self._lock.release()
        for path in reversed(self._made):
            with contextlib.suppress(OSError):  # it is in use
                path.rmdir()

    def _remove_if_unused(self, lock: _SystemLock | BaseFileLock) -> None:
        entries = {entry.name for entry in self.folder.iterdir()}
        if not entries <= {LOCK, SOFT_LOCK, HOLDER, *TABLES}:
            return
        for name in entries & TABLES.keys():
            (self.folder / name).rmdir()
        for name in entries & {HOLDER, LOCK}:
            (self.folder / name).unlink()
        lock.release()  # who has opened the file meanwhile sees that it has lost its name, and makes another
        if self._left_behind:
            self.folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether another process has the lock of a folder; nothing is written, so a folder may be one to read only.

    Any number of processes may look at once, and none of them keeps a run from starting.
    """
    if os.path.isfile(folder / SOFT_LOCK):
        try:
            SoftFileLock(folder / SOFT_LOCK, blocking=False).acquire().lock.release()
        except Timeout:
            return True
        except OSError:  # a file system to read only: nobody can tell whether the file was left behind
            return True
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # there is none, or what stands there is no lock of ours
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(handle)
    return False


def _stand_in(folder: Path) -> SoftFileLock:
    """The file that stands in for the lock of a folder on a file system that has no locks."""
    lock = SoftFileLock(folder / SOFT_LOCK, blocking=False)
    lock.acquire()
    if folder not in _said:
        _said.add(folder)
        print(
            f"ncbench: {folder}: this file system has no locks, so the file {lock.lock_file} stands in for one; "
            "if a run was killed there, delete it",
            file=sys.stderr,
        )
    return lock
