"""The one scale that DNC and SRG solutions leave open: a global minimum over y >= 0.

Both losses are, after every other scale is optimised, A y^(1/L) + sum_i m_i / (1 + s_i y): the first term is the
weight decay of all factors but the last, the second what ridge regression on the last layer leaves over.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import elementwise

from ncbench.theory.arguments import Array

__all__ = ["least_over_scale"]

GRID = 257


def least_over_scale(
    penalty: Array, squares: Sequence[float], multiplicities: Sequence[float], depth: int
) -> tuple[Array, Array]:
    """(loss, y): global minimum over y >= 0 of f(y) = A y^(1/L) + sum_i m_i / (1 + s_i y), L >= 2.

    y = 0 is always a local minimum, with value sum_i m_i; it is returned where no other is lower. Any other
    stationary point has y <= (L B / A)^(L/(L+1)), B = sum_i m_i / s_i, because s y / (1 + s y)^2 <= 1/(s y); and if
    its value is at most sum_i m_i then y >= (L-1) / max s, because then L sum m s y/(1+sy)^2 <= sum m s y/(1+sy).
    Between the two a log-spaced grid finds the valley, and the root of df/d(log y) its bottom.

    Args:
        penalty: A > 0, any shape: one minimisation per entry.
        squares: s_i > 0.
        multiplicities: m_i > 0.
        depth: L.

    Returns:
        Two arrays of the shape of `penalty`; y = 0 for the zero solution.
    """
    A, L = np.asarray(penalty, dtype=np.float64), depth
    terms = list(zip(squares, multiplicities, strict=True))
    zero = float(sum(multiplicities))

    def loss(t: Array, A: Array) -> Array:
        y = np.exp(t)
        total: Array = A * np.exp(t / L) + sum(m / (1 + s * y) for s, m in terms)
        return total

    def slope(t: Array, A: Array) -> Array:
        y = np.exp(t)
        total: Array = A / L * np.exp(t / L) - sum(m * s * y / (1 + s * y) ** 2 for s, m in terms)
        return total

    low = np.log(0.5 * (L - 1) / max(squares))
    high = L / (L + 1) * np.log(L * sum(m / s for s, m in terms) / A) + np.log(2)
    t = low + np.linspace(0, 1, GRID) * np.maximum(high - low, 1.0)[..., None]
    best = np.argmin(loss(t, A[..., None]), axis=-1)[..., None]
    inside = (best > 0) & (best < GRID - 1)
    left, right = (np.take_along_axis(t, np.clip(best + step, 0, GRID - 1), -1)[..., 0] for step in (-1, 1))
    has_valley = inside[..., 0] & (slope(left, A) < 0) & (slope(right, A) > 0)
    # Where there is no valley the bracket is made valid but meaningless, and the zero solution taken.
    bracket = (np.where(has_valley, left, high - 60), np.where(has_valley, right, high))
    root = elementwise.find_root(slope, bracket, args=(A,)).x
    value = np.where(has_valley, loss(root, A), np.inf)
    return np.minimum(value, zero), np.where(value < zero, np.exp(root), 0.0)
