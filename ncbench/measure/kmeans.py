"""Total cluster variation under the best partition that k-means finds, the tighter estimate beside the labels'."""

import logging
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncbench.core import ClassMoments, total_cluster_variation

__all__ = ["ClusterVariation", "kmeans_cluster_variation"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]


class ClusterVariation(NamedTuple):
    """The variation found, the same over the total variance, the partition (samples,), and what it was found on.

    `subset` holds the indices of the samples used, (samples,), where `max_samples` left some out, else None.
    """

    value: float
    relative: float
    partition: Tensor
    subset: Tensor | None


def kmeans_cluster_variation(
    features: Tensor,
    num_clusters: int,
    *,
    labels: Tensor | None = None,
    targets: Tensor | None = None,
    seed: int = 0,
    n_init: int = 10,
    max_samples: int | None = 20_000,
) -> ClusterVariation:
    """TCV, min over partitions into at most K sets of (1/N) sum_k sum_{i in C_k} ||h_i - hbar_k||^2, by k-means.

    arXiv 2402.03991, Section 3. The minimum is NP-hard; Lloyd's algorithm from `n_init` k-means++ starts, and from
    the partition by labels where they are given, gives an upper bound that is never above the labels' own value on
    the same samples. With `targets` the variation is the paper's joint one, the points are the pairs (h_i, y_i): the
    summand gains ||y_i - ybar_k||^2 (for one-hot labels and the partition by labels it gains nothing).

    Args:
        features: (N, D), floating.
        num_clusters: K >= 1.
        labels: (N,) integers, at most K distinct ones; with fewer, the further centres of that start are the samples
            farthest from their class means.
        targets: (N, T), floating.
        seed: of the starts and of the subset; torch's and numpy's global generators are not used.
        n_init: number of k-means++ starts, >= 1 (>= 0 with labels).
        max_samples: of more samples a random subset of this size is taken, the same fraction of every class where
            labels are given, and the log says so; None takes all. The default, 20 000, is this project's: seconds at
            D = 512.

    Returns:
        ClusterVariation; value 0 for at most K distinct samples, relative NaN when all samples coincide. The value is
        computed from the partition in float64, not taken from the algorithm's own bookkeeping.

    Raises:
        ValueError: shapes that do not fit, K > N, more than K labels, n_init too small, values that are not finite.
    """
    H = _checked(features, targets)
    N = len(H)
    codes = None if labels is None else _codes(labels, N, num_clusters)
    if not 1 <= num_clusters <= N:
        raise ValueError(f"num_clusters={num_clusters} must lie in [1, {N}], where {N} is the number of samples")
    if n_init < (codes is None):
        raise ValueError(f"n_init={n_init} must be at least 1, or 0 where labels give a start")
    if max_samples is not None and max_samples < num_clusters:
        raise ValueError(f"max_samples={max_samples} must be at least num_clusters={num_clusters}")
    subset = None
    if max_samples is not None and max_samples < N:
        chosen = _subset(N, codes, max_samples, seed)
        _log.info("k-means on %d of %d samples (max_samples=%d, seed=%d)", len(chosen), N, max_samples, seed)
        subset = torch.from_numpy(chosen)
        H, codes = H[chosen], None if codes is None else codes[chosen]
    partitions = [] if codes is None else [codes]
    partitions += _lloyd(H, num_clusters, codes, seed, n_init)
    candidates = [(_variation(H, partition), partition) for partition in partitions]
    (value, relative), best = min(candidates, key=lambda candidate: candidate[0][0])
    return ClusterVariation(value, relative, torch.from_numpy(best), subset)


def _lloyd(H: Array, K: int, codes: NDArray[np.int64] | None, seed: int, n_init: int) -> list[NDArray[np.int64]]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # Centred, and scaled to a total variance of 1, since scikit-learn's distances lose digits far from the origin.
    X = H - H.mean(0)
    X = X / (np.sqrt(np.mean(np.sum(X * X, 1))) or 1.0)
    starts: list[dict[str, Any]] = [{"init": "k-means++", "n_init": n_init}] if n_init else []
    if codes is not None:
        starts.append({"init": _centres(X, codes, K), "n_init": 1})
    partitions = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: the value is 0
        for start in starts:
            fitted = KMeans(K, random_state=seed, **start).fit(X)
            partitions.append(fitted.labels_.astype(np.int64))
    return partitions


def _centres(X: Array, codes: NDArray[np.int64], K: int) -> Array:
    means = np.stack([X[codes == c].mean(0) for c in range(codes.max() + 1)])
    farthest = np.argsort(-np.sum((X - means[codes]) ** 2, 1), kind="stable")[: K - len(means)]
    return np.concatenate([means, X[farthest]])


def _variation(H: Array, partition: NDArray[np.int64]) -> tuple[float, float]:
    """Value and value / total variance, in float64 from the partition."""
    sets = np.unique(partition, return_inverse=True)[1]
    moments = ClassMoments.from_batch(torch.from_numpy(H), torch.from_numpy(sets), int(sets.max()) + 1)
    value, relative = (total_cluster_variation(moments, scale_free=free) for free in (False, True))
    return float(value), float(relative)


def _checked(features: Tensor, targets: Tensor | None) -> Array:
    if features.ndim != 2 or not features.is_floating_point() or features.numel() == 0:
        raise ValueError(f"features must be floating (N, D), N, D >= 1, not {features.dtype} {tuple(features.shape)}")
    points = features.detach().double().cpu()
    if targets is not None:
        if targets.ndim != 2 or len(targets) != len(features):
            raise ValueError(f"targets must be (N, T) with N={len(features)}, not {tuple(targets.shape)}")
        points = torch.cat([points, targets.detach().double().cpu()], 1)
    if not bool(points.isfinite().all()):
        raise ValueError("features and targets must be finite")
    return points.numpy()


def _codes(labels: Tensor, N: int, K: int) -> NDArray[np.int64]:
    if labels.shape != (N,) or labels.is_floating_point():
        raise ValueError(f"labels must be integers of shape ({N},), not {labels.dtype} {tuple(labels.shape)}")
    distinct, codes = np.unique(labels.cpu().numpy(), return_inverse=True)
    if len(distinct) > K:
        raise ValueError(f"labels must take at most num_clusters={K} values, and these take {len(distinct)}")
    return codes.astype(np.int64)


def _subset(N: int, codes: NDArray[np.int64] | None, size: int, seed: int) -> NDArray[np.int64]:
    """`size` indices in order, or the share size / N of every class, rounded up."""
    rng = np.random.default_rng(seed)
    if codes is None:
        return np.sort(rng.choice(N, size, replace=False))
    classes = (np.flatnonzero(codes == c) for c in range(codes.max() + 1))
    return np.sort(np.concatenate([rng.choice(c, -(-len(c) * size // N), replace=False) for c in classes]))
