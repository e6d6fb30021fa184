"""What a whole configuration may hold: the groups, and what each of its own keys may be.

`ncbench.config.validate` makes one of every composed configuration before torch is imported and before Hydra starts
a job. `ncbench.config.consistency` has the rules between the groups.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from ncbench.claims.papers import check_reproduces
from ncbench.claims.parse import parse_claims
from ncbench.config.consistency import check_consistency
from ncbench.config.datasets import DATASETS, Dataset
from ncbench.config.measuring import Logger, Measure, Trainer
from ncbench.config.models import MODELS, Model
from ncbench.config.rules import is_list, require
from ncbench.config.schedules import SCHEDULES, Schedule
from ncbench.config.sizes import check_sizes
from ncbench.config.training import OBJECTIVES, OPTIMIZERS, Objective, Optimizer
from ncbench.config.variants import Group

__all__ = ["CLAIMED", "VARIANTS", "Config"]

CLAIMED = ("claims", "grid", "open", "reproduces")  # what may change about a finished run without training it again

LONGEST_NAME = 200  # bytes of a part: file systems take 255, and a temporary file beside the folder has a longer name

VARIANTS: Mapping[str, tuple[type[Group], ...]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "objective": OBJECTIVES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "measure": (Measure,),
    "trainer": (Trainer,),
    "logger": (Logger,),
}


@dataclass(frozen=True)
class Config:
    """A whole run. `replicate` makes an ensemble of replicas of one job; `references` are the theory lines.

    `claims` are judged by the report on what the run recorded; `reproduces` says whose figure it is; `grid` (key ->
    values) makes one job per point, as -m on the command line; `open` (key -> values) are settings that the paper
    leaves open, which scripts/robustness.py varies one at a time.
    """

    name: str = MISSING
    seed: int = 0
    replicate: dict[str, Any] = field(default_factory=dict)
    references: list[dict[str, Any]] = field(default_factory=list)
    claims: Any = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    open: dict[str, Any] = field(default_factory=dict)
    reproduces: Any = None
    dataset: Dataset = MISSING
    model: Model = MISSING
    objective: Objective = MISSING
    optimizer: Optimizer = MISSING
    schedule: Schedule = MISSING
    measure: Measure = MISSING
    trainer: Trainer = MISSING
    logger: Logger = MISSING

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "must be in [0, 2^32)")
        rule = "must name a folder: a text such as digits_mlp or mine/wide, without .. and without / at its ends"
        parts = self.name.split("/")
        require(all(part not in ("", ".", "..") and "\0" not in part for part in parts), "name", self.name, rule)
        longest = max(len(part.encode(errors="replace")) for part in parts)
        require(longest <= LONGEST_NAME, "name", self.name, f"must have at most {LONGEST_NAME} bytes")
        check_sizes(self)
        parse_claims(self.claims)
        check_reproduces(self.reproduces)
        for word, axes in (("grid", self.grid), ("open", self.open)):
            for key, axis in axes.items():
                if axis is None:  # takes back an inherited one
                    continue
                require(is_list(axis) and len(axis) > 0, f"{word}.{key}", axis, "must be a list of values")
        for place, line in enumerate(self.references):
            for needed in ("name", "_target_"):
                good = isinstance(line, dict) and isinstance(line.get(needed), str)
                rule = "a text is needed, as in {name: dnc, _target_: module.function}"
                require(good, f"references[{place}].{needed}", line, rule)
            for key in ("measure", "stage"):
                text = line.get(key, "")
                require(isinstance(text, str), f"references[{place}].{key}", text, "must be a text")
            layers = line.get("layers", [])
            texts = is_list(layers) and all(isinstance(layer, str) for layer in layers)
            require(texts, f"references[{place}].layers", layers, "must be a list of names of layers")
        check_consistency(self)

    def plain(self) -> dict[str, Any]:
        """The configuration as it is written into a run folder: every key with its value, defaults included."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: value.plain() if isinstance(value, Group) else copy.deepcopy(value) for name, value in values.items()
        }
