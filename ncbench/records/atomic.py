"""Files that a kill or a power cut leaves whole: the old one or the new one, never a part."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["completed", "sync_file", "sync_folder", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Replace a file by one with this text, on the disk when the function returns."""
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two commands may write a sweep's plan at once
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    with completed(temporary, path), open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    sync_folder(path.parent)


@contextmanager
def completed(temporary: Path, path: Path) -> Iterator[None]:
    """What is written inside under the temporary name gets its own in the end, or is gone: a full disk has room again.

    An error of the file system names the file.
    """
    try:
        yield
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a renamed file is lost with a power cut before that."""
    try:
        sync_file(folder)
    except OSError:  # some network file systems have no fsync of folders
        return
