"""Losses as lines on a run's axis: the closed forms with the arguments that every reference is called with."""

import math
from collections.abc import Sequence

from ncbench.theory.arguments import Decay, Decays
from ncbench.theory.dufm_ce.dnc import dnc_loss
from ncbench.theory.dufm_ce.named import check_structure
from ncbench.theory.dufm_ce.objective import effective_decay
from ncbench.theory.dufm_ce.search import end_state
from ncbench.theory.dufm_ce.structures import pair_loss, polygon_loss

__all__ = ["dnc_line", "end_state_line", "pair_line", "polygon_line"]


def dnc_line(num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays) -> float:
    """min(`dnc_loss`, log K) at the n and the decays of the run (one decay, or a list of one per matrix)."""
    lam = _decay(depth, per_class, feature_decay, weight_decays)
    return min(float(dnc_loss(num_classes, depth, lam)), math.log(num_classes))


def pair_line(num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays) -> float:
    """`pair_loss` at the n and the decays of the run."""
    return pair_loss(num_classes, depth, _decay(depth, per_class, feature_decay, weight_decays))


def polygon_line(num_classes: int, depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays) -> float:
    """`polygon_loss` at the n and the decays of the run."""
    return polygon_loss(num_classes, depth, _decay(depth, per_class, feature_decay, weight_decays))


def end_state_line(
    num_classes: int,
    depth: int,
    per_class: Decay,
    feature_decay: Decay,
    weight_decays: Decays,
    structure: str | Sequence[int],
) -> float:
    """Loss of the minimum that a structure (dnc, pairs, polygon, triangular, [8, 2], ...) relaxes to.

    At the n and the decays of the run. Raises ValueError, as `end_state` does, where it is no minimum there.
    """
    lam = _decay(depth, per_class, feature_decay, weight_decays)
    return end_state(num_classes, depth, lam, check_structure(structure)).loss


def _decay(depth: int, per_class: Decay, feature_decay: Decay, weight_decays: Decays) -> float:
    return float(effective_decay(weight_decays, feature_decay, per_class, depth))
