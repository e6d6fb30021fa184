"""Writes files whole, and never through a link: a kill leaves the old file or the new one, in the folder that is meant.

Everything that is written into a run folder or beside a report is written here. A link that lies where a file is
to be written is replaced by the file; a link in the place of a folder is refused, as what is written there, or removed
from there, would lie somewhere else.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ncbench.records.schema import CHECKPOINTS, FIGURE_FOLDER, HYDRA, LOG, METRICS, TABLES, TENSORBOARD, WANDB
from ncbench.records.small_files import BadRecordsError

__all__ = [
    "json_text",
    "make_folder",
    "refuse_link",
    "refuse_links_in",
    "replacing",
    "sync_file",
    "sync_folder",
    "write_bytes",
    "write_json",
    "write_text",
]


@contextmanager
def replacing(path: Path, *, lasting: bool = False) -> Iterator[BinaryIO]:
    """A new file beside `path` to be written inside, which then takes its place; where writing fails it is removed.

    `lasting`: it is on the disk before it takes its place, so that a power cut, too, leaves the old one or the new one.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two commands may write a sweep's plan at once
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process of this number that was killed
        # O_EXCL neither follows a link nor takes a file that is there.
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(handle, "w+b") as file:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # a full disk has room again
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary), temporary):
            error.filename = str(path)
        raise
    if lasting:
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that can be made again, so that a kill leaves the old one or the new one, never a part."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """The same with text, in UTF-8, and so that a power cut leaves one of them, too."""
    with replacing(path, lasting=True) as file:
        file.write(text.encode("utf-8"))


def json_text(value: Mapping[str, Any] | list[Any]) -> str:
    """A value as the JSON that stands in the files of a run folder."""
    return json.dumps(value, indent=1, default=str)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """`write_text` with a value as JSON."""
    write_text(path, json_text(value))


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a renamed file is lost with a power cut before that."""
    with suppress(OSError):  # some network file systems have no fsync of folders
        sync_file(folder)


def make_folder(path: Path) -> None:
    """Make a folder inside a run folder or a report's, where it is not there; BadRecordsError where a link is."""
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)


def refuse_links_in(run: Path) -> None:
    """BadRecordsError of one line where a link lies in a run folder in the place of what a training writes there."""
    for name in (LOG, METRICS, HYDRA, CHECKPOINTS, WANDB, TENSORBOARD, FIGURE_FOLDER, *TABLES):
        refuse_link(run / name)
    for said in run.glob(".process-*.log"):
        refuse_link(said)


def refuse_link(path: Path) -> None:
    """BadRecordsError of one line where a link lies at the path."""
    if path.is_symlink():
        raise BadRecordsError(f"{path}: is a link to {os.readlink(path)}; nothing is written through it, remove it")
