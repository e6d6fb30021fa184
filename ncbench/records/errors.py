"""What can be wrong with a record. The standard library alone, so that every reader may raise these."""

__all__ = ["BadRecordsError", "CrowdedError", "DamagedError", "NoRecordsError", "UndefinedError"]


class BadRecordsError(ValueError):
    """A directory, a record or an argument that cannot be used as it is: the user's to correct."""


class DamagedError(BadRecordsError):
    """A file of a record is not as it was written, or is gone."""


class NoRecordsError(ValueError):
    """The directory has runs, but none of the records that this figure shows."""


class UndefinedError(NoRecordsError):
    """The records that this figure shows are there, but none of their values can be drawn (NaN or infinite)."""


class CrowdedError(NoRecordsError):
    """There is more to compare than the figure has room for: the page says so, and how to draw a part of it."""
