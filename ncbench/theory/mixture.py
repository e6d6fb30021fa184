"""Total cluster variation of a Gaussian mixture under the partition by its components.

Source: arXiv 2402.03991, Proposition 4.1. Letters: N samples in R^d, K components with counts N_k and covariances
S_k; WCSS = (1/N) sum_k sum_{i in C_k} ||x_i - xbar_k||^2 with EMPIRICAL centroids xbar_k. The total cluster
variation (least over partitions) is at most that; for an autoencoder (targets = inputs) the joint variation is at most
twice that.
"""

import math
from collections.abc import Sequence

from ncbench.theory.arguments import at_least, positive

__all__ = ["cluster_variation_std", "cluster_variation_tail_bound", "expected_cluster_variation"]


def expected_cluster_variation(counts: Sequence[int], traces: Sequence[float]) -> float:
    """E WCSS = (1/N) sum_k (N_k - 1) tr S_k; for S_k = sigma^2 I it is sigma^2 d (1 - K/N).

    Args:
        counts: N_k >= 1.
        traces: tr S_k >= 0, as many.

    Raises:
        ValueError: lengths differ, no component, a count below 1, a negative trace.

    >>> expected_cluster_variation([3, 1], [2.0, 7.0])
    1.0
    """
    if len(counts) != len(traces) or not counts:
        raise ValueError(
            f"traces must hold one value for each of at least 1 component ({len(counts)}), got {len(traces)}"
        )
    for count in counts:
        at_least("counts", count, 1)
    for trace in traces:
        if not (math.isfinite(trace) and trace >= 0):
            raise ValueError(f"traces must be non-negative and finite, got {trace}")
    return math.fsum((count - 1) * trace for count, trace in zip(counts, traces, strict=True)) / sum(counts)


def cluster_variation_std(sigma: float, dimension: int, num_samples: int, num_clusters: int) -> float:
    """Standard deviation sigma^2 sqrt(2 d (N-K)) / N for S_k = sigma^2 I: N WCSS / sigma^2 is chi^2 of d(N-K).

    Raises:
        ValueError: sigma is not positive, K below 1, or N below K.
    """
    freedom = _degrees_of_freedom(dimension, num_samples, num_clusters)
    return float(positive("sigma", sigma)) ** 2 * math.sqrt(2 * freedom) / num_samples


def cluster_variation_tail_bound(sigma: float, dimension: int, num_samples: int, num_clusters: int, t: float) -> float:
    """A value that WCSS exceeds with probability at most exp(-t), for S_k = sigma^2 I, t >= 0.

    (sigma^2 / N) (f + 2 sqrt(f t) + 2 t) with f = d (N-K) degrees of freedom: Laurent & Massart (2000), Lemma 1,
    explicit where the paper has the unspecified constant of Hanson and Wright.

    Raises:
        ValueError: sigma is not positive, t negative or infinite, K below 1, or N below K.
    """
    freedom = _degrees_of_freedom(dimension, num_samples, num_clusters)
    if not (math.isfinite(t) and t >= 0):
        raise ValueError(f"t must be non-negative and finite, got {t}")
    return float(positive("sigma", sigma)) ** 2 / num_samples * (freedom + 2 * math.sqrt(freedom * t) + 2 * t)


def _degrees_of_freedom(dimension: int, num_samples: int, num_clusters: int) -> int:
    at_least("dimension", dimension, 1)
    at_least("num_clusters", num_clusters, 1)
    at_least("num_samples", num_samples, num_clusters, "the number of clusters")
    return dimension * (num_samples - num_clusters)
