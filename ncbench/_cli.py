"""What the command lines share: wrong options are one line, not a page of usage; torch is imported uncollected."""

import argparse
import errno
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

__all__ = ["DISK_FULL", "Parser", "UsageError", "check_folder", "collector_off", "of_file_system", "one_line"]

LONGEST = 2000  # characters of an error line
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what is no wrong input of the user's


class UsageError(ValueError):
    """A command line that cannot be parsed."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for every wrong option."""
        raise UsageError(f"{message} (see --help)")


def of_file_system(error: OSError) -> str:
    """What the file system refused, and where, in one line without Python's words.

    >>> of_file_system(OSError(28, "No space left on device", "a/run.json"))
    'a/run.json: No space left on device'
    """
    where = f"{error.filename}: " if error.filename else ""
    return " ".join(f"{where}{error.strerror or error}".split())


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 2000 characters: it may name a value of somebody else's file.

    >>> one_line(ValueError("first\\n  second"))
    'first second'
    """
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def check_folder(option: str, folder: Path) -> None:
    """UsageError unless the folder that an option names is there or can be made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UsageError(f"{option}={folder}: {there} is no folder")


@contextmanager
def collector_off() -> Iterator[None]:
    """Torch, and what is imported inside, is imported without collections; torch is never searched for garbage.

    What torch makes while it is imported lives as long as the process, and the collector would go through it several
    times meanwhile and again when the process ends. It is frozen instead (`gc.freeze`), and the collector goes on with
    what is made afterwards. Lightning is not frozen: it imports triton, whose bindings print at the end of the process
    what the collector has left. No number depends on it. Where torch has been imported already, this is not the start
    of a process, and nothing is done.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        import_module("torch")
        gc.freeze()
        yield
    finally:
        gc.enable()
