"""Compiled code kept on disk, where that can be written: nothing but time depends on it.

numba keeps what it has compiled of a source file in one directory, and looks whether that file has changed, but not
those that it imports. Here the directory is named after the content of this whole package and the versions of what
compiles it, so that no code of another version is ever taken; inside, numba tells types, processors and their features
apart.
"""

import hashlib
import os
import pickle
import platform
from pathlib import Path
from typing import Any

import llvmlite
import numba

__all__ = ["Cached", "cache_directory"]


def cache_directory() -> Path:
    """Below NUMBA_CACHE_DIR, or else below XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    digest = hashlib.sha256(repr((numba.__version__, llvmlite.__version__, platform.python_version())).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return Path(given).expanduser() / "ncbench" / "lanes" / digest.hexdigest()[:16]


class Cached:
    """A function of numba whose code is kept on disk; where that cannot be, it is compiled in every process."""

    def __init__(self, function: Any) -> None:
        self.function = function
        before = numba.config.CACHE_DIR
        try:
            numba.config.CACHE_DIR = str(cache_directory())
            function.enable_caching()
        except (OSError, RuntimeError):  # RuntimeError: numba found no directory that it can write to
            pass
        finally:
            numba.config.CACHE_DIR = before

    def __call__(self, *arguments: Any) -> None:
        """Call it."""
        try:
            self.function(*arguments)
        except (OSError, EOFError, pickle.UnpicklingError):
            # A full disk, or a file that is no code. Both show before the function begins.
            self.function = numba.jit(**self.function.targetoptions)(self.function.py_func)
            self.function(*arguments)
