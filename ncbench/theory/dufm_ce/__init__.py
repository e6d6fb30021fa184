"""Deep linear unconstrained features model with cross-entropy: deep neural collapse against low-rank softmax codes.

Source: arXiv 2410.23169 (formulas derived; docs/theory.md says what the paper states and what is added).
"""

import torch

from ncbench.core.frames import pair_blocks, simplex_blocks
from ncbench.theory.dufm_ce.depth import low_rank_depth
from ncbench.theory.dufm_ce.dnc import DncThresholds, dnc_loss, dnc_scale, dnc_thresholds
from ncbench.theory.dufm_ce.fibre import (
    dimension_ratio,
    fibre_dimension,
    paper_dimension_ratio,
    paper_fibre_dimension,
)
from ncbench.theory.dufm_ce.lines import dnc_line, end_state_line, pair_line, polygon_line
from ncbench.theory.dufm_ce.named import check_structure, named_structure
from ncbench.theory.dufm_ce.objective import (
    balanced_factors,
    effective_decay,
    loss,
    minimum_margin,
    reduced_objective,
    softmax_code_cost,
)
from ncbench.theory.dufm_ce.search import EndState, best_known, best_known_loss, end_state, stable_end_states
from ncbench.theory.dufm_ce.structures import (
    dnc_can_be_optimal,
    pair_loss,
    polygon_loss,
    ray_optimum,
    relu_dnc_can_be_optimal,
    relu_low_rank,
    relu_low_rank_loss,
    singular_value_bound,
    singular_value_count_bound,
)

__all__ = [
    "APPLIES",
    "CHECKED",
    "FORMULAS",
    "NARROWEST",
    "DncThresholds",
    "EndState",
    "balanced_factors",
    "best_known",
    "best_known_loss",
    "check_structure",
    "dimension_ratio",
    "dnc_can_be_optimal",
    "dnc_line",
    "dnc_loss",
    "dnc_scale",
    "dnc_thresholds",
    "effective_decay",
    "end_state",
    "end_state_line",
    "fibre_dimension",
    "loss",
    "low_rank_depth",
    "minimum_margin",
    "named_structure",
    "pair_blocks",
    "pair_line",
    "pair_loss",
    "paper_dimension_ratio",
    "paper_fibre_dimension",
    "polygon_line",
    "polygon_loss",
    "ray_optimum",
    "reduced_objective",
    "relu_dnc_can_be_optimal",
    "relu_low_rank",
    "relu_low_rank_loss",
    "simplex_blocks",
    "singular_value_bound",
    "singular_value_count_bound",
    "softmax_code_cost",
    "stable_end_states",
]

# Arguments of a theory line that are looked at before the run.
CHECKED = {"structure": check_structure}

# What an objective must have for these losses to be lines on its axis.
APPLIES = {"loss": "ce", "activation": "linear"}

# How many neurons every layer needs where the solution is to exist: the rank of its logits, K - 1 of a simplex ETF.
NARROWEST = {
    "dnc_line": lambda of: of["num_classes"] - 1,
    "pair_line": lambda of: of["num_classes"] // 2,
    "polygon_line": lambda of: 2,
    "end_state_line": lambda of: int(torch.linalg.matrix_rank(named_structure(of["structure"], of["num_classes"]))),
}

FORMULAS = {
    "dnc_line": "log(1 + (K-1) e^-α) + ((L+1)/2) Λ (K-1) α^(2/(L+1)),  Λ = (n λ_H λ_1…λ_L)^(1/(L+1))",
    "pair_line": "min_b log(1 + e^(-2b) + (K-2) e^-b) + ((L+1)/2) Λ (K/2) (2b)^(2/(L+1))  (even K)",
    "end_state_line": "the local minimum of J(M) that descent reaches from the structure at its best scale",
    "polygon_line": "min_b (1/K) Σ_c -log softmax(b cos(2π(i-c)/K))_c + (L+1) Λ (bK/2)^(2/(L+1))",
}
