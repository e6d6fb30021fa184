"""Samples in memory as one tensor of floats, and their batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.images import first_of_each
from ncbench.data.passes import Batch, Passes, placed

__all__ = ["TensorLoader", "TensorSet"]


@dataclass(frozen=True, eq=False)
class TensorSet:
    """N samples: inputs (N, ...), labels (N,) int64 in 0..K-1.

    Raises ValueError for values that are not finite.
    """

    inputs: Tensor
    labels: Tensor
    num_classes: int

    def __post_init__(self) -> None:
        wrong = torch.nonzero(~self.inputs.isfinite().flatten(1).all(1)).flatten()
        if len(wrong):
            raise ValueError(f"inputs must be finite, and {len(wrong)} of {len(self)} samples are not")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""
        return self.inputs.dtype

    @property
    def counts(self) -> list[int]:
        """Samples of each class."""
        return torch.bincount(self.labels, minlength=self.num_classes).tolist()

    def head(self, per_class: int) -> "TensorSet":
        """At most the first `per_class` samples of each class, class by class."""
        index = first_of_each(self.labels, self.num_classes, per_class)
        return replace(self, inputs=self.inputs[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "TensorSet":
        """The same set with its tensors on `device`."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))


class TensorLoader(Passes):
    """Iterable over (x (B, ...), y) on the device of the set; x in `dtype`, or as the set holds it (None).

    Order and arguments as of `Passes`.
    """

    def __init__(
        self,
        data: TensorSet,
        batch_size: int | None,
        *,
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(data, batch_size, seed=seed, epoch=epoch, shuffle=shuffle, drop_last=drop_last)
        self.data, self.dtype = data, dtype

    @override
    def _batches(self, epoch: int) -> Iterator[Batch]:
        inputs, labels = self.data.inputs, self.data.labels
        order = self._order(epoch, inputs.device)
        for start, end in self._rows():
            if order is None:  # a copy: a model that writes into its input must not write into the set
                yield placed(inputs[start:end].clone(), self.dtype), labels[start:end]
            else:
                yield placed(inputs[order[start:end]], self.dtype), labels[order[start:end]]
