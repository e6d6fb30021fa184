"""What the command lines share: errors of one line, streams that may be gone, torch imported uncollected."""

import argparse
import errno
import functools
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

__all__ = [
    "DISK_FULL",
    "Parser",
    "SaidError",
    "UsageError",
    "check_folder",
    "collector_off",
    "of_file_system",
    "one_line",
    "printing",
]

LONGEST = 2000  # characters of an error line
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what is no wrong input of the user's


class UsageError(ValueError):
    """A command line that cannot be parsed."""


class SaidError(ValueError):
    """Wrong input that another process of ours has found, and has said in its line."""


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


class _Stream:
    """A standard stream that nobody may be able to write to: from its first error on, what is printed is left out.

    A character that its encoding does not have is written as its number.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failed: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self._try(self.stream.write, text)
        except UnicodeEncodeError as error:
            self._try(self.stream.write, text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, step: Callable[..., object], *arguments: str) -> None:
        try:
            if self.failed is None:
                step(*arguments)
        except OSError as error:
            self.failed = error
            # What the stream still holds goes nowhere when the interpreter ends; in a notebook it has no descriptor.
            with suppress(OSError):
                _to_nowhere(self.stream.fileno())


def _to_nowhere(number: int) -> None:
    """The descriptor is the null device, for child processes too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    os.set_inheritable(number, True)  # where it was free, `os.open` has given it itself, for this process alone


@contextmanager
def _standard(name: str, number: int) -> Iterator[_Stream]:
    """The standard stream of this name, as one that does not fail, in `sys`; of a closed one (`>&-`) the null device.

    No file that the command opens then gets the descriptor that libraries print to.
    """
    before = getattr(sys, name)
    if isinstance(before, _Stream):
        yield before
        return
    if before is None:
        with suppress(OSError):
            _to_nowhere(number)
    stream = _Stream(io.StringIO() if before is None else before)
    setattr(sys, name, stream)
    try:
        yield stream
    finally:
        setattr(sys, name, before)


def printing(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorates a command's `main`: standard streams that are full, closed or without a reader end no command.

    What could not be printed is said in one line, if the standard error is there, and makes the exit status 1; a reader
    that has seen enough is told nothing.
    """

    @functools.wraps(main)
    def command(argv: Sequence[str] | None = None) -> int:
        with _standard("stdout", 1) as printed, _standard("stderr", 2):
            try:
                status = main(argv)
                printed.flush()
            except SystemExit:  # by argparse, after --help
                printed.flush()
                if printed.failed is None:
                    raise
                status = 1
            if printed.failed is not None and not isinstance(printed.failed, BrokenPipeError):
                why = of_file_system(printed.failed)
                print(f"ncbench: what is printed could not be written ({why})", file=sys.stderr)
            return status or int(printed.failed is not None)

    return command


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
