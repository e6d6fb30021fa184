"""Low-rank logit structures: their least loss along a ray, and what Theorems 1, 3 and 7 say about them.

Source: arXiv 2410.23169. Letters as in `objective`; p = 2/(L+1) the exponent of the Schatten quasi-norm; q_K the
least rank of a diagonally superior matrix, 2 for K >= 3 and 1 for K = 2.
"""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from ncbench.core import frames
from ncbench.theory.arguments import Array, Decays, at_least, classes_and_depth, positive
from ncbench.theory.dufm_ce.objective import balanced_factors, schatten_power

__all__ = [
    "dnc_can_be_optimal",
    "pair_loss",
    "polygon_loss",
    "ray_optimum",
    "relu_dnc_can_be_optimal",
    "relu_low_rank",
    "relu_low_rank_loss",
    "singular_value_bound",
    "singular_value_count_bound",
]


def ray_optimum(M: Tensor, depth: int, decay: float) -> tuple[float, float]:
    """(b, loss): global minimum over b >= 0 of `reduced_objective` at b M; (0, log K) where zero is best.

    M (K, K) need not be a critical direction: for most structures other than DNC, even pairs and the polygon a
    relaxation of all entries lowers the loss further.

    Raises:
        ValueError: L is below 1, or the decay not positive.
    """
    M = M.to(torch.float64)
    return _least_on_ray(M, float(schatten_power(M, at_least("depth", depth, 1))), depth, decay)


def pair_loss(num_classes: int, depth: int, decay: float) -> float:
    """Least loss over the scale b of b `pair_blocks` (equation 5 of the paper).

    Even K: log(1 + e^(-2b) + (K-2) e^(-b)) + ((L+1)/2) Lam (K/2) (2b)^(2/(L+1)), an exact critical point. Odd K: the
    last class has the single entry b; not a critical point (see `best_known_loss`).

    >>> round(pair_loss(10, 2, 2**-10 * 5 ** (1 / 3)), 8)
    0.08001266
    """
    return ray_optimum(frames.pair_blocks(num_classes), depth, decay)[1]


def polygon_loss(num_classes: int, depth: int, decay: float) -> float:
    """Least loss over the scale b of b cos(2 pi (i - j)/K), K >= 3: rank 2, the least that separates K classes."""
    return ray_optimum(frames.polygon(num_classes), depth, decay)[1]


def dnc_can_be_optimal(num_classes: int, depth: int) -> bool:
    """Theorem 1: False for (K >= 4 and L >= 3) or (K >= 6 and L = 2), where DNC is never a global minimum.

    There the pair blocks fit better and cost less at the same scale, at every decay. The condition is sufficient,
    not necessary: for K = 4, 5 and L = 2 (True here) DNC is the best known only below a decay.
    """
    K, L = classes_and_depth(num_classes, depth)
    return not ((K >= 4 and L >= 3) or (K >= 6 and L == 2))


def singular_value_bound(num_classes: int, depth: int, index: int | None = None, per_class: int = 1) -> float:
    """Theorem 3: upper bound on singular values of Z / ||Z||_F at a non-zero global minimum Z (K, nK).

    index = None: the paper's ((q+1)/(q+2))^((L+1)/2) for all but q = q_K of them, which holds for decays o(1/L) and
    L large enough, without saying how large. index = j >= 1: a bound on the j-th largest that holds at every L and
    every decay, (2 c / j)^(1/p) for K >= 3 with c = (K sqrt(n) / (1 - cos(2 pi/K)))^p, capped at 1 (derived: entries
    of Z/||Z|| are at most 1, so its margins at most 2, and the polygon scaled to margins 2 must cost no less).

    Raises:
        ValueError: K is below 2, or L, n or the index below 1.
    """
    rank, cost = _separating_cost(num_classes, depth, per_class)
    exponent = (depth + 1) / 2
    if index is None:
        return float(((rank + 1) / (rank + 2)) ** exponent)
    return float(min(1.0, (cost / at_least("index", index, 1)) ** exponent))


def singular_value_count_bound(num_classes: int, depth: int, threshold: float, per_class: int = 1) -> float:
    """Upper bound on the number of singular values of Z / ||Z||_F that are at least `threshold`, at every L and decay.

    2 [K sqrt(n) / ((1 - cos(2 pi/K)) t)]^(2/(L+1)) for K >= 3: tends to q_K = 2 as L -> infinity.

    Raises:
        ValueError: K is below 2, L or n below 1, or the threshold not positive.
    """
    t = float(positive("threshold", threshold))
    return float(_separating_cost(num_classes, depth, per_class)[1] / t ** (2 / (depth + 1)))


def relu_dnc_can_be_optimal(num_classes: int, depth: int) -> bool:
    """Theorem 7 (ReLU): False for (K >= 10 and L >= 5) or (K >= 16 and L = 4); under the paper's assumption."""
    K, L = classes_and_depth(num_classes, depth)
    return not ((K >= 10 and L >= 5) or (K >= 16 and L == 4))


