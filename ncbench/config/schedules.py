"""How long and how fast: the variants of the group `schedule`, with types and ranges."""

import math
from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from ncbench.config.rules import require
from ncbench.config.variants import Group, Target

__all__ = ["SCHEDULES", "FullBatch", "Schedule", "Stationary"]


@dataclass(frozen=True)
class Schedule(Group):
    """How long and how fast: gradient steps of a full-batch problem, or a torch scheduler stepped once per epoch."""

    full_batch: ClassVar[bool] = False

    @property
    def gradient_steps(self) -> int | None:
        """The steps of a full-batch problem; None where the epochs of the trainer bound the run."""
        return getattr(self, "steps", None)


@dataclass(frozen=True)
class Constant(Schedule):
    """The optimiser's rate throughout, in epochs."""

    KIND: ClassVar[str] = "constant"


@dataclass(frozen=True)
class Scheduler(Target, Schedule):
    """A torch scheduler; further keys are the arguments of another class."""

    KIND: ClassVar[str] = "other"

    _partial_: bool = True


@dataclass(frozen=True)
class Cosine(Scheduler):
    """Half a period of the cosine."""

    KIND: ClassVar[str] = "cosine"
    CLASSES: ClassVar[dict[str, str]] = {"cosine": "torch.optim.lr_scheduler.CosineAnnealingLR"}

    T_max: int | None = None
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        require(self.T_max is None or self.T_max >= 1, "schedule.T_max", self.T_max, "must be >= 1")
        require(self.eta_min >= 0, "schedule.eta_min", self.eta_min, "must be >= 0")


@dataclass(frozen=True)
class MultiStep(Scheduler):
    """A fall by `gamma` at every milestone."""

    KIND: ClassVar[str] = "multistep"
    CLASSES: ClassVar[dict[str, str]] = {"multistep": "torch.optim.lr_scheduler.MultiStepLR"}

    milestones: list[int] = MISSING
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require(self.gamma > 0, "schedule.gamma", self.gamma, "must be > 0")
        increasing = list(self.milestones) == sorted({m for m in self.milestones if m >= 1})
        require(increasing, "schedule.milestones", self.milestones, "must be increasing epochs >= 1")


@dataclass(frozen=True)
class FullBatch(Schedule):
    """Gradient steps on the whole data at a constant rate."""

    KIND: ClassVar[str] = "full_batch"
    full_batch: ClassVar[bool] = True

    steps: int = MISSING
    tolerance: float | None = None  # a replica stops at ||gradient|| <= tolerance max(1, ||parameters||)

    def __post_init__(self) -> None:
        require(self.steps >= 1, "schedule.steps", self.steps, "must be >= 1")
        good = self.tolerance is None or (math.isfinite(self.tolerance) and self.tolerance > 0)
        require(good, "schedule.tolerance", self.tolerance, "must be > 0 or null")


@dataclass(frozen=True)
class Stationary(Schedule):
    """Until the gradient vanishes; of perceptrons also with a first decay of its own, or a rate that falls to 0."""

    KIND: ClassVar[str] = "stationary"
    full_batch: ClassVar[bool] = True

    steps: int = MISSING
    stationary: float | None = None  # a replica stops at max |gradient| <= this
    warm_steps: int | None = None  # with objective.warm_decay
    annealing: str | None = None  # cosine: the optimiser's rate falls to 0 over the steps

    def __post_init__(self) -> None:
        require(self.steps >= 1, "schedule.steps", self.steps, "must be >= 1")
        good = self.stationary is None or (math.isfinite(self.stationary) and self.stationary > 0)
        require(good, "schedule.stationary", self.stationary, "must be > 0 or null")
        known = self.annealing in (None, "cosine")
        require(known, "schedule.annealing", self.annealing, "must be cosine or null")
        inside = self.warm_steps is None or 1 <= self.warm_steps < self.steps
        rule = f"must be in [1, schedule.steps={self.steps})"
        require(inside, "schedule.warm_steps", self.warm_steps, rule)


SCHEDULES = (Constant, Cosine, MultiStep, FullBatch, Stationary, Scheduler)
