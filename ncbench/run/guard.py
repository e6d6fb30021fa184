"""What a command line does with what ends it early: one line on the standard error, and an exit status."""

import contextlib
import os
import sys
from collections.abc import Callable

from ncbench._cli import of_file_system
from ncbench.run.signals import Stopped, StopSignals

__all__ = ["guarded"]


def guarded(command: Callable[[], int]) -> int:
    """The exit status of a command: 2 where its input is wrong, 1 where a signal or the file system has ended it.

    The reader of a pipe that has gone is told nothing.
    """
    try:
        with StopSignals():
            return command() or _flushed()
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return _nothing_more()
    except OSError as error:
        print(f"ncbench: failed: {of_file_system(error)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print("ncbench: interrupted", file=sys.stderr)
        return 1


def _flushed() -> int:
    """0 where what was printed could be written: seen here, and not when the interpreter ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _nothing_more()
    except OSError as error:
        print(f"ncbench: what is printed could not be written ({of_file_system(error)})", file=sys.stderr)
        return _nothing_more()
    return 0


def _nothing_more() -> int:
    """Whatever Python still has to write goes nowhere; exit status 1."""
    with contextlib.suppress(OSError):  # it has no descriptor, as in a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