def relu_low_rank(
    num_classes: int,
    depth: int,
    scale: float,
    per_class: int = 1,
    width: int | None = None,
    feature_decay: float = 1.0,
    weight_decays: Decays = 1.0,
) -> tuple[Tensor, list[Tensor]]:
    """(H, Ws) of the ReLU network with logits a X kron 1_n^T, X = `pair_blocks`, behind Theorem 7; even K, L >= 2.

    H_l = phi_l (X + 11^T) kron 1_n^T for 2 <= l <= L, non-negative, so that no ReLU is active; W_l = psi (X + (2/K)
    11^T), W_L = psi sqrt((K+2)/K) X, and W_1 H_1 a least-norm factorisation. For equal decays all |F|^2 are
    psi^2 (2K + 4), with a sqrt(n) = 2^(L-1) psi^(L+1) ((K+2)/K)^(3/2). a = `scale` > 0;
    `width` is at least K, and K by default.

    Raises:
        ValueError: K is odd, L below 2, the width below K, or a decay or the scale not positive.
    """
    K, L, n = _even(num_classes), at_least("depth", depth, 2), per_class
    d = K if width is None else at_least("width", width, K)
    # psi solves a sqrt(n) = 2^(L-1) psi^(L+1) ((K+2)/K)^(3/2): then all factors cost the same.
    psi = (float(positive("scale", scale)) * math.sqrt(n) * 2 ** (1 - L) * (K / (K + 2)) ** 1.5) ** (1 / (L + 1))
    X, Y = frames.pair_blocks(K), torch.ones(K, K, dtype=torch.float64)
    # Two balanced factors of H_2 have |W_1|^2 = |H_1|^2 = ||H_2||_*, the common value.
    H, (W1,) = balanced_factors(psi**2 * (K + 2) / K / math.sqrt(n) * (X + Y), 1, d, n)
    # W_2 .. W_{L-1}, W_L and W_1, filled with zeros to the width d.
    pad = (0, d - K, 0, d - K)
    hidden = torch.nn.functional.pad(psi * X + 2 * psi / K * Y, pad)
    last = torch.nn.functional.pad(psi * math.sqrt((K + 2) / K) * X, pad[:2])
    W1 = torch.nn.functional.pad(W1, (0, 0, 0, d - K))
    # Unequal decays change the scales only: those of the balanced factors of the number 1.
    ones = torch.eye(1, dtype=torch.float64)
    h, ws = balanced_factors(ones, L, 1, 1, feature_decay, weight_decays)
    return float(h) * H, [float(w) * W for w, W in zip(ws, [W1, *[hidden] * (L - 2), last], strict=True)]


def relu_low_rank_loss(num_classes: int, depth: int, decay: float) -> tuple[float, float]:
    """(a, loss): least loss over the scale a of `relu_low_rank`; (0, log K) where zero is best.

    fit as for even pairs + ((L+1)/2) Lam (2K + 4) [a 2^(1-L) (K/(K+2))^(3/2)]^(2/(L+1)).

    Raises:
        ValueError: K is odd, L below 2, or the decay not positive.
    """
    K, L = _even(num_classes), at_least("depth", depth, 2)
    cost = (2 * K + 4) * (2 ** (1 - L) * (K / (K + 2)) ** 1.5) ** (2 / (L + 1))
    return _least_on_ray(frames.pair_blocks(K), cost, L, decay)


def _least_on_ray(M: Tensor, cost: float, L: int, decay: float) -> tuple[float, float]:
    """Global minimum over b >= 0 of fit(b M) + ((L+1)/2) Lam cost b^p: log-spaced search, then root finding."""
    at_least("depth", L, 1)
    lam, p, K = float(positive("decay", decay)), 2 / (L + 1), len(M)
    gaps = (M - M.diagonal()).numpy()  # entry jc: minus the margin of class c over j
    penalty = (L + 1) / 2 * lam * cost

    def value(t: float | Array) -> Array:
        scaled = np.exp(np.multiply.outer(np.exp(t), gaps))
        total: Array = np.log(scaled.sum(-2)).mean(-1) + penalty * np.exp(np.multiply(t, p))
        return total

    def slope(t: float) -> float:
        weights = np.exp(np.exp(t) * gaps)
        return float((np.exp(t) * (weights * gaps).sum(0) / weights.sum(0)).mean() + p * penalty * np.exp(t * p))

    # Beyond b = (log K / penalty)^(1/p) the penalty alone exceeds the loss of zero; the fit's scale is 1 / margin.
    high = math.log(math.log(K) / penalty) / p
    if gaps.max() > 0:  # a wrong logit is larger: the fit grows with b, and would overflow
        high = min(high, math.log(700 / gaps.max()))
    low = math.log(1e-3 / np.abs(gaps).max())
    # The lowest point of a log-spaced grid, and the root of the slope between its neighbours.
    grid = np.linspace(low, max(high, low + 1), 257)
    best = int(np.argmin(value(grid)))
    if not 0 < best < len(grid) - 1:
        return 0.0, math.log(K)
    t = brentq(slope, grid[best - 1], grid[best + 1], xtol=1e-14)
    loss = float(value(t))
    return (math.exp(t), loss) if loss < math.log(K) else (0.0, math.log(K))


def _separating_cost(num_classes: int, depth: int, per_class: int) -> tuple[int, float]:
    """(q_K, sum_j s_j^p of a rank-q_K structure kron 1_n^T scaled to margins 2)."""
    K, L = classes_and_depth(num_classes, depth)
    n = at_least("per_class", per_class, 1)
    p = 2 / (L + 1)
    if K == 2:
        return 1, (2 * math.sqrt(n)) ** p
    return 2, 2 * (K * math.sqrt(n) / (1 - math.cos(2 * math.pi / K))) ** p


def _even(num_classes: int) -> int:
    if at_least("num_classes", num_classes, 2) % 2:
        raise ValueError(f"num_classes must be even, got {num_classes}")
    return num_classes
