"""One verdict for an experiment: of several claims, of a run that was changed, of a figure without a record."""

from collections.abc import Iterable

__all__ = ["CHANGED", "NOT_YET", "overall"]

NOT_YET = "not yet"  # a figure without a record
CHANGED = "changed"  # a run with other settings than its experiment: its claims are not the experiment's


def overall(verdicts: Iterable[str]) -> str:
    """One verdict for several claims: the least favourable of those that were decided.

    Claims without enough data do not count, unless there are no others.

    >>> overall(["reproduced", "conditional"]), overall(["reproduced", "not enough data"]), overall([])
    ('conditional', 'reproduced', 'not enough data')
    """
    decided = set(verdicts)
    for verdict in ("not reproduced", "conditional", "reproduced"):
        if verdict in decided:
            return verdict
    return "not enough data"
