"""Losses of the DNC and of the SRG solution, and what Theorem 5 of arXiv 2405.14468 says about their ratio.

Letters: K classes, L weight matrices, n samples per class, N = nK, Lam = N lam_H lam_1 ... lam_L, on which alone
(with K and L) both losses depend; r vertices of the complete graph whose edges are the classes of the SRG
solution, K_r = r(r-1)/2; m = 1 + C(r-2, 2); y the squared scale of the last layer.
"""

import math
from collections.abc import Sequence

import numpy as np

from ncbench.core import frames
from ncbench.theory.arguments import Array, Decay, Decays, classes_and_depth, layer_decays, plain, positive
from ncbench.theory.dufm_mse.scale import least_over_scale

__all__ = [
    "decay_product",
    "dnc_loss",
    "loss_ratio_asymptote",
    "loss_ratio_limit",
    "ratio_curve",
    "srg_beats_dnc",
    "srg_loss",
    "triviality_threshold",
]

ZERO_LOSS = 0.5


def dnc_loss(
    num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays
) -> float | Array:
    """Loss of the best deep-neural-collapse solution (Definition 10).

    It is the minimum over y >= 0 of (KL/2)(Lam y)^(1/L) + 1/(2(1+y)); for L = 1 sqrt(K Lam) - K Lam / 2.
    `weight_decays` is one decay for all L matrices or a list of one per matrix; decays and `per_class` (which may
    be fractional: N/K of an unbalanced set) may be arrays, and then so is the result. 1/2, the loss of the zero
    solution, where that is lower. Raises ValueError for num_classes < 2, depth < 1, or numbers that are not positive.

    >>> round(dnc_loss(10, 4, 5, 2e-3, 2e-3), 10)
    0.0685992431
    """
    lam = np.asarray(decay_product(num_classes, depth, per_class, feature_decay, weight_decays))
    return plain(dnc_scale(num_classes, depth, lam)[0])


def dnc_scale(K: int, L: int, lam: Array) -> tuple[Array, Array]:
    """(loss, y) of the DNC solution at Lam, y = s_L^2 / (K lam_L); y = 0 for the zero solution."""
    if L == 1:  # convex: K Lam (1 + y)^2 = 1
        root = np.minimum(np.sqrt(K * lam), 1.0)
        return root - root**2 / 2, 1 / root - 1
    return least_over_scale(K * L / 2 * lam ** (1 / L), [1.0], [0.5], L)


def srg_loss(
    num_classes: int,
    depth: int,
    per_class: Decay,
    feature_decay: Decay,
    weight_decays: Decays,
    variant: int = 1,
) -> float | Array:
    """Loss of the strongly-regular-graph solution (Definition 9; any K by Definition 11).

    For K = K_r the minimum over y >= 0 of

        (L/2)(C Lam y)^(1/L) + (1/2K)[1/(1+C(r-2,2)^2 y) + (r-1)/(1+(r-3)^2 y) + (r(r-3)/2)/(1+y)],
        C = (sqrt 2 + sqrt((r-1)(r-2)))^2 r^(L-3) K^2 / 2.

    Other K, variant 1: r is the largest with K_r <= K; the K - K_r classes left over form a DNC block, which adds
    (K - K_r)/K times the DNC loss (intermediate rank r + K - K_r). Variant 2: r is the smallest with K_r >= K; the
    last K_r - K classes of the SRG solution of K_r, in lexicographic order of the edges, are deleted (columns of
    H_1, rows of W_L) and nothing is optimised again; the paper uses it for the asymptotics only. Variant 1 is the
    better one just above a triangular number, variant 2 just below. Arguments as `dnc_loss`; raises ValueError
    where no such solution exists (K < 6, for variant 2 K < 4, or L < 3) and for another variant.

    >>> round(srg_loss(10, 4, 5, 2e-3, 2e-3), 10)
    0.0559851469
    """
    lam = np.asarray(decay_product(num_classes, depth, per_class, feature_decay, weight_decays))
    r = srg_vertices(num_classes, depth, variant)
    if variant == 2:
        return plain(_deleted_columns(num_classes, depth, lam, r))
    K, K_r = num_classes, math.comb(r, 2)
    block = srg_scale(r, depth, (K / K_r) ** depth * lam)[0]
    rest = K - K_r
    return plain(K_r / K * block + rest / K * dnc_scale(K, depth, lam)[0] if rest else block)


