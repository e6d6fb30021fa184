"""What weight decay on the factors of a deep linear autoencoder does to each eigenmode of the covariance.

min sum_l ||W_l||_F^2 over L factors of W equals L sum_i s_i(W)^(2/L): decay on the factors is not ridge on the
product. With loss (1/N) ||W X - X||_F^2 + lam sum_l ||W_l||_F^2 the modes decouple: for an eigenvalue c of
X X^T / N the singular value w >= 0 of the product minimises

    f(w) = c (1 - w)^2 + lam L w^(2/L).

Source: derived; it is what the deep linear experiments of arXiv 2402.03991 train.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import elementwise

from ncbench.theory.arguments import Array, Decay, at_least, plain, positive

__all__ = ["FactorDecayMode", "FactorDecayThresholds", "factor_decay_mode", "factor_decay_thresholds"]


class FactorDecayMode(NamedTuple):
    """Singular values of the product for one mode: at the global minimum, and at the local one away from zero."""

    global_minimiser: float | Array
    local_minimiser: float | Array


class FactorDecayThresholds(NamedTuple):
    """Values of c / lam above which a minimum away from zero exists, and above which it is the global one."""

    exists: float
    is_global: float


def factor_decay_thresholds(depth: int) -> FactorDecayThresholds:
    """Thresholds of c / lam for L factors; (2.598, 3.674) for L = 4.

    L > 2: exists above 1 / ((1-w0) w0^(1-2/L)), w0 = (L-2)/(2(L-1)), the largest slope of the data term; global
    above (L-1) w1^(2/L-1), w1 = (L-2)/(L-1), where f(w1) = f(0) = c. w = 0 is then always a local minimum.
    L = 2: both 1 (f is convex); L = 1: both 0 (plain ridge).

    Raises:
        ValueError: L is below 1.
    """
    L = at_least("depth", depth, 1)
    if L <= 2:
        return FactorDecayThresholds(float(L - 1), float(L - 1))
    w0, w1 = (L - 2) / (2 * (L - 1)), (L - 2) / (L - 1)
    return FactorDecayThresholds(1 / ((1 - w0) * w0 ** (1 - 2 / L)), (L - 1) * w1 ** (2 / L - 1))


def factor_decay_mode(eigenvalue: Decay, weight_decay: Decay, depth: int) -> FactorDecayMode:
    """(global minimiser, local minimiser away from zero) of c (1-w)^2 + lam L w^(2/L) over w >= 0.

    Both are 0 where no minimum away from zero exists, at the threshold included (there it is an inflection), and
    the first is 0 up to and at the second threshold (at it both minima have the same value). Trained networks may
    keep a mode between the thresholds, or leave one above them at 0. Eigenvalue and decay may be arrays.

    Raises:
        ValueError: L is below 1, or an eigenvalue or decay not positive.
    """
    L = at_least("depth", depth, 1)
    ratio = positive("eigenvalue", eigenvalue) / positive("weight_decay", weight_decay)
    if L == 1:
        w = ratio / (1 + ratio)
    elif L == 2:
        w = np.maximum(1 - 1 / ratio, 0.0)
    else:
        # f'(w) = 0 where (1-w) w^(1-2/L) = lam/c: on [w0, 1] the left side falls from its maximum to 0.
        exists = ratio > factor_decay_thresholds(L).exists
        w0 = (L - 2) / (2 * (L - 1))

        def slope(w: Array, ratio: Array) -> Array:
            return (1 - w) * w ** (1 - 2 / L) * ratio - 1

        bracket = (np.full_like(ratio, w0), np.ones_like(ratio))
        root = elementwise.find_root(slope, bracket, args=(np.where(exists, ratio, 1e9),)).x
        w = np.where(exists, np.nan_to_num(root, nan=w0), 0.0)  # nan: the sign at w0 is lost to rounding
    best = np.where(ratio > factor_decay_thresholds(L).is_global, w, 0.0)
    return FactorDecayMode(plain(best), plain(w))
