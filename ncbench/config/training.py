"""What is minimised and how: the variants of the groups `objective` and `optimizer`, with types and ranges.

Values stand in the yaml files under conf/. `ncbench.config.datasets` has the data, `ncbench.config.models` the network,
`ncbench.config.schedules` how long and how fast, `ncbench.config.measuring` what is measured and where it runs,
`ncbench.config.root` puts the groups together.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING

from ncbench.config.rules import require, require_decays
from ncbench.config.variants import Target

__all__ = ["OBJECTIVES", "OPTIMIZERS", "ClassifierObjective", "Objective", "Optimizer", "SquaredObjective"]


@dataclass(frozen=True)
class Objective(Target):
    """What is minimised: the loss and the regulariser as the papers write them.

    mse, ce: lam/2 ||.||^2 (arXiv 2405.14468, 2410.23169); squared: lam ||.||^2 (arXiv 2402.03991).
    """

    loss: str = "mse"
    weight_decay: Any = MISSING  # one number, or one per weight matrix of the head

    def __post_init__(self) -> None:
        require(self.loss in ("mse", "ce"), "objective.loss", self.loss, "must be mse or ce")
        require_decays("objective.weight_decay", self.weight_decay)


@dataclass(frozen=True)
class FullBatchObjective(Objective):
    """Of free features: every matrix and the features are decayed."""

    KIND: ClassVar[str] = "full_batch"
    CLASSES: ClassVar[dict[str, str]] = {"full_batch": "ncbench.training.FullBatchModule"}
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("weight_decay", "feature_decay")  # decided for every replica

    feature_decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feature_decay is not None:
            require_decays("objective.feature_decay", self.feature_decay)


@dataclass(frozen=True)
class ClassifierObjective(FullBatchObjective):
    """Of backbones: head and features are decayed (dufm_like), or every parameter (standard)."""

    KIND: ClassVar[str] = "classifier"
    CLASSES: ClassVar[dict[str, str]] = {"classifier": "ncbench.training.ClassifierModule"}
    NOT_PASSED: ClassVar[tuple[str, ...]] = ()

    regulariser: str = "dufm_like"

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "must be dufm_like or standard"
        require(self.regulariser in ("dufm_like", "standard"), "objective.regulariser", self.regulariser, rule)


@dataclass(frozen=True)
class SquaredObjective(Objective):
    """Of perceptrons: squared error, a factor `delta` on the decay of the first layer."""

    KIND: ClassVar[str] = "squared"
    CLASSES: ClassVar[dict[str, str]] = {"squared": "ncbench.training.PerceptronModule"}
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("weight_decay", "delta")  # decided for every replica

    loss: str = "squared"
    delta: float = 1.0
    warm_decay: float | None = None  # the weight decay of the first schedule.warm_steps

    def __post_init__(self) -> None:
        require(self.loss == "squared", "objective.loss", self.loss, "objective=squared has loss=squared only")
        require_decays("objective.weight_decay", self.weight_decay)
        require_decays("objective.delta", self.delta)
        require(
            self.warm_decay is None or self.warm_decay > 0,
            "objective.warm_decay",
            self.warm_decay,
            "must be > 0 or null",
        )


@dataclass(frozen=True)
class Optimizer(Target):
    """A torch optimiser; weight decay is not its business but the objective's."""

    decoupled: ClassVar[bool] = False  # whether its decay is another than that of the objective
    line_search: ClassVar[bool] = False

    _partial_: bool = True
    lr: float = MISSING

    @property
    def rates_of_replicas(self) -> bool:
        """Whether the replicas of an ensemble may have rates of their own."""
        return False

    def __post_init__(self) -> None:
        require(math.isfinite(self.lr) and self.lr > 0, "optimizer.lr", self.lr, "must be > 0")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, with heavy-ball or Nesterov momentum."""

    KIND: ClassVar[str] = "sgd"
    CLASSES: ClassVar[dict[str, str]] = {"sgd": "torch.optim.SGD"}

    momentum: float = 0.0
    nesterov: bool = False

    @property
    def rates_of_replicas(self) -> bool:
        """Where the steps are those that the engine takes itself."""
        return self.public_target is not None and not self.nesterov

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must be in [0, 1)")
        rule = "needs optimizer.momentum > 0"
        require(not self.nesterov or self.momentum > 0, "optimizer.nesterov", self.nesterov, rule)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, with the objective's coupled decay."""

    KIND: ClassVar[str] = "adam"
    CLASSES: ClassVar[dict[str, str]] = {"adam": "torch.optim.Adam"}


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with a decoupled decay."""

    KIND: ClassVar[str] = "adamw"
    CLASSES: ClassVar[dict[str, str]] = {"adamw": "torch.optim.AdamW"}
    decoupled: ClassVar[bool] = True


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS, a line search for every replica."""

    KIND: ClassVar[str] = "lbfgs"
    CLASSES: ClassVar[dict[str, str]] = {"lbfgs": "ncbench.models.replica.LBFGS"}
    line_search: ClassVar[bool] = True

    memory: int = 20  # pairs of steps and changes of the gradient

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.memory >= 1, "optimizer.memory", self.memory, "must be >= 1")


@dataclass(frozen=True)
class OtherOptimizer(Optimizer):
    """Any other class with the interface of torch.optim; further keys are its own arguments."""

    KIND: ClassVar[str] = "other"

    def __post_init__(self) -> None:
        super().__post_init__()
        decay = self.further.get("weight_decay")
        require(
            decay is None, "optimizer.weight_decay", decay, "the decay is the objective's; use objective.weight_decay"
        )


OBJECTIVES = (FullBatchObjective, ClassifierObjective, SquaredObjective)
OPTIMIZERS = (SGD, Adam, AdamW, LBFGS, OtherOptimizer)
