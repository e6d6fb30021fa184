"""Pure measurements of collapse and rank: torch and the standard library, float64, leading replica axes."""

from ncbench.core import frames
from ncbench.core.alignment import self_duality_distance, self_duality_product, weight_mean_alignment
from ncbench.core.classify import Geometry, classify_geometry, graph_gram_error, triangular_gram_error
from ncbench.core.geometry import (
    class_mean_condition_number,
    equiangularity,
    equinorm,
    etf_error,
    gram_cosines,
    orthogonal_frame_error,
)
from ncbench.core.gram import gram_block_deviation
from ncbench.core.heads import MSEDecomposition, mse_decomposition, ncc_agreement, ncc_labels
from ncbench.core.leading import leading_mass, mean_singular_value, singular_value
from ncbench.core.moments import ClassMoments
from ncbench.core.signs import negative_share
from ncbench.core.spectrum import (
    conv_matrix,
    conv_operator_singular_values,
    effective_rank,
    numerical_rank,
    rank_distance,
    relative_tail,
    schatten,
    singular_values,
    soft_rank,
    stable_rank,
    tail_curve,
)
from ncbench.core.variability import (
    SeparationLaw,
    cdnv,
    law_of_separation,
    nc1,
    nc1_directions,
    rounding_floor,
    scatter_ratio,
    separation_fuzziness,
    total_cluster_variation,
)

__all__ = [
    "ClassMoments",
    "Geometry",
    "MSEDecomposition",
    "SeparationLaw",
    "cdnv",
    "class_mean_condition_number",
    "classify_geometry",
    "conv_matrix",
    "conv_operator_singular_values",
    "effective_rank",
    "equiangularity",
    "equinorm",
    "etf_error",
    "frames",
    "gram_block_deviation",
    "gram_cosines",
    "graph_gram_error",
    "law_of_separation",
    "leading_mass",
    "mean_singular_value",
    "mse_decomposition",
    "nc1",
    "nc1_directions",
    "ncc_agreement",
    "ncc_labels",
    "negative_share",
    "numerical_rank",
    "orthogonal_frame_error",
    "rank_distance",
    "relative_tail",
    "rounding_floor",
    "scatter_ratio",
    "schatten",
    "self_duality_distance",
    "self_duality_product",
    "separation_fuzziness",
    "singular_value",
    "singular_values",
    "soft_rank",
    "stable_rank",
    "tail_curve",
    "total_cluster_variation",
    "triangular_gram_error",
    "weight_mean_alignment",
]
