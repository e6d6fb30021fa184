"""How far the composition of many jobs is: a counter on the terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["counting_jobs"]

_SILENT_SECONDS, _LINE_SECONDS = 1.0, 10.0
_FEW = 20  # jobs, of which nothing is said


@contextmanager
def counting_jobs() -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, of) after every job; nothing is said of few jobs, or of what takes a second."""
    began = said = time.monotonic()
    on_terminal = sys.stderr.isatty()

    def progress(done: int, of: int) -> None:
        nonlocal said
        now = time.monotonic()
        if (
            of <= _FEW
            or now - began < _SILENT_SECONDS
            or (now - said < (0.2 if on_terminal else _LINE_SECONDS) and done < of)
        ):
            return
        said = now
        end = "\r" if on_terminal and done < of else "\n"
        print(f"composed and validated {done} of {of} jobs", end=end, file=sys.stderr, flush=True)

    yield progress
