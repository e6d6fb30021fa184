"""Samples of a map-style Dataset: which of them, in which order, and what the network is told about each."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset, TensorDataset

from ncbench.data.images import first_of_each
from ncbench.data.order import hash64
from ncbench.data.samples import check_finite, drawing, input_of, label_of, split

__all__ = [
    "MapSet",
    "check_class_names",
    "class_indices",
    "label_values",
    "labels_of",
    "map_style",
    "read",
    "tensors_of",
]

# Draws outside of any epoch: of the measuring passes, and of the first look at a Dataset.
TRANSFORM, NO_EPOCH = 7, -1
_LOOKED_AT = 8  # samples that are read to see whether `targets` are what the Dataset gives


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
                "must keep its label"
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


def tensors_of(dataset: Any, name: str) -> tuple[Tensor, Tensor] | None:
    """Inputs (n, ...) and class numbers (n,) of a Dataset that is tensors in memory (or a Subset of one), else None.

    ValueError for inputs without an axis beside that of the samples.
    """
    if type(dataset) is Subset:
        whole = tensors_of(dataset.dataset, name)
        index = torch.as_tensor(list(dataset.indices), dtype=torch.int64)
        return None if whole is None else (whole[0][index], whole[1][index])
    if type(dataset) is not TensorDataset or len(dataset.tensors) < 2:
        return None
    inputs, labels = dataset.tensors[:2]
    if inputs.dim() < 2:
        raise ValueError(f"{name}: the inputs must be (N, ...), one row for each sample, not {tuple(inputs.shape)}")
    return input_of(inputs, f"{name}[0]"), _numbers(labels, name)


def labels_of(dataset: Any, name: str) -> Tensor:
    """The class numbers (n,) int64 of all samples.

    From its tensors, or from its `targets` where they are right (a few samples are read to see), else by reading each.
    """
    tensors = tensors_of(dataset, name)
    if tensors is not None:
        return tensors[1]
    listed = _targets(dataset)
    if listed is not None and len(listed) == len(dataset):
        try:
            numbers = _numbers(listed, name)
            looked_at = torch.linspace(0, len(numbers) - 1, min(_LOOKED_AT, len(numbers))).long().tolist()
            if all(int(numbers[i]) == _label(dataset, i, name) for i in looked_at):
                return numbers
        except ValueError:
            pass  # what they hold is no class number; what the samples have may be
    return torch.tensor([_label(dataset, i, name) for i in range(len(dataset))])


def label_values(own: Tensor, num_classes: int | None, name: str) -> Tensor:
    """Which class number the class c has, (K,): 0..K-1 where K is given, else those that occur, ascending.

    Raises ValueError where K is given and a label is not among 0..K-1, and for fewer than two classes.
    """
    occurring: Tensor = torch.unique(own)
    if num_classes is None:
        if len(occurring) < 2:
            raise ValueError(f"{name}: every sample has the label {int(occurring[0])}; at least 2 classes are needed")
        return occurring
    if int(occurring[0]) < 0 or int(occurring[-1]) >= num_classes:
        raise ValueError(
            f"{name}: num_classes={num_classes} needs labels in 0..{num_classes - 1}, not in {int(occurring[0])}.."
            f"{int(occurring[-1])}"
        )
    missing = sorted(set(range(num_classes)) - set(occurring.tolist()))
    if missing:
        raise ValueError(f"{name}: num_classes={num_classes} needs a sample of every class, and {missing[0]} has none")
    return torch.arange(num_classes)


def class_indices(own: Tensor, values: Tensor, name: str) -> Tensor:
    """The class of each label, its place in `values` (ascending); ValueError where one has no place."""
    found = torch.searchsorted(values, own).clamp(max=len(values) - 1)
    wrong = torch.nonzero(values[found] != own).flatten()
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(f"{name}[{i}]: has the label {int(own[i])}, which no training sample has")
    return found


def check_class_names(train: Any, other: Any, name: str) -> None:
    """ValueError where both Datasets name their classes, as ImageFolder does, and not alike: a number would be two."""
    ours, theirs = (getattr(dataset, "classes", None) for dataset in (train, other))
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and list(ours) != list(theirs):
        raise ValueError(f"{name}: has the classes {_first(theirs)}, and train has {_first(ours)}")


def _first(names: Any) -> str:
    return ", ".join(map(str, names[:6])) + (", ..." if len(names) > 6 else "")


def _label(dataset: Any, position: int, name: str) -> int:
    where = f"{name}[{position}]"
    return label_of(split(read(dataset, position, name), where)[1], where)


def _targets(dataset: Any) -> Any:
    if type(dataset) is Subset:
        listed = _targets(dataset.dataset)
        return None if listed is None else [listed[i] for i in dataset.indices]
    return getattr(dataset, "targets", None)


def _numbers(labels: Any, name: str) -> Tensor:
    if isinstance(labels, Tensor) and labels.dim() == 1 and not labels.is_floating_point() and not labels.is_complex():
        return labels.long()
    listed: Iterable[Any] = labels
    return torch.tensor(list(_each(listed, name)), dtype=torch.int64)


def _each(labels: Iterable[Any], name: str) -> Iterator[int]:
    for i, label in enumerate(labels):
        yield label_of(label, f"{name}[{i}]")
