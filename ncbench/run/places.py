"""Where a run or a sweep would be written, looked at before anything is: a refused command leaves nothing behind."""

import os
import tempfile
from pathlib import Path

__all__ = ["check_place", "run_folder", "sweep_folder"]


def run_folder(where: str) -> Path:
    """The folder of `hydra.run.dir`; ValueError of one line where it can be none."""
    return check_place("hydra.run.dir", where)


def sweep_folder(root: str, below: str) -> Path:
    """The folder of a sweep's job, which lies in that of the sweep; ValueError of one line where it does not."""
    check_place("hydra.sweep.dir", root)
    parts = Path(below).parts
    if not parts or ".." in parts or Path(below).is_absolute():
        raise ValueError(f"hydra.sweep.subdir={below}: must name a folder in that of the sweep, without ..")
    return check_place("hydra.sweep.subdir", str(Path(root, below)), below)


def check_place(key: str, where: str, given: str | None = None) -> Path:
    """The path of a folder that is there or could be made; ValueError of one line, `key=given: rule`, where not."""
    given = where if given is None else given
    if not where:
        raise ValueError(f"{key}={given}: must name a folder")
    path = Path(where)
    try:
        there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
        os.stat(path) if there == path else None  # a name that no file system takes
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"{key}={given}: cannot be a folder ({why})") from error
    for part in path.parts:
        if len(part.encode(errors="surrogateescape")) > 255:
            raise ValueError(f"{key}={given}: must have names of at most 255 bytes")
    if not os.path.isdir(there):
        raise ValueError(f"{key}={given}: {there} is no folder")
    if there != path and not (os.access(there, os.W_OK | os.X_OK) and _takes_folders(there)):
        raise ValueError(f"{key}={given}: nothing can be written in {there}")
    return path


def _takes_folders(there: Path) -> bool:
    """Whether a folder can be made there; tried only where no file has room, as in /proc, where root may write."""
    if os.statvfs(there).f_blocks:
        return True
    try:
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError:
        return False
    return True
