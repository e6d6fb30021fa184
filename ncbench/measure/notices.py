"""Warnings about a network that is measured again and again, each of them given once."""

import logging
import re

__all__ = ["Notices"]

_log = logging.getLogger(__name__)
# Addresses of objects, and numbers, one or several after each other.
_ONE = r"(?:0x[0-9a-f]+|[-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|\b(?:nan|inf)\b))"
_NUMBERS = re.compile(rf"{_ONE}(?:,?\s+{_ONE})*", re.IGNORECASE)


class Notices:
    """The warnings that one series of measurements has given: each is logged the first time only.

    A callback has one for all its measurements, `measure` makes one for each call. They are not the process's: the
    second network of a notebook or a sweep is warned about as the first was.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], object] = {}

    def first_time(self, topic: str, subject: str) -> bool:
        """Whether nobody has asked about this topic and subject before, which threads may do side by side."""
        mine = object()
        return self._given.setdefault((topic, subject), mine) is mine

    def warn(self, topic: str, subject: str, message: str, *values: object) -> None:
        """Log a warning, with %-style `values`, unless there was one on this topic and subject for the same reason.

        Reasons that differ only in their numbers, in how many there are, or in an object's address are the same.
        """
        reason = _NUMBERS.sub("#", message % values)
        if self.first_time(topic, f"{subject}: {reason}"):
            _log.warning(message, *values)
