"""Samples of a map-style Dataset: which of them, in which order, and what the network is told about each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ncbench.data.draws import drawing
from ncbench.data.images import first_of_each
from ncbench.data.order import hash64
from ncbench.data.samples import check_finite, input_of, label_of, split

__all__ = [
    "MapSet",
    "map_style",
    "read",
]

# Draws outside of any epoch: of the measuring passes, and of the first look at a Dataset.
TRANSFORM, NO_EPOCH = 7, -1


@dataclass(frozen=True, eq=False)
class MapSet:
    """N samples of a Dataset: positions (N,) in it, labels (N,) int64 in 0..K-1 that the network is told.

    `own` (n,) are the class numbers that the Dataset gives, of ALL its samples; `input_shape` and `dtype` are those of
    every input. `collate` makes a batch of samples and is None for the usual stack; `name` is what errors call the
    Dataset.
    """

    dataset: Any
    positions: Tensor
    labels: Tensor
    own: Tensor
    num_classes: int
    input_shape: tuple[int, ...]
    dtype: torch.dtype
    name: str
    collate: Callable[[list[Any]], Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> list[int]:
        """Samples of each class."""
        return torch.bincount(self.labels, minlength=self.num_classes).tolist()

    def at(self, index: Tensor) -> "MapSet":
        """The samples at these places, in this order."""
        return replace(self, positions=self.positions[index], labels=self.labels[index])

    def head(self, per_class: int) -> "MapSet":
        """At most the first `per_class` samples of each class, class by class."""
        return self.at(first_of_each(self.labels, self.num_classes, per_class))

    def sample(self, place: int, word: int) -> Any:
        """The sample at a place of this set as the Dataset gives it; its random transforms draw what `word` seeds.

        Raises ValueError where its label is no longer that which was read before, and for values that are not finite.
        """
        position = int(self.positions[place])
        sample = read(self.dataset, position, self.name, word)
        if self.collate is None:
            x, label = split(sample, f"{self.name}[{position}]")
            self._check_label(label_of(label, f"{self.name}[{position}]"), position)
            x = input_of(x, f"{self.name}[{position}]")
            if tuple(x.shape) != self.input_shape:
                raise ValueError(
                    f"{self.name}[{position}]: has the shape {tuple(x.shape)}, and the first sample has "
                    f"{self.input_shape}; a transform such as torchvision.transforms.Resize makes them equal"
                )
            return check_finite(x, f"{self.name}[{position}]")
        return sample

    def batch(self, samples: list[Any], places: Tensor) -> Tensor:
        """The inputs (B, ...) of samples that `sample` gave; ValueError where `collate` moves or mixes labels."""
        if self.collate is None:
            return torch.stack(samples)
        inputs, labels = split(self.collate(samples), f"{self.name}: a batch")
        positions = self.positions[places]
        if len(labels) != len(positions):
            raise ValueError(f"{self.name}: collate_fn makes {len(labels)} labels of {len(positions)} samples")
        for position, label in zip(positions.tolist(), labels, strict=True):
            self._check_label(label_of(label, f"{self.name}[{position}]"), position)
        return check_finite(input_of(inputs, f"{self.name}: a batch"), f"{self.name}: a batch")

    def _check_label(self, label: int, position: int) -> None:
        before = int(self.own[position])
        if label != before:
            raise ValueError(
                f"{self.name}[{position}]: has the label {label}, and had {before} when the labels were read; a sample "
                "must keep its label, and `targets`, where the Dataset has them, must say it too"
            )


def map_style(dataset: Any, name: str) -> Any:
    """The Dataset itself; ValueError of one line where its samples cannot be asked for by their number."""
    has_items = hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset | Mapping | str)
    try:
        n = len(dataset) if has_items else -1
    except (TypeError, NotImplementedError):
        n = -1
    if n < 0:
        raise ValueError(
            f"{name}: {type(dataset).__name__} must be a map-style Dataset, with __getitem__ and __len__: its samples "
            "are read in another order in every epoch, and each once where it is measured"
        )
    if n == 0:
        raise ValueError(f"{name}: {type(dataset).__name__} has no sample")
    return dataset


def read(dataset: Any, position: int, name: str, word: int | None = None) -> Any:
    """A sample, its random transforms seeded; ValueError of one line for whatever the Dataset raises."""
    seed = int(hash64(TRANSFORM, NO_EPOCH, position)) if word is None else word
    try:
        with drawing(seed):
            return dataset[position]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}[{position}]: cannot be read ({type(error).__name__}: {reason})") from error
