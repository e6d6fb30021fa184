"""Deep neural collapse with cross-entropy: scale, loss and the three thresholds of the decay.

Source: arXiv 2410.23169; formulas derived. Logits M = alpha S, S = I - 11^T/K; letters as in `objective`, and
q = (L-1)/(L+1). A critical scale solves Lam = f(alpha) = alpha^q / (e^alpha + K - 1) (its equation 19).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, elementwise

from ncbench.theory.arguments import Array, Decay, classes_and_depth, plain, positive

__all__ = ["DncThresholds", "dnc_loss", "dnc_scale", "dnc_thresholds"]


class DncThresholds(NamedTuple):
    """Decays Lam below which the DNC critical point exists, beats the zero solution, and is a local minimum.

    `psd_scale` is the scale alpha at the last of them (the Hessian has no negative eigenvalue from there on).
    """

    exists: float
    zero: float
    psd: float
    psd_scale: float


def dnc_scale(num_classes: int, depth: int, decay: Decay) -> float | Array:
    """alpha of the DNC critical point: the largest root of Lam = f(alpha), 0 beyond the `exists` threshold.

    L = 1: log(1/Lam - K + 1). For L >= 2, f has one peak; the root below it is a maximum along the ray. `decay` may
    be an array. Raises ValueError for num_classes < 2, depth < 1, a decay that is not positive.
    """
    K, L = classes_and_depth(num_classes, depth)
    lam = positive("decay", decay)
    if L == 1:
        return plain(np.log(np.maximum(1 / lam - K + 1, 1.0)))
    peak = _peak(K, L)
    exists = lam <= _f(peak, K, L)
    safe = np.where(exists, lam, 0.5 * _f(peak, K, L))

    def slope(alpha: Array, lam: Array) -> Array:
        """log(Lam / f(alpha)), increasing beyond the peak."""
        value: Array = np.log(lam) - (L - 1) / (L + 1) * np.log(alpha) + np.logaddexp(alpha, math.log(K - 1))
        return value

    # f(alpha) < alpha e^-alpha for alpha > 1, which is below Lam at alpha = 2 - 2 log Lam.
    right = np.maximum(2 - 2 * np.log(safe), peak + 1)
    root = elementwise.find_root(slope, (np.full_like(safe, peak), right), args=(safe,)).x
    return plain(np.where(exists, np.nan_to_num(root, nan=peak), 0.0))  # nan: the sign at the peak is lost to rounding


def dnc_loss(num_classes: int, depth: int, decay: Decay) -> float | Array:
    """Loss of the DNC critical point, log(1 + (K-1) e^-alpha) + ((L+1)/2) Lam (K-1) alpha^(2/(L+1)).

    Between the thresholds `zero` and `exists` it is above log K, the loss of the zero solution, and is returned all
    the same; beyond `exists` the value is log K. `decay` may be an array.

    Raises:
        ValueError: K is below 2, L below 1, or a decay not positive.

    >>> round(dnc_loss(10, 2, 2**-10 * 5 ** (1 / 3)), 8)  # 5 samples per class, all decays 2^-10
    0.09066218
    """
    K, L = classes_and_depth(num_classes, depth)
    alpha, lam = np.asarray(dnc_scale(K, L, decay)), positive("decay", decay)
    return plain(np.log1p((K - 1) * np.exp(-alpha)) + (L + 1) / 2 * lam * (K - 1) * alpha ** (2 / (L + 1)))


def dnc_thresholds(num_classes: int, depth: int) -> DncThresholds:
    """Thresholds of Lam, all of them upper ends of the interval in which the property holds.

    exists = f(a0), a0 = q (1 + (K-1) e^-a0). zero = f(az), az > a0 the root of
    log(1+(K-1)e^-a) + ((L+1)/2)(K-1) a/(e^a+K-1) = log K. psd: the Hessian at DNC has no negative eigenvalue iff
    alpha >= psd_scale = K q for K >= 4 (a scale >= a0). For K = 3 psd_scale solves 3 (a/3 - q) + P R/(P + R) = 0,
    P = 3 + a, R = a (1 - 3/(e^a + 2)); for K = 2 it is a0. L = 1 is convex: all three are 1/K, psd_scale = 0.
    """
    K, L = classes_and_depth(num_classes, depth)
    if L == 1:
        return DncThresholds(1 / K, 1 / K, 1 / K, 0.0)
    q, peak = (L - 1) / (L + 1), _peak(K, L)

    def excess(a: float) -> float:
        spread = math.log1p((K - 1) * math.exp(-a))
        return spread + (L + 1) / 2 * (K - 1) * a / (math.exp(a) + K - 1) - math.log(K)

    def curvature(a: float) -> float:
        P, R = 3 + a, a * (1 - 3 / (math.exp(a) + 2))
        return a - 3 * q + P * R / (P + R)

    zero = brentq(excess, peak, 50.0 + 2 * math.log(K), xtol=1e-14)
    scale = peak if K == 2 else brentq(curvature, 1e-9, 6.0, xtol=1e-14) if K == 3 else K * q
    return DncThresholds(_f(peak, K, L), _f(zero, K, L), _f(scale, K, L), float(scale))


def _f(alpha: float, K: int, L: int) -> float:
    return float(alpha ** ((L - 1) / (L + 1)) / (math.exp(alpha) + K - 1))


def _peak(K: int, L: int) -> float:
    """a0, where f is largest."""
    q = (L - 1) / (L + 1)
    return float(brentq(lambda a: a - q * (1 + (K - 1) * math.exp(-a)), 0.0, q * K + 1, xtol=1e-15))
