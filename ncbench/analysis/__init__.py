"""Measurements that theorems prescribe for a given network or objective: rank bounds, modes, the shape of minima."""

from ncbench.analysis.ensemble_bounds import EnsembleRankBounds, ensemble_rank_bounds
from ncbench.analysis.landscape import (
    HessianNorms,
    HessianShape,
    gradient_norm,
    hessian_norms,
    hessian_nullity,
    hessian_shape,
    is_local_minimum,
    smallest_eigenvalues,
)
from ncbench.analysis.level_set import BenignPath, benign_path
from ncbench.analysis.linear_modes import ModeValues, end_to_end, mode_error, mode_values, modes_alive
from ncbench.analysis.one_sided import OneSided, one_sided_descent, random_directions
from ncbench.analysis.rank_bound import (
    RankBound,
    centroid_gradient_gap,
    gradient_batch_rank,
    last_layer_curvature,
    rank_distance_bound,
    stationarity_residual,
)

__all__ = [
    "BenignPath",
    "EnsembleRankBounds",
    "HessianNorms",
    "HessianShape",
    "ModeValues",
    "OneSided",
    "RankBound",
    "benign_path",
    "centroid_gradient_gap",
    "end_to_end",
    "ensemble_rank_bounds",
    "gradient_batch_rank",
    "gradient_norm",
    "hessian_norms",
    "hessian_nullity",
    "hessian_shape",
    "is_local_minimum",
    "last_layer_curvature",
    "mode_error",
    "mode_values",
    "modes_alive",
    "one_sided_descent",
    "random_directions",
    "rank_distance_bound",
    "smallest_eigenvalues",
    "stationarity_residual",
]
