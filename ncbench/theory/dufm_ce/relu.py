"""Losses as lines on the axis of a ReLU network's run, and of a linear one's: what ReLU leaves of the closed forms.

Source: arXiv 2410.23169, Theorem 7 and its proof. Every DNC solution of a ReLU network has at least the loss of the
linear network's, `dnc_loss`: the bound in Figures 3, 6 and 7. Networks that are not DNC may end below it, and do.
"""

from ncbench.theory.arguments import Decay, Decays
from ncbench.theory.dufm_ce.lines import dnc_line
from ncbench.theory.dufm_ce.objective import effective_decay
from ncbench.theory.dufm_ce.structures import relu_low_rank_loss

__all__ = ["dnc_bound_line", "relu_low_rank_line"]

APPLIES = {"loss": "ce"}  # with any activation

NARROWEST = {"relu_low_rank_line": lambda of: of["num_classes"]}  # `relu_low_rank` has K neurons in every layer

FORMULAS = {
    "dnc_bound_line": "log(1 + (K-1) e^-α) + ((L+1)/2) Λ (K-1) α^(2/(L+1)), the DNC loss of the linear network",
    "relu_low_rank_line": "the least loss over its scale of the low-rank network of the proof of Theorem 7  (even K)",
}


def dnc_bound_line(
    num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays
) -> float:
    """`dnc_line` for any activation: no DNC solution of a ReLU network has a lower loss.

    >>> round(dnc_bound_line(10, 3, 5, 2**-9, 2**-9), 7)
    0.1470608
    """
    return dnc_line(num_classes, depth, per_class, feature_decay, weight_decays)


def relu_low_rank_line(
    num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays
) -> float:
    """`relu_low_rank_loss` at the n and the decays of the run: a loss that a ReLU network attains."""
    lam = float(effective_decay(weight_decays, feature_decay, per_class, depth))
    return relu_low_rank_loss(num_classes, depth, lam)[1]
