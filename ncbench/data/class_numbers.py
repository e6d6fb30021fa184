"""Class numbers of the samples of a map-style Dataset: how they are read, and which class each of them is."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from ncbench.data.map_set import read
from ncbench.data.samples import input_of, label_of, split

__all__ = ["check_class_names", "class_indices", "label_values", "labels_of", "tensors_of"]

_LOOKED_AT = 32  # samples that are read, beside one of each class, to see whether `targets` are what the Dataset gives


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

    From its tensors, or from its `targets` where they are right (a few samples and one of each class are read to see),
    else by reading each.
    """
    tensors = tensors_of(dataset, name)
    if tensors is not None:
        return tensors[1]
    listed = _targets(dataset)
    if listed is not None and len(listed) == len(dataset):
        try:
            numbers = _numbers(listed, name)
            spread = torch.linspace(0, len(numbers) - 1, min(_LOOKED_AT, len(numbers))).long().tolist()
            looked_at = {*spread, *_first_of_each(numbers)}
            if all(int(numbers[i]) == _label(dataset, i, name) for i in looked_at):
                return numbers
        except ValueError:
            pass  # what they hold is no class number; what the samples have may be
    return torch.tensor([_label(dataset, i, name) for i in range(len(dataset))])


def label_values(dataset: Any, own: Tensor, num_classes: int | None, name: str) -> Tensor:
    """Which class number the class c has, (K,): 0..K-1 where K is given, else those that occur, ascending.

    Raises ValueError where K is given and a label is not among 0..K-1, for fewer than two classes, and where the second
    of a sample's three or more entries is its place in the Dataset, as in (input, index, label).
    """
    occurring: Tensor = torch.unique(own)
    if num_classes is None:
        if len(occurring) < 2:
            raise ValueError(f"{name}: every sample has the label {int(occurring[0])}; at least 2 classes are needed")
        if len(own) > 2 and torch.equal(own, torch.arange(len(own))) and (entries := len(read(dataset, 0, name))) > 2:
            raise ValueError(
                f"{name}: of the {entries} entries of a sample the second is its label, and here that is its place, 0 "
                f"to {len(own) - 1}; give (input, label, ...), or num_classes={len(own)} if each is a class of its own"
            )
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
    ours, theirs = (_class_names(dataset) for dataset in (train, other))
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and list(ours) != list(theirs):
        raise ValueError(f"{name}: has the classes {_first(theirs)}, and train has {_first(ours)}")


def _class_names(dataset: Any) -> Any:
    """The names of the classes, of a Subset those of what it is of; None where there are none."""
    return _class_names(dataset.dataset) if isinstance(dataset, Subset) else getattr(dataset, "classes", None)


def _first(names: Any) -> str:
    return ", ".join(map(str, names[:6])) + (", ..." if len(names) > 6 else "")


def _label(dataset: Any, position: int, name: str) -> int:
    where = f"{name}[{position}]"
    return label_of(split(read(dataset, position, name), where)[1], where)


def _first_of_each(numbers: Tensor) -> list[int]:
    """The first place of every number."""
    ordered, places = numbers.sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    return places[begins].tolist()


def _targets(dataset: Any) -> Any:
    if type(dataset) is Subset:
        listed = _targets(dataset.dataset)
        return None if listed is None else [listed[i] for i in dataset.indices]
    listed = getattr(dataset, "targets", None)
    return listed if isinstance(listed, Sized) else None


def _numbers(labels: Any, name: str) -> Tensor:
    if isinstance(labels, Tensor) and labels.dim() == 1 and not labels.is_floating_point() and not labels.is_complex():
        return labels.long()
    listed: Iterable[Any] = labels
    return torch.tensor(list(_each(listed, name)), dtype=torch.int64)


def _each(labels: Iterable[Any], name: str) -> Iterator[int]:
    for i, label in enumerate(labels):
        yield label_of(label, f"{name}[{i}]")
