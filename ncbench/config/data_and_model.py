"""What is learnt and by what: the variants of the groups `dataset` and `model`, with types and ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING

from ncbench.config.rules import is_int, require
from ncbench.config.variants import Target

__all__ = ["DATASETS", "MODELS", "Dataset", "FreeFeatures", "Mixture", "Model", "Perceptron"]


@dataclass(frozen=True)
class Dataset(Target):
    """What is learnt: which set, which classes, how many samples of each."""

    @property
    def num_classes(self) -> int | None:
        """How many classes, where the configuration alone says so."""
        classes = getattr(self, "classes", None)
        return len(classes) if isinstance(classes, Sequence) else classes

    @property
    def sample_noise(self) -> float:
        """Standard deviation of the samples around their class means, where that is a parameter."""
        return 0.0

    def _at_least(self, **least: float) -> None:
        for key, low in least.items():
            value = getattr(self, key)
            require(value is None or value >= low, f"dataset.{key}", value, f"must be >= {low}")


@dataclass(frozen=True)
class DigitImages(Dataset):
    """scikit-learn's digits, which need no folder."""

    KIND: ClassVar[str] = "digits"
    CLASSES: ClassVar[dict[str, str]] = {"digits": "ncbench.data.Digits"}

    classes: Any = None  # null: all; a number: the first ones; a list: those
    per_class: int | None = 170
    seed: int = 0  # draws the samples of each class
    batch_size: int = 128
    augment: bool = False

    def __post_init__(self) -> None:
        self._at_least(per_class=1, batch_size=1, seed=0)
        rule = "must be null, a number >= 2, or a list of at least 2 different class numbers >= 0"
        if isinstance(self.classes, Sequence) and not isinstance(self.classes, str):
            different = all(is_int(c) and c >= 0 for c in self.classes) and len(set(self.classes)) == len(self.classes)
            require(different and len(self.classes) >= 2, "dataset.classes", list(self.classes), rule)
        else:
            good = self.classes is None or (is_int(self.classes) and self.classes >= 2)
            require(good, "dataset.classes", self.classes, rule)


@dataclass(frozen=True)
class Images(DigitImages):
    """Image sets that are files in a folder."""

    KIND: ClassVar[str] = "images"
    CLASSES: ClassVar[dict[str, str]] = {"mnist": "ncbench.data.MNIST", "cifar10": "ncbench.data.CIFAR10"}

    per_class: int | None = None
    root: str | None = None
    download: bool = True


@dataclass(frozen=True)
class Labels(Dataset):
    """Balanced labels without samples, for free features."""

    KIND: ClassVar[str] = "labels"
    CLASSES: ClassVar[dict[str, str]] = {"labels": "ncbench.data.BalancedLabels"}

    classes: int = MISSING
    per_class: int = MISSING

    def __post_init__(self) -> None:
        self._at_least(classes=2, per_class=1)


@dataclass(frozen=True)
class Mixture(Dataset):
    """A Gaussian mixture with its means on a sphere."""

    KIND: ClassVar[str] = "mixture"
    CLASSES: ClassVar[dict[str, str]] = {"mixture": "ncbench.data.GaussianMixture"}

    classes: int = MISSING
    num_samples: int = MISSING
    dimension: int = MISSING
    noise: float = 0.0  # standard deviation of the components in every direction
    radius: float = 2.0  # of the sphere on which the means lie
    targets: str = "inputs"  # inputs (an autoencoder) or labels
    seed: int = 0

    def __post_init__(self) -> None:
        self._at_least(classes=2, num_samples=2, dimension=1, noise=0, seed=0)
        require(self.radius > 0, "dataset.radius", self.radius, "must be > 0")
        require(self.targets in ("inputs", "labels"), "dataset.targets", self.targets, "must be inputs or labels")

    @property
    def sample_noise(self) -> float:
        """`noise`."""
        return self.noise


@dataclass(frozen=True)
class RandomPoints(Dataset):
    """A few random inputs of each class."""

    KIND: ClassVar[str] = "random_points"
    CLASSES: ClassVar[dict[str, str]] = {"random_points": "ncbench.data.RandomPoints"}

    classes: int = MISSING
    per_class: int = MISSING
    dimension: int = MISSING
    orthonormal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        self._at_least(classes=2, per_class=1, dimension=1, seed=0)


@dataclass(frozen=True)
class OtherDataset(Dataset):
    """A class of the user's own: every key is an argument of it."""

    KIND: ClassVar[str] = "other"


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
    OBJECTIVE: ClassVar[str] = "classifier"
    full_batch: ClassVar[bool] = False

    backbone: dict[str, Any] = MISSING  # _target_ of any nn.Module and its own arguments


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


DATASETS = (DigitImages, Images, Labels, Mixture, RandomPoints, OtherDataset)
MODELS = (FreeFeatures, Backbone, Perceptron)
