"""Chunks of an ensemble side by side on threads, each with one intra-op thread: replicas are independent.

Parallel regions inside products of 20 x 20 matrices cost more than they save, several times more when the machine is
shared.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """So many threads; with one chunk, or none of them, the work is done in the caller's own thread as it is.

    `stopped` becomes true when the caller is interrupted: long work should look at it.
    """

    def __init__(self, threads: int | None) -> None:
        self.stopped = False
        self._pool = None if threads is None else ThreadPoolExecutor(threads)

    def each(self, pieces: Sequence[Tensor], work: Callable[[Tensor], T]) -> list[T]:
        """`work` on every piece, in order."""
        if self._pool is None:
            return [work(piece) for piece in pieces]

        def alone(piece: Tensor) -> T:
            # Both settings are the thread's own. Directions that die decay through 1e-38 within 10^4 steps, and
            # there many processors (not Zen 4) need a hundred times as long for a product; nothing is read so small.
            torch.set_num_threads(1)
            torch.set_flush_denormal(True)
            with torch.no_grad():
                return work(piece)

        before = torch.get_num_threads()
        futures: list[Future[T]] = [self._pool.submit(alone, piece) for piece in pieces]
        try:
            return [future.result() for future in futures]
        except BaseException:  # a signal, too, has to end the work that is still going on
            self.stopped = True
            raise
        finally:
            torch.set_num_threads(before)  # new threads of this process would start with the number set last
