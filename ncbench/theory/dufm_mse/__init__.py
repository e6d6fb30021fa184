"""Deep unconstrained features model with mean squared error: deep neural collapse against strongly regular graphs.

Source: arXiv 2405.14468. Objective (its equation 1), N = K n samples, L weight matrices, L - 1 ReLUs,

    1/(2N) ||W_L relu(W_{L-1} ... relu(W_1 H_1)) - Y||_F^2 + sum_l lam_l/2 ||W_l||_F^2 + lam_H/2 ||H_1||_F^2,

whose zero solution has loss exactly 1/2.
"""

from ncbench.theory.dufm_mse.lemmas import hidden_weight_norm, interpolant_norm, last_hidden_weight_norm
from ncbench.theory.dufm_mse.losses import (
    decay_product,
    dnc_loss,
    loss_ratio_asymptote,
    loss_ratio_limit,
    ratio_curve,
    srg_beats_dnc,
    srg_loss,
    srg_vertices,
    triviality_threshold,
)
from ncbench.theory.dufm_mse.objective import last_layer_ridge, loss, nuclear_factorisation, simplified_objective
from ncbench.theory.dufm_mse.solutions import dnc_solution, srg_solution
from ncbench.theory.dufm_mse.spectra import dnc_spectra, srg_spectra
from ncbench.theory.dufm_mse.stationarity import (
    SrgEscape,
    new_neuron_gain,
    srg_escape,
    srg_is_stationary,
    srg_kink_shares,
)

__all__ = [
    "APPLIES",
    "FORMULAS",
    "NARROWEST",
    "SPECTRA",
    "SrgEscape",
    "decay_product",
    "dnc_loss",
    "dnc_solution",
    "dnc_spectra",
    "hidden_weight_norm",
    "interpolant_norm",
    "last_hidden_weight_norm",
    "last_layer_ridge",
    "loss",
    "loss_ratio_asymptote",
    "loss_ratio_limit",
    "new_neuron_gain",
    "nuclear_factorisation",
    "ratio_curve",
    "simplified_objective",
    "srg_beats_dnc",
    "srg_escape",
    "srg_is_stationary",
    "srg_kink_shares",
    "srg_loss",
    "srg_solution",
    "srg_spectra",
    "triviality_threshold",
]

# What an objective must have for these losses to be lines on its axis.
APPLIES = {"loss": "mse", "activation": "relu"}

FORMULAS = {
    "dnc_loss": "min_y (KL/2) (Λ y)^(1/L) + 1/(2(1+y)),  Λ = N λ_H λ_1…λ_L",
    "srg_loss": (
        "min_y (L/2) (C Λ y)^(1/L) + (1/2K) [1/(1+C(r-2,2)² y) + (r-1)/(1+(r-3)² y) + (r(r-3)/2)/(1+y)],  "
        "C = (√2 + √((r-1)(r-2)))² r^(L-3) K²/2,  K = r(r-1)/2;  other K: Def. 11, variant 1"
    ),
    "dnc_spectra": "σ_i = σ_1 in every layer: orthogonal frames (Def. 10)",
    "srg_spectra": (
        "√2 : √((r-2)/(r-1)) × (r-1) in layers 2…L-1 (Lemma 15),  C(r-2,2) : (r-3) × (r-1) : 1 × r(r-3)/2 after the "
        "last ReLU (Lemma 16),  r(r-1)/2 = K;  other K: Def. 11, variant 1"
    ),
}

# How many neurons every layer needs where the solution is to exist: K orthogonal means. The graph's has r in the first
# layers, and K in the last hidden one, whose ReLU makes its rank K.
NARROWEST = {
    **dict.fromkeys(("dnc_loss", "dnc_spectra"), lambda of: of["num_classes"]),
    **dict.fromkeys(
        ("srg_loss", "srg_spectra"),
        lambda of: (srg_vertices(of["num_classes"], of["depth"], of.get("variant", 1)), of["num_classes"]),
    ),
}

# Where a loss is a line of an experiment, the same solution's singular values are predicted too.
SPECTRA = {"dnc_loss": "dnc_spectra", "srg_loss": "srg_spectra"}
