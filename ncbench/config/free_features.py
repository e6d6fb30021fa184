"""What a configuration of free features may hold: their data, the solutions that they start from, their Hessian."""

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from ncbench.config.measuring import LARGEST_HESSIAN
from ncbench.config.models import FreeFeatures
from ncbench.config.rules import is_list, require

if TYPE_CHECKING:
    from ncbench.config.root import Config

__all__ = ["STRUCTURES", "check_free_features"]

# As in `ncbench.theory.dufm_ce`, which a configuration may not import; a test compares the two.
STRUCTURES = ("dnc", "pairs", "polygon", "triangular", "antiprism")
_STARTS = {("mse", "relu"): r"dnc|srg", ("ce", "linear"): rf"{'|'.join(STRUCTURES)}|\[[1-9]\d*(, ?[1-9]\d*)*\]"}
_SOLUTIONS = (
    "the solutions are those of loss=mse with activation=relu (dnc, srg) and of loss=ce with activation=linear (dnc, "
    "pairs, polygon, triangular, antiprism, or simplex blocks as a text, such as '[3, 2]')"
)


def check_free_features(config: "Config", model: FreeFeatures) -> None:
    """ValueError of one line for what free features have not: samples, a test set, features without a decay; for a
    start that is no solution, and a Hessian that is too large."""
    dataset, splits = config.dataset, list(config.measure.splits)
    if dataset.KIND != "labels" and dataset.public_target is not None:
        rule = "free features are trained on labels alone; use dataset=labels, or a model that takes samples"
        raise ValueError(f"dataset.kind={dataset.KIND}: {rule}")
    require(splits == ["train"], "measure.splits", splits, "free features have no samples to test; leave it [train]")
    decay = getattr(config.objective, "feature_decay", None)
    decayed = decay is not None or {"decay", "feature_decay"} & set(config.replicate)
    require(bool(decayed), "objective.feature_decay", decay, "free features need a decay >= 0")
    _check_starts(config, model)
    _check_hessian(config, model)


def _check_starts(config: "Config", model: FreeFeatures) -> None:
    """A start is a solution of the run's own loss and activation, and noise is added to one."""
    several = config.replicate.get("start", [])
    given = [] if model.start is None else [("model.start", model.start)]
    for key, start in [*given, *(("replicate.start", start) for start in several)]:
        known = _STARTS.get((config.objective.loss, model.activation), "")
        require(isinstance(start, str) and re.fullmatch(known, start) is not None, key, start, _SOLUTIONS)
    distinct = {str(start).replace(" ", "") for start in several}
    require(len(distinct) == len(several), "replicate.start", list(several), "must not hold the same start twice")
    noise = "replicate.start_noise" if "start_noise" in config.replicate else "model.start_noise"
    value = config.replicate.get("start_noise", model.start_noise)
    alone = model.start is None and not several and value != 0
    require(not alone, noise, value, "is added to a solution; set model.start or replicate.start too")


def _check_hessian(config: "Config", model: FreeFeatures) -> None:
    """The whole Hessian of a replica has as many rows as the replica has parameters."""
    classes, per_class = config.dataset.known_classes, getattr(config.dataset, "per_class", None)
    if not config.measure.hessian or classes is None or per_class is None:
        return
    widths = [*(model.width if is_list(model.width) else [model.width] * model.depth), classes]
    size = classes * per_class * widths[0] + sum(a * b for a, b in pairwise(widths))
    rule = f"at most {LARGEST_HESSIAN} parameters of a replica, this network has {size}"
    require(size <= LARGEST_HESSIAN, "measure.hessian", True, rule)
