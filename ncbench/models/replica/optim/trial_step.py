"""The next trial step of a line search, for many replicas at once: lengthened while it goes down, then interpolated.

A point of the search is a row (step, value, slope along the direction); points are (R, 3). All functions are pure.
"""

import torch
from torch import Tensor

__all__ = ["interpolated", "lengthened"]

WIDEN = 10.0  # a step that is still going down is lengthened by at most this


def lengthened(trial: Tensor, lo: Tensor) -> Tensor:
    """Where a line through the last two slopes is zero, at least 2 and at most `WIDEN` times as far; (R,).

    `lo` is the last point that went down, before the trial.
    """
    (t, _, slope), (before, _, steeper) = trial.unbind(1), lo.unbind(1)
    # The secant of the slope; a slope that does not rise has no zero ahead, and the step grows as far as it may.
    secant = t - slope * (t - before) / (slope - steeper)
    secant = torch.where((slope > steeper) & secant.isfinite(), secant, torch.inf)
    return torch.minimum(torch.maximum(secant, 2 * t), WIDEN * t)


def interpolated(lo: Tensor, hi: Tensor, bisect: Tensor) -> Tensor:
    """The minimum of the cubic through values and slopes at both ends, a tenth of the bracket away from them; (R,).

    Nocedal & Wright, Numerical Optimization, 2006, equation 3.59. The middle where `bisect` (R,) says so, or where the
    cubic has no minimum.
    """
    (a, fa, sa), (b, fb, sb) = lo.unbind(1), hi.unbind(1)
    width = b - a
    d1 = sa + sb - 3 * (fb - fa) / width
    d2 = (d1.square() - sa * sb).sqrt()  # NaN without a minimum
    cubic = b - width * (sb + d2 - d1) / (sb - sa + 2 * d2)
    middle = a + width / 2
    t = torch.where(cubic.isfinite() & ~bisect, cubic, middle)
    # Nearer to an end the bracket would hardly shrink.
    return torch.minimum(torch.maximum(t, a + width / 10), b - width / 10)
