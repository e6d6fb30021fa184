"""Deep linear networks: minimisers of ridge regression, of its centroid version and of its rank-constrained version.

Source: arXiv 2402.03991, Section 5. Letters: X (d, N), Y (c, N), columns are samples; lam the decay of

    ||W X - Y||_F^2 + lam ||W||_F^2

(for the loss with 1/N pass N lam); Xb, Yb: every column replaced by the mean of its cluster, D_X = X - Xb,
D_Y = Y - Yb; A = X X^T + lam I; T_X = ||D_X||_F^2 / N, T_Y likewise (total cluster variation under `labels`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ncbench.theory.arguments import Array, Decay, at_least, plain, positive
from ncbench.theory.factor_decay import (
    FactorDecayMode,
    FactorDecayThresholds,
    factor_decay_mode,
    factor_decay_thresholds,
)

__all__ = [
    "FactorDecayMode",
    "FactorDecayThresholds",
    "GapBounds",
    "RankGapBounds",
    "autoencoder_gap_law",
    "centroid_minimiser",
    "cluster_centroids",
    "factor_decay_mode",
    "factor_decay_thresholds",
    "gap_bounds",
    "minimiser_gap",
    "rank_constrained_minimiser",
    "rank_gap_bounds",
    "ridge_minimiser",
]


class GapBounds(NamedTuple):
    """Two upper bounds on ||W* - Wc||_F, the second never below the first."""

    sharp: float
    paper: float


class RankGapBounds(NamedTuple):
    """Two upper bounds on ||W* - W*_K||_F, the second never below the first."""

    sharp: float
    paper: float


def ridge_minimiser(X: Tensor, Y: Tensor, decay: float) -> Tensor:
    """W* = Y X^T (X X^T + lam I)^{-1}, (c, d): the minimiser of ||W X - Y||_F^2 + lam ||W||_F^2.

    Remark 5.2: plain least squares on [X, sqrt(lam) I], [Y, 0].

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, or the decay is not positive.
    """
    X, Y, A = _checked(X, Y, decay)
    W: Tensor = torch.linalg.solve(A, X @ Y.mT)
    return W.mT


def cluster_centroids(X: Tensor, labels: Tensor) -> Tensor:
    """Xb (d, N): every column of X replaced by the (empirical) mean of the columns with its label.

    Raises:
        ValueError: labels are not N integers.
    """
    if labels.shape != X.shape[1:] or labels.is_floating_point():
        raise ValueError(f"labels must be {X.shape[1]} integers, got {labels.dtype} of shape {tuple(labels.shape)}")
    inverse = torch.unique(labels, return_inverse=True)[1]
    member = torch.nn.functional.one_hot(inverse).to(X.dtype)
    return (X @ member / member.sum(0)) @ member.mT


def centroid_minimiser(X: Tensor, Y: Tensor, labels: Tensor, decay: float) -> Tensor:
    """Wc = Yb Xb^T (Xb Xb^T + lam I)^{-1}, (c, d), of rank at most the number of clusters.

    The ridge minimiser of the loss in which every sample is replaced by the centroid of its cluster.

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, labels are not N integers, or the decay is not
            positive.
    """
    X, Y, _ = _checked(X, Y, decay)
    return ridge_minimiser(cluster_centroids(X, labels), cluster_centroids(Y, labels), decay)


def rank_constrained_minimiser(X: Tensor, Y: Tensor, decay: float, rank: int) -> Tensor:
    """W*_r = Q_r A^{-1/2}, (c, d), Q_r the best rank-r approximation of Q = Y X^T A^{-1/2} (Theorem 5.1).

    The global minimiser of ||W X - Y||_F^2 + lam ||W||_F^2 over matrices of rank at most r, with minimum
    ||Y||_F^2 - sum_{i<=r} s_i(Q)^2. The other critical points on rank r keep other r-subsets of the singular
    values, and are strict saddles.

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, the decay is not positive, or the rank is
            below 0.
    """
    X, Y, A = _checked(X, Y, decay)
    at_least("rank", rank, 0)
    root = _inverse_root(A)
    U, s, Vh = torch.linalg.svd(Y @ X.mT @ root, full_matrices=False)
    W: Tensor = (U[:, :rank] * s[:rank]) @ Vh[:rank] @ root
    return W


def minimiser_gap(X: Tensor, Y: Tensor, labels: Tensor, decay: float) -> Tensor:
    """W* - Wc = (D_Y - Wc D_X) D_X^T A^{-1}, (c, d), an exact identity behind Theorem 5.3.

    Computed from the right-hand side, which keeps its relative accuracy when the clusters are tight. For the
    autoencoder, Y = X, it equals lam (Xb Xb^T + lam I)^{-1} D_X D_X^T A^{-1}.

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, labels are not N integers, or the decay is not
            positive.
    """
    X, Y, A = _checked(X, Y, decay)
    D_X, D_Y = X - cluster_centroids(X, labels), Y - cluster_centroids(Y, labels)
    right = (D_Y - centroid_minimiser(X, Y, labels, decay) @ D_X) @ D_X.mT
    gap: Tensor = torch.linalg.solve(A, right.mT)
    return gap.mT


def gap_bounds(X: Tensor, Y: Tensor, labels: Tensor, decay: float) -> GapBounds:
    """Theorem 5.3, upper bounds on ||W* - Wc||_F for any partition into clusters.

    sharp: (||D_Y D_X^T||_F + ||Wc||_2 ||D_X D_X^T||_F) / (lam + lambda_min(X X^T));
    paper: (N T / lam) (1/2 + ||X||_2 ||Y||_F / lam), T = T_X + T_Y (the constants are derived, not quoted).

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, labels are not N integers, or the decay is not
            positive.
    """
    X, Y, A = _checked(X, Y, decay)
    lam = float(positive("decay", decay))
    D_X, D_Y = X - cluster_centroids(X, labels), Y - cluster_centroids(Y, labels)
    Wc = centroid_minimiser(X, Y, labels, decay)
    sharp = (D_Y @ D_X.mT).norm() + torch.linalg.matrix_norm(Wc, 2) * (D_X @ D_X.mT).norm()
    NT = D_X.square().sum() + D_Y.square().sum()
    paper = NT / lam * (0.5 + torch.linalg.matrix_norm(X, 2) * Y.norm() / lam)
    return GapBounds(float(sharp / _least_eigenvalue(A, lam)), float(paper))


def rank_gap_bounds(X: Tensor, Y: Tensor, labels: Tensor, decay: float) -> RankGapBounds:
    """Theorem 5.4, upper bounds on ||W* - W*_K||_F, K the number of clusters of the targets.

    sharp: sqrt(N T_Y / (lam + lambda_min(X X^T))); paper: sqrt(N T_Y / lam). T_Y is the variation of the targets
    alone under `labels`, at least the theorem's minimum over partitions, so the bounds hold for any partition.

    Raises:
        ValueError: X (d, N) and Y (c, N) are not matrices of the same N, labels are not N integers, or the decay is not
            positive.
    """
    X, Y, A = _checked(X, Y, decay)
    NT = (Y - cluster_centroids(Y, labels)).square().sum()
    lam = float(positive("decay", decay))
    return RankGapBounds(float((NT / _least_eigenvalue(A, lam)).sqrt()), float((NT / lam).sqrt()))


def autoencoder_gap_law(num_clusters: int, dimension: int, noise: Decay, weight_decay: Decay) -> float | Array:
    """||W* - Wc||_F ~ sqrt(d - K) sigma^2 / (sigma^2 + lam') for an autoencoder of K isotropic Gaussian blobs.

    The leading order of `minimiser_gap` (Y = X) for N >> d samples of standard deviation sigma and EMPIRICAL centroids:
    the d - K directions outside the span of the means. It leaves out the K directions inside, smaller by (lam' / (c +
    lam'))^2 for an eigenvalue c of the means, and the spread of the sample covariance, sqrt(d/N). Slope 2 in sigma for
    sigma^2 << lam', saturation at sqrt(d - K), a fall like 1/lam'. With true means an O(sigma / sqrt(N)) term comes in.

    Args:
        num_clusters: K >= 1.
        dimension: d >= K.
        noise: sigma > 0. weight_decay: lam' = lam / N, the decay of the loss with 1/N. Both may be arrays.

    Raises:
        ValueError: K is below 1, d below K, or a noise or decay not positive.

    >>> autoencoder_gap_law(1, 10, 1.0, 2.0)
    1.0
    """
    K = at_least("num_clusters", num_clusters, 1)
    d = at_least("dimension", dimension, K, "the number of clusters")
    variance = positive("noise", noise) ** 2
    return plain(np.sqrt(d - K) * variance / (variance + positive("weight_decay", weight_decay)))


def _checked(X: Tensor, Y: Tensor, decay: float) -> tuple[Tensor, Tensor, Tensor]:
    """X, Y and A = X X^T + lam I in float64."""
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X (d, N) and Y (c, N) must be matrices of the same N, got {tuple(X.shape)} and {tuple(Y.shape)}"
        )
    lam = float(positive("decay", decay))
    X, Y = X.detach().to(torch.float64), Y.detach().to(torch.float64)
    return X, Y, X @ X.mT + lam * torch.eye(len(X), dtype=X.dtype, device=X.device)


def _inverse_root(A: Tensor) -> Tensor:
    w, Q = torch.linalg.eigh(A)
    root: Tensor = (Q / w.sqrt()) @ Q.mT
    return root


def _least_eigenvalue(A: Tensor, lam: float) -> float:
    """lam + lambda_min(X X^T), at least lam: rounding does not count."""
    return max(float(torch.linalg.eigvalsh(A)[0]), lam)
