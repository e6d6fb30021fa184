"""A parser for the command lines: wrong options are one line, as every other wrong input, and not a page of usage."""

import argparse
from typing import NoReturn

__all__ = ["Parser", "UsageError"]


class UsageError(ValueError):
    """A command line that cannot be parsed."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for every wrong option."""
        raise UsageError(f"{message} (see --help)")
