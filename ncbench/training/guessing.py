"""Whether a trained classifier does no better than one that knows nothing but the sizes of the classes."""

import math
from collections.abc import Sequence

__all__ = ["STANDARD_ERRORS", "guessing_notice"]

STANDARD_ERRORS = 3.0


def guessing_notice(accuracy: float, counts: Sequence[int]) -> str | None:
    """What to say of a training accuracy that is that of guessing; None where it is better.

    To say the largest class whatever the sample is right for p = max(counts) / N of N = sum(counts) samples. The
    accuracy is that of guessing where it is at most p + 3 sqrt(p (1 - p) / N): three standard errors of the share of N
    independent guesses that are right with probability p.

    >>> guessing_notice(0.11, [60] * 10)[:58]
    'the training accuracy 0.11 is that of guessing (10 classes'
    >>> guessing_notice(0.14, [60] * 10)
    """
    samples = sum(counts)
    share = max(counts) / samples
    if not accuracy <= share + STANDARD_ERRORS * math.sqrt(share * (1 - share) / samples):
        return None
    return (
        f"the training accuracy {accuracy:.3g} is that of guessing ({len(counts)} classes, the largest with a share of "
        f"{share:.3g}): measures of collapse then say little; a smaller objective.weight_decay, "
        "objective.loss=ce, fewer layers (model.depth), another optimizer.lr or more epochs may help (docs/data.md)"
    )
