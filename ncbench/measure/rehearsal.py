"""What a training would measure, tried before its first epoch: what is wrong is the user's to mend then.

One batch of every split goes through the network. The labels are looked at of every batch where that costs little (a
list, a TensorDataset, a data set of torchvision), of the first batch where samples are read from a DataLoader's
dataset, and else of a whole reading of the loader: one that cannot begin anew is found out by it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from ncbench.measure.batches import Unpack, call, labelled, unpacked
from ncbench.measure.coverage import (
    Coverage,
    check_range,
    check_same_classes,
    class_counts,
    ends_for_good,
    is_indexed,
    samples_expected,
)
from ncbench.measure.evaluation_mode import evaluation
from ncbench.measure.first_axis import check_first_axis
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.reductions import Reduction, check_output

__all__ = ["rehearse"]


def rehearse(
    model: nn.Module,
    loaders: Mapping[str, Iterable[Any]],
    layers: Sequence[str],
    *,
    num_classes: int,
    reduction: Reduction | Mapping[str, Reduction],
    unpack: Unpack | None,
    processes: int = 1,
    measured_next: bool = False,
) -> None:
    """ValueError of one line for what `measure` would refuse: layers, loaders, batches, labels, outputs.

    Where the network is `measured_next`, only what that measurement would not show is looked at: whether loaders that
    may not do so begin anew. One with the attribute `begins_anew` is believed, as those of `ncbench.data` are. Several
    `processes` divide a dataset among them and leave out no last batch.
    """
    hooks = LayerHooks(model, layers, reduction=reduction)
    with evaluation(hooks.model, loaders.values()):
        for split, loader in loaders.items():
            if ends_for_good(loader):
                raise ValueError(
                    f"dataloader: the {type(loader).__name__} of {split} can be read only once, and every measurement "
                    "reads it; give a list of its batches, or a DataLoader"
                )
            if is_indexed(loader) or getattr(loader, "begins_anew", False):
                if not measured_next:
                    _try_first_batch(hooks, loader, split, num_classes, unpack)
                    _check_dataset(loader, num_classes, unpack, processes)
            elif not measured_next:
                _try_first_batch(hooks, _read(loader, num_classes, unpack), split, num_classes, None)
            elif isinstance(loader, Iterator) or (isinstance(loader, DataLoader) and _is_shared(loader)):
                _read(loader, num_classes, unpack)


def _try_first_batch(
    hooks: LayerHooks, loader: Iterable[Any], split: str, num_classes: int, unpack: Unpack | None
) -> None:
    """One batch through the network; its labels and the shapes of its outputs are checked."""
    samples = 0

    def sink(layer: str, stage: str, x: Tensor) -> None:
        check_output(layer, stage, x, samples, hooks.has_replica_axis)

    for inputs, labels in unpacked(loader, hooks.model, unpack):
        samples = len(labels)
        with hooks.open(sink):
            call(hooks.model, inputs)
        if hooks.square:
            check_first_axis(hooks, inputs, samples)
        check_range(labels, num_classes)
        return
    raise ValueError(f"dataloader: that of {split} gives no batch")


def _read(loader: Iterable[Any], num_classes: int, unpack: Unpack | None) -> list[tuple[Any, Tensor]]:
    """The first batch, if there is one, of a loader that is read to its end; its labels are in range.

    One that gives the same iterator each time is read once more, and has to give the same number of each class.
    """
    first, counts = _counted(loader, num_classes, unpack)
    if _is_shared(loader):
        check_same_classes(counts, _counted(loader, num_classes, unpack)[1])
    return first


def _is_shared(loader: Iterable[Any]) -> bool:
    """Whether a loader, or the stream of a DataLoader, gives the same iterator each time."""
    source: Any = loader.dataset if isinstance(loader, DataLoader) else loader
    return isinstance(source, Iterator) or iter(source) is iter(source)


def _counted(loader: Iterable[Any], num_classes: int, unpack: Unpack | None) -> tuple[list[tuple[Any, Tensor]], Tensor]:
    """The first batch (none of an empty loader), and the samples of each class."""
    first, counts = list[tuple[Any, Tensor]](), torch.zeros(num_classes, dtype=torch.int64)
    for inputs, labels in labelled(loader, unpack):
        first = first or [(inputs, labels)]
        check_range(labels.long(), num_classes)
        counts += class_counts(labels.long(), num_classes).cpu()
    return first, counts


def _check_dataset(loader: Any, num_classes: int, unpack: Unpack | None, processes: int) -> None:
    """ValueError where a DataLoader would not give every sample once, or labels that it can be asked for are wrong."""
    if not is_indexed(loader):
        return
    in_full = samples_expected(loader) is not None
    complaint = None if in_full and processes > 1 else Coverage(loader).rehearse()
    if complaint is not None:
        raise ValueError(complaint)
    labels = _labels(loader.dataset)
    plain = unpack is None and loader.collate_fn is default_collate and in_full
    if plain and labels is not None and labels.ndim == 1 and not labels.is_floating_point():
        check_range(labels.long(), num_classes)


def _labels(dataset: Any) -> Tensor | None:
    """The labels of a dataset that has them in memory and gives them as they are; None of any other."""
    if type(dataset) is Subset:
        labels = _labels(dataset.dataset)
        return None if labels is None else labels[torch.as_tensor(list(dataset.indices), dtype=torch.int64)]
    if type(dataset) is TensorDataset:
        return dataset.tensors[1] if len(dataset.tensors) > 1 else None
    if hasattr(dataset, "targets") and getattr(dataset, "target_transform", dataset) is None:  # as torchvision has it
        return torch.as_tensor(dataset.targets)
    return None
