"""What is learnt and by what: the groups `dataset` and `model` of a configuration, with types and ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from ncbench.config.rules import is_int, require

__all__ = ["Dataset", "Model"]


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
    num_samples: int | None = None  # of a mixture
    dimension: int | None = None  # of drawn points
    noise: float = 0.0  # standard deviation of a mixture's components in every direction
    radius: float = 2.0  # of the sphere on which a mixture's means lie
    targets: str = "inputs"  # of a mixture: inputs (an autoencoder) or labels
    orthonormal: bool = True  # whether random points are

    def __post_init__(self) -> None:
        several = isinstance(self.classes, Sequence) and not isinstance(self.classes, str)
        rule = "must be null, a number >= 2, or a list of at least 2 different class numbers >= 0"
        if several:
            good = all(is_int(c) and c >= 0 for c in self.classes) and len(set(self.classes)) == len(self.classes)
            require(good and len(self.classes) >= 2, "dataset.classes", list(self.classes), rule)
        else:
            good = self.classes is None or (is_int(self.classes) and self.classes >= 2)
            require(good, "dataset.classes", self.classes, rule)
        limits = (("per_class", 1), ("batch_size", 1), ("seed", 0), ("num_samples", 2), ("dimension", 1), ("noise", 0))
        for key, low in limits:
            value = getattr(self, key)
            require(value is None or value >= low, f"dataset.{key}", value, f"must be >= {low}")
        require(self.radius > 0, "dataset.radius", self.radius, "must be > 0")
        require(self.targets in ("inputs", "labels"), "dataset.targets", self.targets, "must be inputs or labels")

    @property
    def num_classes(self) -> int | None:
        """How many classes, where the configuration alone says so."""
        return len(self.classes) if isinstance(self.classes, Sequence) else self.classes


@dataclass(frozen=True)
class Model:
    """The network: an L-layer head on features that are free, come from a backbone, or are the inputs themselves."""

    _target_: str = MISSING
    depth: int = MISSING
    width: Any = (
        MISSING  # of H_1 ... H_L (free features, backbone) or of the hidden layers: one number, or one for each
    )
    activation: str = "relu"
    first_activation: str | None = None  # of the first layer of a perceptron; null: as the others
    residual: bool = False  # hidden layers of a perceptron behind the first add to what they get
    biases: bool = True  # of a perceptron
    init_scale: float | None = None  # weights ~ N(0, init_scale^2 / fan_in); null: the library's default
    start: str | None = None  # free features: a solution of the theory (dnc, srg) instead of random values
    start_noise: float = 0.0  # times the random values, added to it
    backbone: dict[str, Any] | None = None  # _target_ of any nn.Module and its own arguments

    @property
    def on_inputs(self) -> bool:
        """Whether it is a stack of fully connected networks on the data, trained in full batch."""
        return self._target_.rsplit(".", 1)[-1] == "Perceptron"

    def __post_init__(self) -> None:
        require(self.depth >= 1, "model.depth", self.depth, "the head needs at least 1 weight matrix")
        several = isinstance(self.width, Sequence) and not isinstance(self.width, str)
        for one in self.width if several else [self.width]:
            require(is_int(one) and one >= 1, "model.width", one, "must be >= 1, or a list of such numbers")
        count = self.depth - 1 if self.on_inputs else self.depth
        of = "each hidden layer" if self.on_inputs else "each of H_1 ... H_L"
        rule = f"one width, or one for {of} ({count})"
        require(not several or len(self.width) == count, "model.width", self.width, rule)
        known = ("relu", "linear", "tanh", "leaky_relu") if self.on_inputs else ("relu", "linear")
        rule = f"must be {', '.join(known[:-1])} or {known[-1]}"
        require(self.activation in known, "model.activation", self.activation, rule)
        first = self.first_activation
        require(first is None or first in known, "model.first_activation", first, f"{rule}, or null")
        equal = not (several and self.residual) or len(set(self.width)) <= 1
        require(equal, "model.width", self.width, "residual layers need equal widths")
        require(self.start in (None, "dnc", "srg"), "model.start", self.start, "must be dnc, srg or null")
        good = math.isfinite(self.start_noise) and self.start_noise >= 0
        require(good, "model.start_noise", self.start_noise, "must be >= 0")
        alone = self.start is None and self.start_noise > 0
        require(not alone, "model.start_noise", self.start_noise, "is added to a solution; set model.start too")
        positive = self.init_scale is None or (math.isfinite(self.init_scale) and self.init_scale > 0)
        require(positive, "model.init_scale", self.init_scale, "must be > 0 or null")
