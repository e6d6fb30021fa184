"""The atlas as a line on the axis of a run with mean squared error and ReLUs (arXiv 2405.14468)."""

from ncbench import core
from ncbench.theory.arguments import Decays
from ncbench.theory.atlas_table.entries import AtlasEntry
from ncbench.theory.atlas_table.lookup import atlas
from ncbench.theory.dufm_ce import effective_decay

__all__ = ["APPLIES", "FORMULAS", "NARROWEST", "atlas_line"]

# What an objective must have for the atlas to be a line on its axis.
APPLIES = {"loss": "mse", "activation": "relu"}

# How many neurons every layer needs where the network is to exist, and how many the last hidden one: the least rank of
# the features behind a ReLU, and the rank of the last ones.
NARROWEST = {"atlas_line": lambda of: _ranks(_entry(**of))}

FORMULAS = {"atlas_line": "lowest loss known, docs/results/atlas"}


def atlas_line(num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays) -> float:
    """Loss of the `atlas` entry at the n and the decays of the run, (n lam_H lam_1 ... lam_L)^(1/(L+1)).

    Raises ValueError outside the table, K <= 21 and 2 <= L <= 7.
    """
    return _entry(num_classes, depth, per_class, feature_decay, weight_decays).loss


def _entry(num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays) -> AtlasEntry:
    return atlas("mse", num_classes, depth, float(effective_decay(weight_decays, feature_decay, per_class, depth)))


def _ranks(entry: AtlasEntry) -> tuple[int, int]:
    features, *Ws = entry.matrices
    ranks = [core.numerical_rank(features)]
    for W in Ws[:-1]:
        features = (W @ features).relu()
        ranks.append(core.numerical_rank(features))
    return int(min(ranks)), int(ranks[-1])
