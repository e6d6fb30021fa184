"""Deep unconstrained features model with mean squared error: the losses of the DNC and of the SRG solution.

Source: arXiv 2405.14468. Objective (its equation 1), N = K n samples, L weight matrices, L - 1 ReLUs,

    1/(2N) ||W_L relu(W_{L-1} ... relu(W_1 H_1)) - Y||_F^2 + sum_l lam_l/2 ||W_l||_F^2 + lam_H/2 ||H_1||_F^2,

whose zero solution has loss exactly 1/2. Letters: K classes, L depth, n samples per class, Lam the product
N lam_H lam_1 ... lam_L, on which alone (with K and L) both losses depend; y the squared scale of the last layer.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

__all__ = ["APPLIES", "FORMULAS", "decay_product", "dnc_loss", "srg_loss"]

ZERO_LOSS = 0.5
Array = NDArray[np.float64]

# What an objective must have for these losses to be lines on its axis.
APPLIES = {"loss": "mse", "activation": "relu"}

FORMULAS = {
    "dnc_loss": "min_y (KL/2) (Λ y)^(1/L) + 1/(2(1+y)),  Λ = N λ_H λ_1…λ_L",
    "srg_loss": (
        "min_y (L/2) (C Λ y)^(1/L) + (1/2K) [1/(1+C(r-2,2)² y) + (r-1)/(1+(r-3)² y) + (r(r-3)/2)/(1+y)],  "
        "C = (√2 + √((r-1)(r-2)))² r^(L-3) K²/2,  K = r(r-1)/2;  other K: Def. 11, variant 1"
    ),
}


def dnc_loss(
    num_classes: int,
    depth: int,
    per_class: float,
    feature_decay: float,
    weight_decays: float | Sequence[float],
) -> float:
    """Loss of the best deep-neural-collapse solution (Definition 10).

    It is the minimum over y >= 0 of (KL/2)(Lam y)^(1/L) + 1/(2(1+y)).
    `weight_decays` is one decay for all L matrices or one per matrix; `per_class` may be fractional (N/K of an
    unbalanced set). Returns 1/2, the loss of the zero solution, where that is lower. Raises ValueError for
    num_classes < 2, depth < 1, or numbers that are not positive.

    >>> round(dnc_loss(10, 4, 5, 2e-3, 2e-3), 10)
    0.0685992431
    """
    K, L = num_classes, depth
    lam = decay_product(num_classes, depth, per_class, feature_decay, weight_decays)
    return _minimum(lambda y: (K * L / 2) * (lam * y) ** (1 / L), lambda y: 0.5 / (1 + y), L, lam)


def srg_loss(
    num_classes: int,
    depth: int,
    per_class: float,
    feature_decay: float,
    weight_decays: float | Sequence[float],
) -> float:
    """Loss of the strongly-regular-graph solution (Definition 9; any K >= 6 by Definition 11, variant 1).

    r is the largest integer with K_r = r(r-1)/2 <= K; the K - K_r classes left over form a DNC block, which adds
    (K - K_r)/K times the DNC loss. The intermediate layers have rank r (+ K - K_r). Arguments as `dnc_loss`;
    raises ValueError where no such solution exists (K < 6 or L < 3).

    >>> round(srg_loss(10, 4, 5, 2e-3, 2e-3), 10)
    0.0559851469
    """
    K, L = num_classes, depth
    if K < 6:
        raise ValueError(f"num_classes={K}: the SRG solution needs at least 6 classes (r >= 4)")
    if L < 3:
        raise ValueError(f"depth={L}: the SRG solution needs at least 3 weight matrices")
    lam = decay_product(num_classes, depth, per_class, feature_decay, weight_decays)
    r = (1 + math.isqrt(1 + 8 * K)) // 2
    K_r = r * (r - 1) // 2
    C = (math.sqrt(2) + math.sqrt((r - 1) * (r - 2))) ** 2 * r ** (L - 3) * K_r**2 / 2
    squares = np.array([math.comb(r - 2, 2) ** 2, (r - 3) ** 2, 1.0])
    multiplicity = np.array([1.0, r - 1.0, r * (r - 3) / 2])

    def fit(y: Array) -> Array:
        terms: Array = (multiplicity / (1 + squares * y[..., None])).sum(-1) / (2 * K)
        return terms

    block = _minimum(lambda y: (L / 2) * (C * lam * y) ** (1 / L), fit, L, lam, zero=K_r / K / 2)
    rest = K - K_r
    return block + rest / K * dnc_loss(K, L, per_class, feature_decay, weight_decays) if rest else block


def decay_product(
    num_classes: int,
    depth: int,
    per_class: float,
    feature_decay: float,
    weight_decays: float | Sequence[float],
) -> float:
    """Lam = N lam_H lam_1 ... lam_L with N = K n: the one number through which n and the decays enter both losses."""
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: at least 2 classes are needed")
    if depth < 1:
        raise ValueError(f"depth={depth}: at least 1 weight matrix is needed")
    decays = [weight_decays] * depth if isinstance(weight_decays, (int, float)) else list(weight_decays)
    if len(decays) != depth:
        raise ValueError(f"weight_decays has {len(decays)} values: one, or one per weight matrix ({depth})")
    named = [
        ("per_class", per_class),
        ("feature_decay", feature_decay),
        *(("weight_decays", d) for d in decays),
    ]
    for name, value in named:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value}: must be positive and finite")
    return num_classes * per_class * feature_decay * math.prod(decays)


def _minimum(
    penalty: Callable[[Array], Array],
    fit: Callable[[Array], Array],
    depth: int,
    lam: float,
    zero: float = ZERO_LOSS,
) -> float:
    """Global minimum over y >= 0 of penalty + fit, y = 0 (value `zero`) included.

    y = 0 is always a second local minimum, hence a log-spaced search first; the stationary point near the best
    grid point is then the root of d/d(log y) = penalty/L + y fit'(y), with a central difference for y fit'.
    """

    def total(t: Array) -> Array:
        y = np.exp(t)
        return penalty(y) + fit(y)

    # The optimal y grows like Lam^(-1/(L+1)) as Lam -> 0 and is of order L where the solution becomes trivial.
    grid = np.linspace(math.log(1e-4), max(math.log(1e8), -math.log(lam)), 4001)
    best = int(np.argmin(total(grid)))
    if best in (0, len(grid) - 1):
        return zero

    def slope(t: float) -> float:
        h, at = 1e-4, np.array([t])
        central = (fit(np.exp(at + h)) - fit(np.exp(at - h))) / (2 * h)
        return float((penalty(np.exp(at)) / depth + central)[0])

    root = brentq(slope, grid[best - 1], grid[best + 1], xtol=1e-13)
    return min(zero, float(total(np.array([root]))[0]))
