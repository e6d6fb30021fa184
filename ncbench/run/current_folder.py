"""A user's own modules: found in the current folder, and said in one line where they are not."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["importable_here", "installed_modules_only", "missing_module"]

_importable = ContextVar("_importable", default=True)


@contextmanager
def installed_modules_only(only: bool = True) -> Iterator[None]:
    """Inside, `importable_here` does nothing: what is read is of somebody else, and so may the current folder be."""
    token = _importable.set(not only and _importable.get())
    try:
        yield
    finally:
        _importable.reset(token)


def importable_here() -> None:
    """Modules of the current folder can be imported, behind all others, whichever command was started.

    `python -m ncbench.train` puts the folder in front of the path itself; the installed `ncbench` does not, and the
    commands that read folders take it away (`ncbench._safe_path`).
    """
    here = os.getcwd()
    if _importable.get() and "" not in sys.path and here not in sys.path:
        sys.path.append(here)


def missing_module(error: BaseException) -> str | None:
    """What to do about a module that was not found, if that is the cause of an error; else None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    if cause is None or cause.name is None:
        return None
    package = cause.name.partition(".")[0]
    if package != cause.name and package in sys.modules:
        return None  # the package is there, and has no such part
    return f"no module {package}: run from its folder or set PYTHONPATH"
