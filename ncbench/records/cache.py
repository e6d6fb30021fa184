"""What several figures of one report need is read once, and forgotten when the report is written.

In a notebook every call reads anew, so that a figure of a running training is never an old one.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import pandas as pd

from ncbench.records.runs import Dir, as_paths

P = ParamSpec("P")
T = TypeVar("T")
_kept: ContextVar[dict[Any, Any] | None] = ContextVar("_kept", default=None)


def one_report(write: Callable[P, T]) -> Callable[P, T]:
    """Within a call of `write`, and of what it calls, functions marked `cached` read a directory once."""

    @functools.wraps(write)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        known = _kept.get()
        token = _kept.set({} if known is None else known)
        try:
            return write(*args, **kwargs)
        finally:
            _kept.reset(token)

    return inner


def in_report() -> bool:
    """Whether a function marked `one_report` is running: then it pays to read everything at once."""
    return _kept.get() is not None


def cached(read: Callable[Concatenate[Dir, P], T]) -> Callable[Concatenate[Dir, P], T]:
    """Marks a function of a directory (and of names) whose result one report may use several times."""

    @functools.wraps(read)
    def inner(dir: Dir, *args: P.args, **kwargs: P.kwargs) -> T:
        kept = _kept.get()
        if kept is None:
            return read(dir, *args, **kwargs)
        key = (read, tuple(as_paths(dir)), repr(args), repr(sorted(kwargs.items())))
        if key not in kept:
            kept[key] = read(dir, *args, **kwargs)
        found: T = kept[key]
        # A frame of its own for every caller, over the same values: a column added there stays there.
        return cast(T, found.copy(deep=False)) if isinstance(found, pd.DataFrame) else found

    return cast(Callable[Concatenate[Dir, P], T], inner)