def srg_vertices(num_classes: int, depth: int, variant: int) -> int:
    """r of Definition 11 for `num_classes`, after checking that such a solution exists."""
    if variant not in (1, 2):
        raise ValueError(f"variant must be 1 or 2 (Definition 11), got {variant}")
    if depth < 3:
        raise ValueError(f"depth must be at least 3 for the SRG solution, got {depth}")
    if variant == 2:
        if num_classes < 4:
            raise ValueError(f"num_classes must be at least 4 for variant 2 of the SRG solution, got {num_classes}")
        return (3 + math.isqrt(8 * num_classes - 7)) // 2  # 4 for K = 4, 5, 6
    if num_classes < 6:
        raise ValueError(f"num_classes must be at least 6 for the SRG solution (r >= 4), got {num_classes}")
    return (1 + math.isqrt(1 + 8 * num_classes)) // 2


def srg_scale(r: int, L: int, lam: Array) -> tuple[Array, Array]:
    """(loss, y) of the SRG solution of K_r classes at Lam, y = alpha_L / (m K lam_L); y = 0 for the zero solution."""
    K = math.comb(r, 2)
    squares, multiplicities = _last_layer(r)
    penalty = L / 2 * (srg_constant(r, L) * lam) ** (1 / L)
    return least_over_scale(penalty, squares, [m / (2 * K) for m in multiplicities], L)


def srg_constant(r: int, L: int) -> float:
    """C of `srg_loss`; for DNC it is K^L."""
    return (math.sqrt(2) + math.sqrt((r - 1) * (r - 2))) ** 2 * float(r) ** (L - 3) * math.comb(r, 2) ** 2 / 2


def _last_layer(r: int) -> tuple[list[float], list[float]]:
    """Eigenvalues of H_L^T H_L in units of alpha_L / m (Lemma 16), and their multiplicities, on the K_r classes."""
    return [math.comb(r - 2, 2) ** 2, (r - 3) ** 2, 1.0], [1.0, r - 1.0, r * (r - 3) / 2]


def _deleted_columns(K: int, L: int, lam: Array, r: int) -> Array:
    """Variant 2: the SRG matrices of K_r classes with K_r - K columns of H_1 and rows of W_L taken away.

    All L + 1 factors have the same penalty mu at the optimum, and all columns of H_1 and rows of W_L the same norm:
    the penalty falls from (L+1) mu to (L-1) mu + 2 mu K/K_r. The residual I - W_L H_L = sum_i E_i / (1 + s_i y) (E_i
    the projections on the eigenspaces of the triangular graph) keeps its entries.
    """
    K_r, degree = math.comb(r, 2), 2 * (r - 2)
    squares, multiplicities = _last_layer(r)
    lam_full = lam * K_r / K
    y = srg_scale(r, L, lam_full)[1]
    mu = (srg_constant(r, L) * lam_full * y) ** (1 / L) / 2
    # E_i is m_i/K_r times a cosine: 1 on the diagonal, then for adjacent classes, then for the others.
    apart = K_r - 1 - degree
    cosines = [(1, 1, 1)] + [(1, a / degree, (-1 - a) / apart) for a in (r - 4, -2)]
    shares = [m / K_r / (1 + s * y) for s, m in zip(squares, multiplicities, strict=True)]
    entries = [
        sum(share * cosine for share, cosine in zip(shares, column, strict=True))
        for column in zip(*cosines, strict=True)
    ]
    adjacent = float(frames.triangular_adjacency(r)[:K, :K].sum())
    counts = [K, adjacent, K * (K - 1) - adjacent]
    residual: Array = sum(count * entry**2 for count, entry in zip(counts, entries, strict=True))
    deleted: Array = np.where(y > 0, (L - 1 + 2 * K / K_r) * mu + residual / (2 * K), ZERO_LOSS)
    return deleted


