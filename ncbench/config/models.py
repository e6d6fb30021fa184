"""What learns it: the variants of the group `model`, with types and ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from ncbench.config.rules import is_int, is_list, require
from ncbench.config.variants import Target, public_name

__all__ = ["MODELS", "Backbone", "FreeFeatures", "Model", "Network", "Perceptron"]

OUR_WIDTHS = ("models.SmallMLP", "models.SmallConvNet")
GENERATORS = ("torch", "philox")  # as in `ncbench.models.initial_values`, which needs torch; a test compares the two


@dataclass(frozen=True)
class Model(Target):
    """The network: an L-layer head on features that are free, come from a backbone, or are the inputs themselves."""

    OBJECTIVE: ClassVar[str] = ""  # the kind of objective that it is trained for
    ACTIVATIONS: ClassVar[tuple[str, ...]] = ("relu", "linear")
    on_inputs: ClassVar[bool] = False  # fully connected networks on the data, an ensemble trained in full batch
    full_batch: ClassVar[bool] = True

    depth: int = MISSING
    # Of H_1 ... H_L (free features, backbone) or of the hidden layers (perceptron): one number, or one for each.
    width: Any = MISSING
    activation: str = "relu"
    init_scale: float | None = None  # weights ~ N(0, init_scale^2 / fan_in); null: the library's default
    # What draws them: torch's own generator, or a counter-based one, whose bits are the same on every machine.
    init_generator: str = "torch"

    @property
    def num_widths(self) -> int:
        """How many widths a list of them has to hold."""
        return self.depth

    def __post_init__(self) -> None:
        require(self.depth >= 1, "model.depth", self.depth, "the head needs at least 1 weight matrix")
        several = isinstance(self.width, Sequence) and not isinstance(self.width, str)
        for width in self.width if several else [self.width]:
            require(is_int(width) and width >= 1, "model.width", width, "must be >= 1, or a list of such numbers")
        layers = "each hidden layer" if self.on_inputs else "each of H_1 ... H_L"
        rule = f"one width, or one for {layers} ({self.num_widths})"
        require(not several or len(self.width) == self.num_widths, "model.width", self.width, rule)
        self._check_activation("activation", self.activation)
        positive = self.init_scale is None or (math.isfinite(self.init_scale) and self.init_scale > 0)
        require(positive, "model.init_scale", self.init_scale, "must be > 0 or null")
        known = self.init_generator in GENERATORS
        require(known, "model.init_generator", self.init_generator, f"must be {' or '.join(GENERATORS)}")

    def arguments(self) -> dict[str, Any]:
        """As of every target, without a generator that is the default: a class of the user's own need not know it."""
        values = super().arguments()
        return {key: value for key, value in values.items() if (key, value) != ("init_generator", "torch")}

    def _check_activation(self, key: str, name: str, or_null: str = "") -> None:
        rule = f"must be {', '.join(self.ACTIVATIONS[:-1])} or {self.ACTIVATIONS[-1]}{or_null}"
        require(name in self.ACTIVATIONS, f"model.{key}", name, rule)


@dataclass(frozen=True)
class FreeFeatures(Model):
    """Deep unconstrained features models: H_1 is a parameter."""

    KIND: ClassVar[str] = "free_features"
    CLASSES: ClassVar[dict[str, str]] = {"dufm": "ncbench.models.replica.DUFM"}
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("start", "start_noise")
    OBJECTIVE: ClassVar[str] = "full_batch"

    # Standard deviation of random values: init_scale / sqrt(fan_in), or entry by entry init_scale whatever the width.
    init_rule: str = "fan_in"
    start: str | None = None  # a solution of the theory instead of random values; its names are `consistency`'s
    start_noise: float = 0.0  # added to it: times the random values (mse), or the root mean square entry of H_1 (ce)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.init_rule in ("fan_in", "entry")
        require(known, "model.init_rule", self.init_rule, "must be fan_in or entry")
        finite = math.isfinite(self.start_noise) and self.start_noise >= 0
        require(finite, "model.start_noise", self.start_noise, "must be >= 0")


