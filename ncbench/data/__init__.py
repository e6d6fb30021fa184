"""Data: image sets drawn per class, their loaders, any torch Dataset or LightningDataModule, points, and labels alone.

Resolved on first use (PEP 562): importing this package imports nothing else, and the pure functions (order,
augmentation, selection) need torch only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncbench.data.base import RunData as RunData
    from ncbench.data.datamodule import ImageData as ImageData
    from ncbench.data.digits import Digits as Digits
    from ncbench.data.images import ImageSet as ImageSet
    from ncbench.data.images import select as select
    from ncbench.data.labels import BalancedLabels as BalancedLabels
    from ncbench.data.loader import EpochLoader as EpochLoader
    from ncbench.data.mixtures import GaussianMixture as GaussianMixture
    from ncbench.data.mixtures import RandomPoints as RandomPoints
    from ncbench.data.module_data import ModuleData as ModuleData
    from ncbench.data.order import augment as augment
    from ncbench.data.order import epoch_order as epoch_order
    from ncbench.data.points import PointSet as PointSet
    from ncbench.data.torch_data import TorchData as TorchData
    from ncbench.data.torchvision_sets import CIFAR10 as CIFAR10
    from ncbench.data.torchvision_sets import CIFAR100 as CIFAR100
    from ncbench.data.torchvision_sets import MNIST as MNIST
    from ncbench.data.torchvision_sets import FashionMNIST as FashionMNIST
    from ncbench.data.uneven import noisy_labels as noisy_labels

_HOME = {
    "BalancedLabels": "labels",
    "CIFAR10": "torchvision_sets",
    "CIFAR100": "torchvision_sets",
    "Digits": "digits",
    "EpochLoader": "loader",
    "FashionMNIST": "torchvision_sets",
    "GaussianMixture": "mixtures",
    "ImageData": "datamodule",
    "ImageSet": "images",
    "MNIST": "torchvision_sets",
    "ModuleData": "module_data",
    "PointSet": "points",
    "RandomPoints": "mixtures",
    "RunData": "base",
    "TorchData": "torch_data",
    "augment": "order",
    "epoch_order": "order",
    "noisy_labels": "uneven",
    "select": "images",
}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "BalancedLabels",
    "Digits",
    "EpochLoader",
    "FashionMNIST",
    "GaussianMixture",
    "ImageData",
    "ImageSet",
    "ModuleData",
    "PointSet",
    "RandomPoints",
    "RunData",
    "TorchData",
    "augment",
    "epoch_order",
    "noisy_labels",
    "select",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ncbench.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ncbench.data' has no attribute {name!r}")
