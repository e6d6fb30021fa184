"""Labels without images: the data of problems whose features are free parameters (H_1 itself is trained)."""

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["BalancedLabels"]


class BalancedLabels(pl.LightningDataModule):
    """K classes with n samples each; sample i has the input i (its column of H_1) and the label i // n.

    The same interface as the image sets, with one full batch: (indices (N,) int64, labels (N,) int64), N = K
    n. There is no test split (`test` is None) and no image shape. Raises ValueError for classes < 2 or
    per_class < 1.

    >>> indices, labels = next(iter(BalancedLabels(classes=2, per_class=2).train_dataloader()))
    >>> indices.tolist(), labels.tolist()
    ([0, 1, 2, 3], [0, 0, 1, 1])
    """

    test = None

    def __init__(self, *, classes: int, per_class: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes={classes} must be at least 2")
        if per_class < 1:
            raise ValueError(f"per_class={per_class} must be at least 1")
        self.num_classes = classes
        self.per_class = per_class
        self._device: torch.device | None = None

    @override
    def setup(self, stage: str | None = None, device: torch.device | str | None = None) -> None:
        if device is not None:
            self._device = torch.device(device)

    @property
    def labels(self) -> Tensor:
        """(N,) int64"""
        return torch.arange(self.num_classes).repeat_interleave(self.per_class)

    @override
    def train_dataloader(self) -> list[tuple[Tensor, Tensor]]:
        return self._full_batch(self.labels)

    def measure_loader(
        self, split: str = "train", batch_size: int | None = None, per_class: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """The full batch, or with `per_class` the first samples of each class; `batch_size` is ignored."""
        if split != "train":
            raise ValueError(f"split={split} must be train, as free features have no other samples")
        if per_class is not None and per_class < 1:
            raise ValueError(f"per_class={per_class} must be at least 1")
        labels = self.labels
        return self._full_batch(labels, min(per_class or self.per_class, self.per_class))

    def _full_batch(self, labels: Tensor, per_class: int | None = None) -> list[tuple[Tensor, Tensor]]:
        indices = torch.arange(len(labels)).view(self.num_classes, self.per_class)[:, :per_class].flatten()
        device = self._device
        if device is None:
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return [(indices.to(device), labels[indices].to(device))]