@dataclass(frozen=True)
class Backbone(Model):
    """A head on the features of a backbone, trained on mini-batches."""

    KIND: ClassVar[str] = "backbone"
    CLASSES: ClassVar[dict[str, str]] = {"backbone_with_head": "ncbench.models.heads.BackboneWithHead"}
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("init_feature_variance",)
    OBJECTIVE: ClassVar[str] = "classifier"
    full_batch: ClassVar[bool] = False

    backbone: dict[str, Any] = MISSING  # _target_ of any nn.Module and its own arguments
    # Of the head's matrices: N(0, init_scale^2 / fan_in), or init_scale times orthonormal rows or columns.
    init_rule: str = "fan_in"
    # Mean ||H_1||^2 at the start, with mean H_1 = 0: the backbone's last linear map is shifted and scaled for it, by
    # training data (`ncbench.run.feature_start`); null: as the backbone's class starts it.
    init_feature_variance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        variance = self.init_feature_variance
        positive = variance is None or (math.isfinite(variance) and variance > 0)
        require(positive, "model.init_feature_variance", variance, "must be > 0 or null")
        known = self.init_rule in ("fan_in", "orthogonal")
        require(known, "model.init_rule", self.init_rule, "must be fan_in or orthogonal")
        scaled = self.init_rule == "fan_in" or self.init_scale is not None
        require(scaled, "model.init_scale", self.init_scale, "must be a number with init_rule=orthogonal")
        scaled = self.init_generator == "torch" or self.init_scale is not None
        require(scaled, "model.init_scale", self.init_scale, "must be a number with init_generator=philox")
        for key in ("hidden", "channels") if public_name(str(self.backbone.get("_target_"))) in OUR_WIDTHS else ():
            widths = self.backbone.get(key, [1])
            good = is_list(widths) and all(is_int(width) and width >= 1 for width in widths)
            require(good, f"model.backbone.{key}", widths, "must be a list of widths >= 1")

    def arguments(self) -> dict[str, Any]:
        """As of every model, without a rule that is the default, either."""
        values = super().arguments()
        return {key: value for key, value in values.items() if (key, value) != ("init_rule", "fan_in")}


@dataclass(frozen=True)
class Perceptron(Model):
    """Fully connected networks on the data."""

    KIND: ClassVar[str] = "perceptron"
    CLASSES: ClassVar[dict[str, str]] = {"perceptron": "ncbench.models.replica.Perceptron"}
    OBJECTIVE: ClassVar[str] = "squared"
    ACTIVATIONS: ClassVar[tuple[str, ...]] = ("relu", "linear", "tanh", "leaky_relu")
    on_inputs: ClassVar[bool] = True

    first_activation: str | None = None  # of the first layer; null: as the others
    residual: bool = False  # hidden layers behind the first add to what they get
    biases: bool = True

    @property
    def num_widths(self) -> int:
        """One for each hidden layer."""
        return self.depth - 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_activation is not None:
            self._check_activation("first_activation", self.first_activation, ", or null")
        equal = not (isinstance(self.width, Sequence) and self.residual) or len(set(self.width)) <= 1
        require(equal, "model.width", self.width, "residual layers need equal widths")


_NO_KEY: Any = {"is_key": False}  # of a field of `Model` that a variant has no key for


@dataclass(frozen=True)
class Network(Model):
    """Any nn.Module, or function that returns one, as the whole network; further keys are its own arguments.

    Its head is its classifier alone, one matrix on features of whatever width.
    """

    KIND: ClassVar[str] = "network"
    NOT_PASSED: ClassVar[tuple[str, ...]] = ("classifier", "from_data")
    OBJECTIVE: ClassVar[str] = "classifier"
    full_batch: ClassVar[bool] = False

    depth: int = field(default=1, init=False, metadata=_NO_KEY)
    width: Any = field(default=None, init=False, metadata=_NO_KEY)
    activation: str = field(default="", init=False, metadata=_NO_KEY)  # one matrix has none
    init_scale: float | None = field(default=None, init=False, metadata=_NO_KEY)
    init_generator: str = field(default="torch", init=False, metadata=_NO_KEY)
    classifier: str | None = None  # the name of its last linear layer; null: the last one with an output per class
    from_data: dict[str, str] = field(default_factory=dict)  # argument: num_classes, in_channels, input_shape, ...

    def __post_init__(self) -> None:
        partial = self.further.get("_partial_")
        require(partial is None, "model._partial_", partial, "the network is made by ncbench; leave it out")


MODELS = (FreeFeatures, Backbone, Perceptron, Network)
