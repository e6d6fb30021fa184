"""Signals that ask a command to stop: Ctrl-C, a closed terminal, a time limit, a queue that wants its machine back.

One that was ignored when the command began, as SIGHUP is under nohup, stays ignored.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["PATIENCE", "STOPPING", "StopSignals", "Stopped"]

STOPPING = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
PATIENCE = 8.0  # seconds until training stops at once: `docker stop` grants 10 before it kills, SLURM 30
_SAME_PRESS = 1.0  # seconds: what comes so soon after a stop is part of it


class Stopped(SystemExit):
    """A signal has stopped the command."""

    def __init__(self) -> None:
        super().__init__(1)


class StopSignals:
    """While it is entered, a signal of `STOPPING` raises `Stopped`.

    Inside `training()` the first one is noted only (`asked`), so that training saves a checkpoint at its next safe
    point and stops there; the second one, or `PATIENCE` seconds without such a point, raises. Inside `ending()` none
    does anything, since how the run ended is being written. Outside of the main thread, which alone hears signals,
    nothing changes.
    """

    def __init__(self) -> None:
        self._asked = self._training = self._ending = False
        self._raised = -_SAME_PRESS  # when, by the monotonic clock
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            heard = {number: signal.getsignal(number) for number in STOPPING}
            self._before = {number: by for number, by in heard.items() if by not in (signal.SIG_IGN, None)}
        self.take_back()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def take_back(self) -> None:
        """Hear the signals again, which Lightning's trainer takes over when it begins."""
        for number in self._before:
            signal.signal(number, self._heard)

    def asked(self) -> bool:
        """Whether training, which is at a safe point, shall stop; if so it has all the time it needs to save."""
        if self._asked and self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return self._asked

    def has_raised(self) -> bool:
        """Whether `Stopped` has been raised."""
        return self._raised > -_SAME_PRESS

    @contextmanager
    def training(self) -> Iterator[None]:
        """While there are safe points to wait for."""
        timed_out = signal.signal(signal.SIGALRM, self._heard) if self._before else None
        self._training = True
        try:
            yield
        finally:
            self._training = False
            if self._before:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, timed_out)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """While nothing may be lost any more."""
        self._ending = True
        try:
            yield
        finally:
            self._ending = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._ending or now - self._raised < _SAME_PRESS:
            return
        if self._training and not self._asked:
            self._asked = True
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            return
        self._raised = now
        raise Stopped
