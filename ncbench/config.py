"""What a configuration may hold: one frozen dataclass per group, the only place for keys, types and ranges.

The yaml files under conf/ carry the values; a group's file lists those keys of its dataclass that its target takes.
`ncbench.validation` makes one of every composed configuration before torch is imported and before Hydra starts a job.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ncbench.claims import parse_claims
from ncbench.papers import check_reproduces

__all__ = ["Config"]


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ValueError(f"{key}={value}: {rule}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _decays(key: str, value: Any) -> None:
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    _require(len(values) > 0, key, value, "must be a number or a list of numbers")
    for one in values:
        number = isinstance(one, (int, float)) and not isinstance(one, bool)
        _require(number and math.isfinite(one) and one >= 0, key, one, "must be a number >= 0")


@dataclass(frozen=True)
class Dataset:
    """What is learnt: which set, which classes, how many samples of each."""

    _target_: str = MISSING
    classes: Any = None  # null: all; a number: the first ones; a list: those
    per_class: int | None = None
    seed: int = 0  # draws the samples of each class
    root: str | None = None
    download: bool = True
    batch_size: int = 128
    augment: bool = False

    def __post_init__(self) -> None:
        several = isinstance(self.classes, Sequence) and not isinstance(self.classes, str)
        rule = "must be null, a number >= 2, or a list of at least 2 different class numbers >= 0"
        if several:
            good = all(_is_int(c) and c >= 0 for c in self.classes) and len(set(self.classes)) == len(self.classes)
            _require(good and len(self.classes) >= 2, "dataset.classes", list(self.classes), rule)
        else:
            good = self.classes is None or (_is_int(self.classes) and self.classes >= 2)
            _require(good, "dataset.classes", self.classes, rule)
        for key, low in (("per_class", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, key)
            _require(value is None or value >= low, f"dataset.{key}", value, f"must be >= {low}")

    @property
    def num_classes(self) -> int | None:
        """How many classes, where the configuration alone says so."""
        return len(self.classes) if isinstance(self.classes, Sequence) else self.classes


@dataclass(frozen=True)
class Model:
    """The network: an L-layer head without biases on features that are free or come from a backbone."""

    _target_: str = MISSING
    depth: int = MISSING
    width: Any = MISSING  # of H_1 ... H_L: one number, or one for each
    activation: str = "relu"
    init_scale: float | None = None  # weights ~ N(0, init_scale^2 / fan_in); null: the library's default
    start: str | None = None  # free features: a solution of the theory (dnc, srg) instead of random values
    start_noise: float = 0.0  # times the random values, added to it
    backbone: dict[str, Any] | None = None  # _target_ of any nn.Module and its own arguments

    def __post_init__(self) -> None:
        _require(self.depth >= 1, "model.depth", self.depth, "the head needs at least 1 weight matrix")
        several = isinstance(self.width, Sequence) and not isinstance(self.width, str)
        for one in self.width if several else [self.width]:
            _require(_is_int(one) and one >= 1, "model.width", one, "must be >= 1, or a list of such numbers")
        rule = f"one width, or one for each of H_1 ... H_L ({self.depth})"
        _require(not several or len(self.width) == self.depth, "model.width", self.width, rule)
        _require(
            self.activation in ("relu", "linear"),
            "model.activation",
            self.activation,
            "must be relu or linear",
        )
        _require(self.start in (None, "dnc", "srg"), "model.start", self.start, "must be dnc, srg or null")
        good = math.isfinite(self.start_noise) and self.start_noise >= 0
        _require(good, "model.start_noise", self.start_noise, "must be >= 0")
        positive = self.init_scale is None or (math.isfinite(self.init_scale) and self.init_scale > 0)
        _require(positive, "model.init_scale", self.init_scale, "must be > 0 or null")


@dataclass(frozen=True)
class Objective:
    """What is minimised: the loss and the regulariser as the papers write it, lam/2 ||.||^2."""

    _target_: str = MISSING
    loss: str = "mse"
    weight_decay: Any = MISSING  # one number, or one per weight matrix of the head
    feature_decay: float | None = None
    regulariser: str = "dufm_like"

    def __post_init__(self) -> None:
        _require(self.loss in ("mse", "ce"), "objective.loss", self.loss, "must be mse or ce")
        _decays("objective.weight_decay", self.weight_decay)
        if self.feature_decay is not None:
            _decays("objective.feature_decay", self.feature_decay)
        rule = "must be dufm_like or standard"
        _require(self.regulariser in ("dufm_like", "standard"), "objective.regulariser", self.regulariser, rule)


@dataclass(frozen=True)
class Optimizer:
    """A torch optimiser; weight decay is not its business but the objective's."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", self.lr, "must be > 0")
        _require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must be in [0, 1)")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: gradient steps of a full-batch problem, or a torch scheduler stepped once per epoch."""

    _target_: str | None = None
    _partial_: bool = True
    steps: int | None = None
    tolerance: float | None = None  # a full-batch replica stops at ||gradient|| <= tolerance max(1, ||parameters||)
    milestones: list[int] | None = None
    gamma: float = 0.1
    T_max: int | None = None
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        _require(self.steps is None or self.steps >= 1, "schedule.steps", self.steps, "must be >= 1")
        if self.tolerance is not None:
            good = math.isfinite(self.tolerance) and self.tolerance > 0
            _require(good, "schedule.tolerance", self.tolerance, "must be > 0 or null")
            rule = "only full-batch problems (schedule=full_batch) stop early"
            _require(self.steps is not None, "schedule.tolerance", self.tolerance, rule)
        _require(self.gamma > 0, "schedule.gamma", self.gamma, "must be > 0")
        _require(self.eta_min >= 0, "schedule.eta_min", self.eta_min, "must be >= 0")
        increasing = self.milestones is None or list(self.milestones) == sorted({m for m in self.milestones if m >= 1})
        _require(increasing, "schedule.milestones", self.milestones, "must be increasing epochs >= 1")


