"""What a whole configuration may hold: the groups, and the rules between them.

`ncbench.config.validate` makes one of every composed configuration before torch is imported and before Hydra starts
a job.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ncbench.claims.papers import check_reproduces
from ncbench.claims.parse import parse_claims
from ncbench.config.data_and_model import Dataset, Model
from ncbench.config.rules import is_int, require, require_decays
from ncbench.config.training import Logger, Measure, Objective, Optimizer, Schedule, Trainer

__all__ = ["Config"]

_FREE = ("decay", "feature_decay", "lr")  # axes of free features alone


@dataclass(frozen=True)
class Config:
    """A whole run. `replicate` makes a stack of networks of one job; `references` are the theory lines.

    `claims` are judged by the report on what the run recorded; `reproduces` says whose figure it is; `grid` (key ->
    values) makes one job per point, as -m on the command line.
    """

    name: str = MISSING
    seed: int = 0
    replicate: dict[str, Any] = field(default_factory=dict)
    references: list[dict[str, Any]] = field(default_factory=list)
    claims: Any = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
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
        parse_claims(self.claims)
        check_reproduces(self.reproduces)
        for key, axis in self.grid.items():
            listed = isinstance(axis, Sequence) and not isinstance(axis, str) and len(axis) > 0
            require(listed, f"grid.{key}", axis, "must be a list of values")
        self._check_references()
        self._check_replicate()
        self._check_length()
        if self.references and self._has("AdamW"):
            raise ValueError(
                "optimizer=adamw: decoupled decay has other stationary points than the objective, so no theory line "
                "may be drawn; use optimizer=sgd, or references=[] to train without the lines"
            )
        self._check_width()
        self._check_perceptron()
        decay = self.objective.weight_decay
        if isinstance(decay, Sequence):
            rule = f"one number, or one per weight matrix ({self.model.depth})"
            require(len(decay) == self.model.depth, "objective.weight_decay", list(decay), rule)
            rule = "the standard regulariser has one decay for every parameter"
            require(self.objective.regulariser != "standard", "objective.weight_decay", list(decay), rule)

    def _has(self, optimizer: str) -> bool:
        return self.optimizer._target_.rsplit(".", 1)[-1] == optimizer

    def _check_width(self) -> None:
        classes = self.dataset.num_classes
        if classes is not None and not self.model.on_inputs:
            rule = f"the head needs width >= number of classes ({classes})"
            width = self.model.width
            last = width[-1] if isinstance(width, Sequence) else width
            require(self.model.depth == 1 or last >= classes, "model.width", width, rule)

    def _check_perceptron(self) -> None:
        """What only fully connected networks on the data have, and what they have not."""
        stack, objective, schedule = self.model.on_inputs, self.objective, self.schedule
        lbfgs = self._has("LBFGS")
        if not stack:
            rule = "is for model=perceptron"
            require(objective.loss != "squared", "objective.loss", objective.loss, rule)
            require(not lbfgs, "optimizer", "lbfgs", rule)
            require(schedule.stationary is None, "schedule.stationary", schedule.stationary, rule)
            require(schedule.annealing is None, "schedule.annealing", schedule.annealing, rule)
            require(schedule.warm_steps is None, "schedule.warm_steps", schedule.warm_steps, rule)
            require(objective.warm_decay is None, "objective.warm_decay", objective.warm_decay, rule)
            require(objective.delta == 1.0, "objective.delta", objective.delta, rule)
            require(not self.measure.kmeans, "measure.kmeans", self.measure.kmeans, rule)
            return
        require(objective.loss == "squared", "objective.loss", objective.loss, "model=perceptron needs squared")
        decay = objective.weight_decay
        require(
            not isinstance(decay, Sequence), "objective.weight_decay", decay, "one number; delta is the first layer's"
        )
        require(schedule.steps is not None, "schedule.steps", None, "model=perceptron needs schedule=full_batch")
        require(schedule.tolerance is None, "schedule.tolerance", schedule.tolerance, "use schedule.stationary")
        both = (objective.warm_decay is None) == (schedule.warm_steps is None)
        require(both, "objective.warm_decay", objective.warm_decay, "and schedule.warm_steps: both, or neither")
        rule = "decays once more what the objective decays already; use adam"
        require(not self._has("AdamW"), "optimizer", "adamw", rule)
        rule = "L-BFGS has no rate to anneal"
        require(not lbfgs or schedule.annealing is None, "schedule.annealing", schedule.annealing, rule)
        require(self.measure.per_class is None, "measure.per_class", self.measure.per_class, "is measured whole; null")
        splits = list(self.measure.splits)
        require(splits == ["train"], "measure.splits", splits, "full-batch problems have a training split only")

    def _check_references(self) -> None:
        for place, line in enumerate(self.references):
            key = f"references[{place}]"
            for needed in ("name", "_target_"):
                good = isinstance(line, dict) and isinstance(line.get(needed), str)
                require(good, f"{key}.{needed}", line, "a text is needed, as in {name: dnc, _target_: module.function}")

    def _check_replicate(self) -> None:
        of_data = ("delta", "noise", "noise_ratio", "centroids")
        known = ("seed", "weight_decay", "init_scale", *(of_data if self.model.on_inputs else _FREE))
        for axis, value in self.replicate.items():
            require(axis in known, "replicate", axis, f"unknown axis, must be one of {', '.join(known)}")
            if axis == "seed":
                require(is_int(value) and value >= 1, "replicate.seed", value, "must be a number of seeds >= 1")
            else:
                require(
                    isinstance(value, Sequence) and len(value) > 0,
                    f"replicate.{axis}",
                    value,
                    "must be a list",
                )
                if axis == "centroids":
                    switches = all(isinstance(one, bool) for one in value)
                    require(switches, "replicate.centroids", list(value), "must be a list of false and true")
                else:
                    require_decays(f"replicate.{axis}", value)
            if axis == "decay":
                rule = "sets the decay of every matrix and of the features; leave out weight_decay and feature_decay"
                require(not {"weight_decay", "feature_decay"} & set(self.replicate), "replicate.decay", value, rule)
            if axis == "noise_ratio":
                require("noise" not in self.replicate, "replicate.noise_ratio", list(value), "and noise: one of them")
            if axis == "init_scale":
                require(min(value) > 0, "replicate.init_scale", list(value), "must be numbers > 0")
            if axis == "lr":
                require(min(value) > 0, "replicate.lr", list(value), "must be numbers > 0")
                heavy_ball = self.optimizer._target_ == "torch.optim.SGD" and not self.optimizer.nesterov
                rule = "several rates in one stack need optimizer=gd or heavy_ball; use -m for a grid of jobs"
                require(heavy_ball, "replicate.lr", list(value), rule)
        stacked = self.schedule.steps is not None
        if self.model.start is not None:
            require(stacked, "model.start", self.model.start, "only free features (model=dufm) start at a solution")
            mse = self.objective.loss == "mse" and self.model.activation == "relu"
            require(mse, "model.start", self.model.start, "the solutions are those of loss=mse with activation=relu")
        rule = "only full-batch problems (schedule=full_batch) stack networks; use -m for a grid of jobs"
        require(stacked or not self.replicate, "replicate", dict(self.replicate), rule)

    def _check_length(self) -> None:
        epochs, steps = self.trainer.max_epochs, self.schedule.steps
        rule = "full-batch problems are bounded by schedule.steps; leave it null"
        require(steps is None or epochs is None, "trainer.max_epochs", epochs, rule)
        rule = "must be >= 1 where there is no schedule.steps"
        require(steps is not None or epochs is not None, "trainer.max_epochs", epochs, rule)