def triviality_threshold(num_classes: int, depth: int) -> float:
    """Lam at and beyond which the DNC optimum is the zero solution: (L-1)^(L-1) / (K^L L^(2L)); 1/K for L = 1.

    K = 2 gives the threshold of arXiv 2305.13165 for binary classification. The SRG solution stays non-trivial beyond.

    >>> triviality_threshold(4, 2) == 1 / 256
    True
    """
    K, L = classes_and_depth(num_classes, depth)
    return float((L - 1) ** (L - 1)) / (float(K) ** L * float(L) ** (2 * L))


def srg_beats_dnc(num_classes: int, depth: int) -> bool:
    """Theorem 5: (K >= 6 and L >= 4) or (K >= 10 and L = 3), the cases in which variant 1 has the lower loss.

    There L_SRG < L_DNC for all decays with L_DNC < 1/2. False: the theorem says nothing; variant 1 is then worse
    (K = 6..9, L = 3) or does not exist (K < 6 or L < 3).
    """
    K, L = classes_and_depth(num_classes, depth)
    return (K >= 6 and L >= 4) or (K >= 10 and L == 3)


def loss_ratio_asymptote(num_classes: int, depth: int) -> float:
    """(K/2)^((3-L)/(2(L+1))), to which L_SRG / L_DNC tends as first K^L Lam -> 0 and then K -> infinity.

    Theorem 5 states the rate O(K^((3-L)/(2(L+1)))). The exact limit at a given K is `loss_ratio_limit`.
    """
    K, L = classes_and_depth(num_classes, depth)
    return float((K / 2) ** ((3 - L) / (2 * (L + 1))))


def ratio_curve(
    num_classes: int,
    depth: int,
    per_class: float,
    feature_decay: float,
    weight_decays: Decays,
    vertices: Sequence[int],
) -> dict[str, list[float]]:
    """L_SRG / L_DNC for K = r(r-1)/2 classes at each r of `vertices`, everything else as given: Figure 3 left.

    Returns {"r": vertices, "ratio": values}; `num_classes` is that of the run the curve is drawn over, and not used.
    Raises ValueError where the SRG does not exist (r < 4, depth < 3).
    """

    def ratio(r: int) -> float:
        arguments = (math.comb(r, 2), depth, per_class, feature_decay, weight_decays)
        return float(srg_loss(*arguments)) / float(dnc_loss(*arguments))

    return {"r": [float(r) for r in vertices], "ratio": [ratio(r) for r in vertices]}


def loss_ratio_limit(num_classes: int, depth: int) -> float:
    """Limit of L_SRG / L_DNC (variant 1) as all decays go to zero, at fixed K and L.

    min_y A y^(1/L) + B/y is proportional to A^(L/(L+1)) B^(1/(L+1)), so the limit is
    (K_r/K) [(C_SRG/K_r^L) (1/K_r) sum_i m_i/s_i]^(1/(L+1)) (K/K_r)^(L/(L+1)) + (K-K_r)/K.

    Raises:
        ValueError: K is below 6 or L below 3, where no such solution exists.
    """
    K, L = classes_and_depth(num_classes, depth)
    r = srg_vertices(K, L, 1)
    K_r = math.comb(r, 2)
    fit = sum(m / s for s, m in zip(*_last_layer(r), strict=True)) / K_r
    block = (srg_constant(r, L) / float(K_r) ** L * fit) ** (1 / (L + 1))
    # The Lam of the block is (K/K_r)^L times Lam, and the DNC loss goes like (K^L Lam)^(1/(L+1)).
    return float(K_r / K * block + (K - K_r) / K)


def decay_product(
    num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays
) -> float | Array:
    """Lam = N lam_H lam_1 ... lam_L with N = K n: the one number through which n and the decays enter both losses.

    Raises:
        ValueError: as `dnc_loss`, or a product of all decays that is not above 1e-290.
    """
    K, L = classes_and_depth(num_classes, depth)
    n, lam_H = positive("per_class", per_class), positive("feature_decay", feature_decay)
    lam = K * n * lam_H
    for decay in layer_decays(weight_decays, L):
        lam = lam * decay
    if not np.all(lam > 1e-290):
        raise ValueError(f"weight_decays must have a product above 1e-290 with the other decays, got {weight_decays}")
    return plain(lam)
