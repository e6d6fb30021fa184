"""The steps at which to measure, evenly spaced on a log axis.

`run.build` and `run.ensembles` choose how many (`measure.points`); `MeasureCollapse` measures at them.
"""

import math

__all__ = ["log_spaced"]


def log_spaced(last: int, points: int) -> list[int]:
    """At most `points` steps from 0 to `last`, both included, evenly spaced on a log axis after the first.

    Collapse proceeds over decades of steps, so a linear grid would spend its points on the plateau.

    Raises:
        ValueError: last or points is below 1.

    >>> log_spaced(1000, 5)
    [0, 1, 10, 100, 1000]
    >>> log_spaced(3, 60)
    [0, 1, 2, 3]
    """
    if last < 1:
        raise ValueError(f"last={last} must be at least 1")
    if points < 1:
        raise ValueError(f"points={points} must be at least 1")
    inner = points - 2
    spaced = (round(math.exp(math.log(last) * i / max(inner, 1))) for i in range(inner + 1)) if inner > 0 else ()
    return sorted({0, last, *spaced})