@dataclass(frozen=True)
class Measure:
    """What is measured, on which layers, when."""

    layers: list[str] | None = None  # names or globs; null: features and every layer of the head
    points: int = 60  # log-spaced steps or epochs, the first and the last included
    splits: list[str] = field(default_factory=lambda: ["train"])
    per_class: int | None = None  # measure on so many samples of each class; null: all
    batch_size: int = 250
    gram_every: int = 8  # Gram matrices at every so-many-th point, and at the last
    moments: dict[str, Any] = field(default_factory=dict)  # name -> _target_ of a function of ClassMoments
    matrices: dict[str, Any] = field(default_factory=dict)  # name -> _target_ of a function of a matrix

    def __post_init__(self) -> None:
        for key in ("points", "batch_size", "gram_every"):
            _require(getattr(self, key) >= 1, f"measure.{key}", getattr(self, key), "must be >= 1")
        _require(self.per_class is None or self.per_class >= 1, "measure.per_class", self.per_class, "must be >= 1")
        known = len(self.splits) > 0 and set(self.splits) <= {"train", "test"}
        _require(known, "measure.splits", list(self.splits), "must name train, test or both")


@dataclass(frozen=True)
class Trainer:
    """Where and how long it runs."""

    max_epochs: int | None = None
    accelerator: str = "auto"
    threads: int | None = None  # null: every core
    dtype: str = "float32"
    checkpoint_seconds: float = 2.0  # at most one checkpoint in so many seconds, and always one at the end
    progress: bool = True

    def __post_init__(self) -> None:
        _require(
            self.max_epochs is None or self.max_epochs >= 1,
            "trainer.max_epochs",
            self.max_epochs,
            "must be >= 1",
        )
        _require(self.threads is None or self.threads >= 1, "trainer.threads", self.threads, "must be >= 1")
        known = ("auto", "cpu", "gpu", "cuda", "mps")
        _require(
            self.accelerator in known,
            "trainer.accelerator",
            self.accelerator,
            f"must be one of {', '.join(known)}",
        )
        _require(self.dtype in ("float32", "float64"), "trainer.dtype", self.dtype, "must be float32 or float64")
        _require(
            self.checkpoint_seconds >= 0,
            "trainer.checkpoint_seconds",
            self.checkpoint_seconds,
            "must be >= 0",
        )


@dataclass(frozen=True)
class Logger:
    """Where measures go besides the run folder."""

    kind: str = "local"
    project: str = "ncbench"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = ("local", "wandb_offline", "wandb")
        _require(self.kind in known, "logger.kind", self.kind, f"must be one of {', '.join(known)}")


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
    claims: list[dict[str, Any]] = field(default_factory=list)
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
        _require(0 <= self.seed < 2**32, "seed", self.seed, "must be in [0, 2^32)")
        parse_claims(self.claims)
        check_reproduces(self.reproduces)
        for key, axis in self.grid.items():
            listed = isinstance(axis, Sequence) and not isinstance(axis, str) and len(axis) > 0
            _require(listed, f"grid.{key}", axis, "must be a list of values")
        self._check_replicate()
        self._check_length()
        if self.references and self.optimizer._target_.rsplit(".", 1)[-1] == "AdamW":
            raise ValueError(
                "optimizer=adamw: decoupled decay has other stationary points than the objective, so no theory line "
                "may be drawn; use optimizer=sgd, or references=[] to train without the lines"
            )
        classes = self.dataset.num_classes
        if classes is not None:
            rule = f"the head needs width >= number of classes ({classes})"
            width = self.model.width
            last = width[-1] if isinstance(width, Sequence) else width
            _require(self.model.depth == 1 or last >= classes, "model.width", width, rule)
        decay = self.objective.weight_decay
        if isinstance(decay, Sequence):
            rule = f"one number, or one per weight matrix ({self.model.depth})"
            _require(len(decay) == self.model.depth, "objective.weight_decay", list(decay), rule)
            rule = "the standard regulariser has one decay for every parameter"
            _require(self.objective.regulariser != "standard", "objective.weight_decay", list(decay), rule)

    def _check_replicate(self) -> None:
        known = ("seed", "decay", "weight_decay", "feature_decay", "init_scale", "lr")
        for axis, value in self.replicate.items():
            _require(axis in known, "replicate", axis, f"unknown axis, must be one of {', '.join(known)}")
            if axis == "seed":
                _require(_is_int(value) and value >= 1, "replicate.seed", value, "must be a number of seeds >= 1")
            else:
                _require(
                    isinstance(value, Sequence) and len(value) > 0,
                    f"replicate.{axis}",
                    value,
                    "must be a list",
                )
                _decays(f"replicate.{axis}", value)
            if axis == "decay":
                rule = "sets the decay of every matrix and of the features; leave out weight_decay and feature_decay"
                _require(not {"weight_decay", "feature_decay"} & set(self.replicate), "replicate.decay", value, rule)
            if axis == "init_scale":
                _require(min(value) > 0, "replicate.init_scale", list(value), "must be numbers > 0")
            if axis == "lr":
                _require(min(value) > 0, "replicate.lr", list(value), "must be numbers > 0")
                heavy_ball = self.optimizer._target_ == "torch.optim.SGD" and not self.optimizer.nesterov
                rule = "several rates in one stack need optimizer=gd or heavy_ball; use -m for a grid of jobs"
                _require(heavy_ball, "replicate.lr", list(value), rule)
        stacked = self.schedule.steps is not None
        if self.model.start is not None:
            _require(stacked, "model.start", self.model.start, "only free features (model=dufm) start at a solution")
            mse = self.objective.loss == "mse" and self.model.activation == "relu"
            _require(mse, "model.start", self.model.start, "the solutions are those of loss=mse with activation=relu")
        rule = "only full-batch problems (schedule=full_batch) stack networks; use -m for a grid of jobs"
        _require(stacked or not self.replicate, "replicate", dict(self.replicate), rule)

    def _check_length(self) -> None:
        epochs, steps = self.trainer.max_epochs, self.schedule.steps
        rule = "full-batch problems are bounded by schedule.steps; leave it null"
        _require(steps is None or epochs is None, "trainer.max_epochs", epochs, rule)
        rule = "must be >= 1 where there is no schedule.steps"
        _require(steps is not None or epochs is not None, "trainer.max_epochs", epochs, rule)
