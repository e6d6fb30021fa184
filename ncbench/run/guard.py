"""What a command line does with what ends it early: one line on the standard error, and an exit status."""

import sys
from collections.abc import Callable

from ncbench._cli import of_file_system
from ncbench.run.signals import Stopped, StopSignals

__all__ = ["guarded"]


def guarded(command: Callable[[], int]) -> int:
    """The exit status of a command: 2 where its input is wrong, 1 where a signal or the file system has ended it."""
    try:
        with StopSignals():
            return command()
    except ValueError as error:
        print(f"ncbench: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ncbench: failed: {of_file_system(error)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print("ncbench: interrupted", file=sys.stderr)
        return 1
