"""A cache for the time of one report: what several of its figures need is read once, then forgotten.

Outside a report nothing is cached: in a notebook every call reads anew, so that a figure of a running training is never
an old one.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import pandas as pd

from ncbench.records.runs import Dir, as_paths

P = ParamSpec("P")
T = TypeVar("T")
_cache: ContextVar[dict[Any, Any] | None] = ContextVar("_cache", default=None)


def one_report(write: Callable[P, T]) -> Callable[P, T]:
    """Marks a function that writes a report: while it runs, functions marked `cached` read a directory once.

    A report written inside another one uses the outer one's cache.
    """

    @functools.wraps(write)
    def with_cache(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = _cache.get()
        token = _cache.set({} if outer is None else outer)
        try:
            return write(*args, **kwargs)
        finally:
            _cache.reset(token)

    return with_cache


def in_report() -> bool:
    """Whether a function marked `one_report` is running: then it pays to read everything at once."""
    return _cache.get() is not None


def cached(read: Callable[Concatenate[Dir, P], T]) -> Callable[Concatenate[Dir, P], T]:
    """Marks a function of a directory (and of names) whose result several figures of one report may use."""

    @functools.wraps(read)
    def read_once(dir: Dir, *args: P.args, **kwargs: P.kwargs) -> T:
        cache = _cache.get()
        if cache is None:
            return read(dir, *args, **kwargs)
        key = (read, tuple(as_paths(dir)), repr(args), repr(sorted(kwargs.items())))
        if key not in cache:
            cache[key] = read(dir, *args, **kwargs)
        result: T = cache[key]
        # A frame of its own for every caller, over the same values: a column added there stays there.
        return cast(T, result.copy(deep=False)) if isinstance(result, pd.DataFrame) else result

    return cast(Callable[Concatenate[Dir, P], T], read_once)
