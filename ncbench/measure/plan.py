"""After which epochs to measure, and of which measurements the matrices stay."""

import logging
from collections.abc import Collection
from typing import Any

__all__ = ["Plan"]

_log = logging.getLogger(__name__)


class Plan:
    """The epochs after which a training is measured: those given, or (None) 0 and every one.

    Raises ValueError for what is no collection of whole numbers from 0 on.
    """

    def __init__(self, epochs: Collection[int] | None, gram_every: int) -> None:
        self.due = None if epochs is None else _checked(epochs)
        self.gram_every = gram_every
        self.last: int | None = None
        self._beyond: list[int] = []

    def begin(self, last: int | None) -> None:
        """A training begins that ends after `last` epochs (None: not known); the log says what lies beyond."""
        self.last = last
        self._beyond = [epoch for epoch in self.due or () if last is not None and epoch > last]
        if self._beyond:
            nothing = "; nothing will be measured" if len(self._beyond) == len(self.due or ()) else ""
            _log.warning(
                "epochs=%s: the training ends after %d epochs, so there is no measurement after %s%s",
                self.due,
                last,
                ", ".join(map(str, self._beyond)),
                nothing,
            )

    def end(self, finished: int) -> None:
        """The training has ended after so many epochs; the log says which were due later and not said to be beyond."""
        missed = [epoch for epoch in self.due or () if epoch > finished and epoch not in self._beyond]
        if missed:
            _log.warning(
                "epochs=%s: the training ended after %d epochs, before the measurements after %s",
                self.due,
                finished,
                ", ".join(map(str, missed)),
            )

    def is_due(self, finished: int) -> bool:
        """Whether to measure after so many epochs."""
        return self.due is None or finished in self.due

    def lasting(self, finished: int) -> tuple[bool, bool]:
        """Whether the Gram matrices and the class means after so many epochs, which are due, stay."""
        position = finished if self.due is None else self.due.index(finished)
        last = finished == self.last or (self.due is not None and finished == self.due[-1])
        return last or position % self.gram_every == 0, last or position == 0


def _checked(epochs: Any) -> list[int]:
    listed = list(epochs) if isinstance(epochs, Collection) and not isinstance(epochs, str | bytes) else [-1]
    if not all(hasattr(epoch, "__int__") and epoch >= 0 and epoch == int(epoch) for epoch in listed):
        raise ValueError(f"epochs={epochs} must be a list of whole numbers from 0 on, or None for every epoch")
    return sorted({int(epoch) for epoch in listed})
