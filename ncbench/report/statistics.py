"""Intervals of 95 % for shares, statistics and rank correlations over replicas.

The bootstrap resamples replicas with a fixed seed, so that the same records give the same verdict.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, rankdata

__all__ = [
    "FEWEST",
    "crossing",
    "crossings",
    "percentiles",
    "rank_correlation",
    "resampled",
    "wilson",
]

Array = np.ndarray[Any, np.dtype[Any]]

FLOOR = 1e-16  # below: rounding of float64, and zeros, which have no logarithm
RESAMPLES = 2000
# With n values their whole range covers the median with probability 1 - 2^(1 - n): 0.94 at 5, 0.97 at 6. No resampling
# of fewer can give an interval of 95 %.
FEWEST = 6
_CHUNK = 100


def wilson(hits: int, size: int) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927), without correction for continuity.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),   p = hits / n,   z = 1.95996

    It stays inside [0, 1] and has a width where all or none hit. Raises ValueError for size < 1 and for hits outside
    [0, size].
    """
    if not 0 <= hits <= size or size < 1:
        raise ValueError(f"hits={hits} must be in [0, size], and size={size} must be at least 1")
    interval = binomtest(hits, size).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def resampled(statistic: Callable[[Array], Array], size: int, seed: int = 0) -> Array:
    """The statistic of 2000 draws, with replacement, of `size` out of `size` replicas.

    `statistic` takes the indices of b draws, shape (b, size), and returns b values, NaN where one is undefined.
    """
    generator = np.random.default_rng(seed)
    draws = generator.integers(size, size=(RESAMPLES, size))
    return np.concatenate([statistic(draws[start : start + _CHUNK]) for start in range(0, RESAMPLES, _CHUNK)])


def percentiles(values: Array) -> tuple[float, float] | None:
    """The 2.5 and 97.5 percentiles of resampled values; None where the statistic is undefined for more than a tenth."""
    known = values[np.isfinite(values)]
    if len(known) < 0.9 * len(values):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def rank_correlation(x: Array, y: Array) -> Array:
    """Spearman's rank correlation along the last axis: Pearson's correlation of the ranks, ties with their mean rank.

    0 where y is constant (it goes neither up nor down), NaN where x is. Ties within x alone keep it below 1: m equally
    large groups reach at most sqrt(1 - 1 / m^2).
    """
    a, b = (rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 for values in (np.asarray(x), np.asarray(y)))
    aa, bb, ab = (np.sum(product, axis=-1) for product in (a * a, b * b, a * b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(aa == 0, np.nan, np.where(bb == 0, 0.0, ab / np.sqrt(aa * bb)))


def crossing(x: Sequence[float], y: Sequence[float], threshold: float) -> float:
    """The first of `crossings`; NaN where y stays on one side.

    >>> round(crossing([1.0, 100.0], [1e-4, 1.0], 1e-2), 9)
    10.0
    """
    return next(iter(crossings(x, y, threshold)), math.nan)


def crossings(x: Sequence[float], y: Sequence[float], threshold: float) -> list[float]:
    """The places along ascending x > 0 where y passes the threshold, on straight lines in (log x, log y).

    Values of y below 1e-16 count as 1e-16.

    >>> [round(place, 9) for place in crossings([1.0, 100.0, 1e4], [1e-4, 1.0, 1e-4], 1e-2)]
    [10.0, 1000.0]
    """
    places = []
    across, up = np.log(np.asarray(x, dtype=float)), np.log(np.maximum(y, FLOOR)) - math.log(threshold)
    for place in range(len(up) - 1):
        low, high = up[place], up[place + 1]
        if (low < 0) != (high < 0):
            places.append(float(np.exp(across[place] + (across[place + 1] - across[place]) * low / (low - high))))
    return places
