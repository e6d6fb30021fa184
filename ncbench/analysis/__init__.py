"""Measurements that theorems prescribe for a given network or objective: rank bounds, and the shape of minima."""

from ncbench.analysis.landscape import gradient_norm, hessian_nullity, is_local_minimum, smallest_eigenvalues
from ncbench.analysis.rank_bound import (
    RankBound,
    centroid_gradient_gap,
    gradient_batch_rank,
    last_layer_curvature,
    rank_distance_bound,
    stationarity_residual,
)

__all__ = [
    "RankBound",
    "centroid_gradient_gap",
    "gradient_batch_rank",
    "gradient_norm",
    "hessian_nullity",
    "is_local_minimum",
    "last_layer_curvature",
    "rank_distance_bound",
    "smallest_eigenvalues",
    "stationarity_residual",
]
