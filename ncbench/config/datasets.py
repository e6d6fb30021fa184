"""What is learnt: the variants of the group `dataset`, with types and ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING

from ncbench.config.rules import is_int, require
from ncbench.config.variants import Target

__all__ = ["DATASETS", "Dataset", "Mixture"]


@dataclass(frozen=True)
class Dataset(Target):
    """What is learnt: which set, which classes, how many samples of each."""

    @property
    def known_classes(self) -> int | None:
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


def check_classes(classes: Any) -> None:
    """ValueError of one line unless `classes` chooses at least two: all, the first ones, or a list."""
    rule = "must be null, a number >= 2, or a list of at least 2 different class numbers >= 0"
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        different = all(is_int(c) and c >= 0 for c in classes) and len(set(classes)) == len(classes)
        require(different and len(classes) >= 2, "dataset.classes", list(classes), rule)
    else:
        require(classes is None or (is_int(classes) and classes >= 2), "dataset.classes", classes, rule)


def check_unequal(imbalance: float | None, minority: float, label_noise: float) -> None:
    """ValueError of one line for an imbalance or a noise that no set can have."""
    factor = imbalance is None or (math.isfinite(imbalance) and imbalance >= 1)
    require(factor, "dataset.imbalance", imbalance, "must be a factor >= 1, or null")
    require(0 < minority < 1, "dataset.minority", minority, "must be in (0, 1), the share of the classes")
    require(0 <= label_noise <= 1, "dataset.label_noise", label_noise, "must be in [0, 1], the share of the labels")


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
    imbalance: float | None = None  # R: the minority has R times fewer samples of each class; null: equal classes
    minority: float = 0.5  # share of the classes that it is
    label_noise: float = 0.0  # share of the training labels of each class that another one replaces

    def __post_init__(self) -> None:
        self._at_least(per_class=1, batch_size=1, seed=0)
        check_unequal(self.imbalance, self.minority, self.label_noise)
        check_classes(self.classes)
        there = {None: None, "cifar100": 100}.get(self.public_target, 10)
        last = self.classes - 1 if is_int(self.classes) else max(self.classes or [0])
        rule = f"this set has the {there} classes 0 ... {(there or 1) - 1}"
        require(there is None or last < there, "dataset.classes", self.classes, rule)


@dataclass(frozen=True)
class Images(DigitImages):
    """Image sets that are files in a folder."""

    KIND: ClassVar[str] = "images"
    CLASSES: ClassVar[dict[str, str]] = {
        "mnist": "ncbench.data.MNIST",
        "cifar10": "ncbench.data.CIFAR10",
        "fashion_mnist": "ncbench.data.FashionMNIST",
        "cifar100": "ncbench.data.CIFAR100",
    }

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
class TorchDatasets(Dataset):
    """Any map-style Datasets of torch, each with its _target_ and its own arguments."""

    KIND: ClassVar[str] = "torch"
    CLASSES: ClassVar[dict[str, str]] = {"torch": "ncbench.data.TorchData"}

    train: dict[str, Any] = MISSING
    test: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None  # the samples of train without random transforms, to be measured
    classes: Any = None  # null: all; a number: the first labels; a list: those places among the labels
    num_classes: int | None = None  # null: the labels that occur in train; a number K: 0 ... K - 1
    per_class: int | None = None
    seed: int = 0  # draws the samples of each class
    batch_size: int | None = 128  # null: all at once
    num_workers: int = 0
    memory: bool | None = None  # null: TensorDatasets are held in memory
    imbalance: float | None = None
    minority: float = 0.5
    label_noise: float = 0.0

    @property
    def known_classes(self) -> int | None:
        """As of every set, and `num_classes` where all are taken."""
        return self.num_classes if self.classes is None else super().known_classes

    def __post_init__(self) -> None:
        self._at_least(num_classes=2, per_class=1, seed=0, batch_size=1, num_workers=0)
        check_unequal(self.imbalance, self.minority, self.label_noise)
        check_classes(self.classes)
        for key in ("train", "test", "evaluation"):
            made = getattr(self, key)
            named = made is None or isinstance(made.get("_target_"), str)
            rule = "a Dataset is needed, as in {_target_: torchvision.datasets.ImageFolder, root: DIR}"
            require(named, f"dataset.{key}", made, rule)


@dataclass(frozen=True)
class OtherDataset(Dataset):
    """A class of the user's own, a torch Dataset or a LightningDataModule: every key is an argument of it."""

    KIND: ClassVar[str] = "other"


DATASETS = (DigitImages, Images, Labels, Mixture, RandomPoints, TorchDatasets, OtherDataset)
