"""The atlas as a line on the axis of a run with cross-entropy and linear layers (arXiv 2410.23169)."""

from ncbench.theory.arguments import Decays
from ncbench.theory.atlas_table.entries import AtlasEntry
from ncbench.theory.atlas_table.lookup import atlas
from ncbench.theory.dufm_ce import effective_decay

__all__ = ["APPLIES", "FORMULAS", "NARROWEST", "atlas_line"]

# What an objective must have for the atlas to be a line on its axis.
APPLIES = {"loss": "ce", "activation": "linear"}

# How many neurons every layer needs where the network is to exist: the least rank of a layer.
NARROWEST = {"atlas_line": lambda of: _entry(**of).rank}

FORMULAS = {"atlas_line": "lowest loss known, docs/results/atlas"}


def atlas_line(num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays) -> float:
    """Loss of the `atlas` entry at the n and the decays of the run, (n lam_H lam_1 ... lam_L)^(1/(L+1)).

    Raises ValueError outside the table, K <= 12 and L <= 6.
    """
    return _entry(num_classes, depth, per_class, feature_decay, weight_decays).loss


def _entry(num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays) -> AtlasEntry:
    return atlas("ce", num_classes, depth, float(effective_decay(weight_decays, feature_decay, per_class, depth)))
