"""How it is learnt, measured and kept: the further groups of a configuration, one frozen dataclass each.

The yaml files under conf/ carry the values; a group's file lists those keys of its dataclass that its target takes.
`ncbench.config.data_and_model` has the data and the network, `ncbench.config.root` puts the groups together. Imports
without torch.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ncbench.config.rules import require, require_decays

__all__ = ["Logger", "Measure", "Objective", "Optimizer", "Schedule", "Trainer"]


@dataclass(frozen=True)
class Objective:
    """What is minimised: the loss and the regulariser as the papers write them.

    mse, ce: lam/2 ||.||^2 (arXiv 2405.14468, 2410.23169); squared: lam ||.||^2 (arXiv 2402.03991).
    """

    _target_: str = MISSING
    loss: str = "mse"
    weight_decay: Any = MISSING  # one number, or one per weight matrix of the head
    feature_decay: float | None = None
    regulariser: str = "dufm_like"
    delta: float = 1.0  # squared: the first layer is decayed with delta times the weight decay
    warm_decay: float | None = None  # squared: the weight decay of the first schedule.warm_steps

    def __post_init__(self) -> None:
        known = ("mse", "ce", "squared")
        require(self.loss in known, "objective.loss", self.loss, "must be mse or ce, or squared for a perceptron")
        require_decays("objective.weight_decay", self.weight_decay)
        if self.feature_decay is not None:
            require_decays("objective.feature_decay", self.feature_decay)
        require_decays("objective.delta", self.delta)
        warm = self.warm_decay
        require(warm is None or warm > 0, "objective.warm_decay", warm, "must be > 0 or null")
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
    memory: int = 20  # of lbfgs: pairs of steps and changes of the gradient

    def __post_init__(self) -> None:
        require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", self.lr, "must be > 0")
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must be in [0, 1)")
        require(self.memory >= 1, "optimizer.memory", self.memory, "must be >= 1")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: gradient steps of a full-batch problem, or a torch scheduler stepped once per epoch."""

    _target_: str | None = None
    _partial_: bool = True
    steps: int | None = None
    tolerance: float | None = None  # a full-batch replica stops at ||gradient|| <= tolerance max(1, ||parameters||)
    stationary: float | None = None  # a perceptron stops at max |gradient| <= this
    warm_steps: int | None = None  # with objective.warm_decay
    annealing: str | None = None  # cosine: the rate of a perceptron's optimiser falls to 0 over the steps
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
        good = self.stationary is None or (math.isfinite(self.stationary) and self.stationary > 0)
        require(good, "schedule.stationary", self.stationary, "must be > 0 or null")
        known = self.annealing in (None, "cosine")
        require(known, "schedule.annealing", self.annealing, "must be cosine or null")
        if self.warm_steps is not None:
            inside = self.steps is not None and 1 <= self.warm_steps < self.steps
            require(inside, "schedule.warm_steps", self.warm_steps, f"must be in [1, schedule.steps={self.steps})")
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
    kmeans: bool = False  # total cluster variation by k-means too, at the last point of a perceptron's run
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
