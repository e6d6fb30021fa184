"""Disks that are full, or to be read only, as what writes a run folder meets them."""

import builtins
import errno
import io
import math
import os
from fnmatch import fnmatch
from pathlib import Path

from ncbench.records import whole_files


class Disk:
    """`fills` says when there is no more room; `free` makes room again."""

    def __init__(self, monkeypatch) -> None:
        self.room: float = math.inf
        self.number = errno.ENOSPC
        self._pattern, self._left, self._lasting = "", 0, True
        self._names: dict[int, str] = {}
        self._real = os.open
        monkeypatch.setattr(os, "open", self._opened)
        monkeypatch.setattr(whole_files, "open", self._file, raising=False)

    def fills(self, pattern: str, number: int = 1, *, lasting: bool = True) -> None:
        """Full after a few bytes of the n-th file of such a name; not `lasting`: whoever clears up makes room again."""
        self._pattern, self._left, self._lasting = pattern, number, lasting

    def free(self) -> None:
        """There is room for everything."""
        self.room, self._left = math.inf, 0

    def _opened(self, path, flags, *arguments, **more):
        handle = self._real(path, flags, *arguments, **more)
        if isinstance(path, Path) and path.suffix == ".tmp":
            self._names[handle] = path.name[1:].rsplit(".", 2)[0]
        return handle

    def _file(self, handle: int, mode: str) -> io.BufferedRandom:
        name = self._names.get(handle, "")
        planned = self._left > 0 and fnmatch(name, self._pattern)
        if planned:
            self._left -= 1
        return io.BufferedRandom(_File(self, handle, planned and not self._left))


class _File(io.FileIO):
    def __init__(self, disk: Disk, handle: int, fills: bool) -> None:
        super().__init__(handle, "w+b")
        self.disk = disk
        if fills:
            disk.room = 8

    def write(self, data) -> int:
        wanted = memoryview(data).cast("B")
        if wanted.nbytes and not self.disk.room:
            raise OSError(self.disk.number, os.strerror(self.disk.number))
        written = super().write(wanted[: int(min(wanted.nbytes, self.disk.room))])
        self.disk.room -= written
        return written

    def close(self) -> None:
        if not self.closed and not self.disk.room and not self.disk._lasting:
            self.disk.room = math.inf
        super().close()


def read_only(folder: Path, monkeypatch) -> None:
    """Whatever would write below the folder is refused, as on a disk that is mounted to be read only."""
    inside = os.path.realpath(folder)

    def refuses(real, writes):
        def function(path, *arguments, **more):
            below = isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(inside)
            if below and writes(*arguments, **more):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, *arguments, **more)

        return function

    for name in ("mkdir", "unlink", "rmdir", "replace", "rename"):
        monkeypatch.setattr(os, name, refuses(getattr(os, name), lambda *_, **__: True))
    monkeypatch.setattr(os, "open", refuses(os.open, lambda flags, *_, **__: bool(flags & (os.O_RDWR | os.O_WRONLY))))
    opens = refuses(open, lambda mode="r", *_, **__: not {*mode}.isdisjoint("wax+"))
    monkeypatch.setattr(builtins, "open", opens)
    monkeypatch.setattr(io, "open", opens)
    access = os.access

    def may(path, mode, **more):
        return not (mode & os.W_OK and os.path.abspath(path).startswith(inside)) and access(path, mode, **more)

    monkeypatch.setattr(os, "access", may)
