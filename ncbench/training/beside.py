"""Work in a thread beside the training: in order, not much of it at a time, and no error gets lost."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

__all__ = ["Beside"]


class Beside:
    """One thread that does pieces of work in the order in which they are given, at most `most` of them unfinished.

    After a piece that fails nothing more is done, so that what is recorded has no gap; its error is raised by the next
    call of any method. The thread has as many intra-op threads as its caller.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._failed = False
        self._unfinished: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "beside", torch.set_num_threads, (torch.get_num_threads(),))

    def start(self, work: Callable[[], None]) -> None:
        """Have this done, after waiting for room."""
        self.wait_until(self.most - 1)
        self._unfinished.append(self._thread.submit(self._do, work))

    def wait_until(self, unfinished: int) -> None:
        """Wait until no more than so many pieces are unfinished; raise what one of the finished has raised."""
        while self._unfinished and (len(self._unfinished) > unfinished or self._unfinished[0].done()):
            wait([self._unfinished[0]])  # which a signal may break off: then the piece stays in the queue
            self._unfinished.popleft().result()

    def close(self) -> None:
        """Wait for all that is unfinished, end the thread, and raise what a piece has raised."""
        self._thread.shutdown()
        self.wait_until(0)

    def _do(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise
