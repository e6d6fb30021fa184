"""What the groups of a configuration may hold: one frozen dataclass per group, with types and ranges.

The yaml files under conf/ carry the values; a group's file lists those keys of its dataclass that its target takes.
`ncbench.config` puts the groups together. Imports without torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = [
    "Dataset",
    "Logger",
    "Measure",
    "Model",
    "Objective",
    "Optimizer",
    "Schedule",
    "Trainer",
    "is_int",
    "require",
    "require_decays",
]


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """ValueError of one line, `key=value: rule`, unless the condition holds."""
    if not condition:
        raise ValueError(f"{key}={value}: {rule}")


def is_int(value: object) -> bool:
    """Whether a value of yaml is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_decays(key: str, value: Any) -> None:
    """One number >= 0, or a list of them."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    require(len(values) > 0, key, value, "must be a number or a list of numbers")
    for one in values:
        number = isinstance(one, (int, float)) and not isinstance(one, bool)
        require(number and math.isfinite(one) and one >= 0, key, one, "must be a number >= 0")


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
            good = all(is_int(c) and c >= 0 for c in self.classes) and len(set(self.classes)) == len(self.classes)
            require(good and len(self.classes) >= 2, "dataset.classes", list(self.classes), rule)
        else:
            good = self.classes is None or (is_int(self.classes) and self.classes >= 2)
            require(good, "dataset.classes", self.classes, rule)
        for key, low in (("per_class", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, key)
            require(value is None or value >= low, f"dataset.{key}", value, f"must be >= {low}")

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
        require(self.depth >= 1, "model.depth", self.depth, "the head needs at least 1 weight matrix")
        several = isinstance(self.width, Sequence) and not isinstance(self.width, str)
        for one in self.width if several else [self.width]:
            require(is_int(one) and one >= 1, "model.width", one, "must be >= 1, or a list of such numbers")
        rule = f"one width, or one for each of H_1 ... H_L ({self.depth})"
        require(not several or len(self.width) == self.depth, "model.width", self.width, rule)
        require(
            self.activation in ("relu", "linear"),
            "model.activation",
            self.activation,
            "must be relu or linear",
        )
        require(self.start in (None, "dnc", "srg"), "model.start", self.start, "must be dnc, srg or null")
        good = math.isfinite(self.start_noise) and self.start_noise >= 0
        require(good, "model.start_noise", self.start_noise, "must be >= 0")
        alone = self.start is None and self.start_noise > 0
        require(not alone, "model.start_noise", self.start_noise, "is added to a solution; set model.start too")
        positive = self.init_scale is None or (math.isfinite(self.init_scale) and self.init_scale > 0)
        require(positive, "model.init_scale", self.init_scale, "must be > 0 or null")


@dataclass(frozen=True)
class Objective:
    """What is minimised: the loss and the regulariser as the papers write it, lam/2 ||.||^2."""

    _target_: str = MISSING
    loss: str = "mse"
    weight_decay: Any = MISSING  # one number, or one per weight matrix of the head
    feature_decay: float | None = None
    regulariser: str = "dufm_like"

    def __post_init__(self) -> None:
        require(self.loss in ("mse", "ce"), "objective.loss", self.loss, "must be mse or ce")
        require_decays("objective.weight_decay", self.weight_decay)
        if self.feature_decay is not None:
            require_decays("objective.feature_decay", self.feature_decay)
        rule = "must be dufm_like or standard"
        require(self.regulariser in ("dufm_like", "standard"), "objective.regulariser", self.regulariser, rule)


@dataclass(frozen=True)
class Optimizer:
    """A torch optimiser; weight decay is not its business but the objective's."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", self.lr, "must be > 0")
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must be in [0, 1)")


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
        require(self.steps is None or self.steps >= 1, "schedule.steps", self.steps, "must be >= 1")
        if self.tolerance is not None:
            good = math.isfinite(self.tolerance) and self.tolerance > 0
            require(good, "schedule.tolerance", self.tolerance, "must be > 0 or null")
            rule = "only full-batch problems (schedule=full_batch) stop early"
            require(self.steps is not None, "schedule.tolerance", self.tolerance, rule)
        require(self.gamma > 0, "schedule.gamma", self.gamma, "must be > 0")
        require(self.eta_min >= 0, "schedule.eta_min", self.eta_min, "must be >= 0")
        increasing = self.milestones is None or list(self.milestones) == sorted({m for m in self.milestones if m >= 1})
        require(increasing, "schedule.milestones", self.milestones, "must be increasing epochs >= 1")


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
            require(getattr(self, key) >= 1, f"measure.{key}", getattr(self, key), "must be >= 1")
        require(self.per_class is None or self.per_class >= 1, "measure.per_class", self.per_class, "must be >= 1")
        require(self.layers is None or len(self.layers) > 0, "measure.layers", self.layers, "must name layers, or null")
        known = len(self.splits) > 0 and set(self.splits) <= {"train", "test"}
        require(known, "measure.splits", list(self.splits), "must name train, test or both")


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
        require(
            self.max_epochs is None or self.max_epochs >= 1,
            "trainer.max_epochs",
            self.max_epochs,
            "must be >= 1",
        )
        require(self.threads is None or self.threads >= 1, "trainer.threads", self.threads, "must be >= 1")
        known = ("auto", "cpu", "gpu", "cuda", "mps")
        require(
            self.accelerator in known,
            "trainer.accelerator",
            self.accelerator,
            f"must be one of {', '.join(known)}",
        )
        require(self.dtype in ("float32", "float64"), "trainer.dtype", self.dtype, "must be float32 or float64")
        require(
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
        require(self.kind in known, "logger.kind", self.kind, f"must be one of {', '.join(known)}")
