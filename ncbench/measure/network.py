"""`measure_network`: the measures of a network as it is, in plain PyTorch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ncbench.measure.batches import Unpack, check_callable
from ncbench.measure.measure_pass import BatchNorm, measure
from ncbench.measure.measures import MatrixMeasure, Measurement, MomentMeasure
from ncbench.measure.reductions import Reduction

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["infer_num_classes", "measure_network", "rows", "table"]


def measure_network(
    model: nn.Module,
    loader: Iterable[Any] | Mapping[str, Iterable[Any]],
    *,
    layers: Sequence[str],
    num_classes: int | None = None,
    reduction: Reduction | Mapping[str, Reduction] = "flatten",
    measures: str | Sequence[str] = (),
    moments: Mapping[str, MomentMeasure] | None = None,
    matrices: Mapping[str, MatrixMeasure] | None = None,
    batch_norm: BatchNorm = "eval",
    unpack: Unpack | None = None,
    distributed: bool = False,
    sharded: bool = False,
) -> "pd.DataFrame":
    """The measures of a network as it is, one row per value.

    Args:
        model: any module, in any mode, compiled or wrapped or not; it is left as it was.
        loader: batches (inputs, labels), mappings, or what `unpack` understands, on any device; or a mapping of
            splits {"train": ..., "test": ...}, the first of which gives the singular values. Without augmentation,
            and every sample once: class means are averages.
        layers: names as `list_layers(model)` gives them, or globs over them: ["layer4", "fc", "blocks.*"]; with
            `.input` what a module is called with: "fc.input" are the features that the classifier fc gets.
        num_classes: K. None takes it from the loader's dataset (`classes` or `targets`).
        reduction: "flatten", "mean", "cls", a function, or {glob: one of these}; see `ncbench.measure.reductions`.
        measures: measures on request, ["cdnv", "nc1"], or "nc" for NC1 to NC4; the list is in
            `ncbench.measure.names`.
        moments, matrices: your own, {"name": function}.
        batch_norm: "eval", or "reestimate" for statistics estimated anew from the first split.
        distributed, sharded: see `ncbench.measure.distributed`; by default every process measures everything itself.

    Returns:
        DataFrame with columns replica, split, layer, stage, measure, value, index. Singular values are rows too
        (measure `singular_value`, counted by `index`); accuracy has layer ''. NaN where a measure is undefined, with
        the reason in the log; so an empty class makes its layer's values NaN.

    Raises:
        ValueError: as `measure`, and for labels outside [0, K) and a K that cannot be inferred.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> loader = [(torch.randn(20, 4), torch.arange(20) % 2)]
        >>> values = measure_network(net, loader, layers=["1", "2"], num_classes=2)
        >>> values[values.measure == "dnc1"][["layer", "stage"]].values.tolist()
        [['1', 'post'], ['2', 'pre']]
    """
    check_callable(model)
    loaders = loader if isinstance(loader, Mapping) else {"train": loader}
    K = infer_num_classes(loaders) if num_classes is None else num_classes
    if K < 2:
        raise ValueError(f"num_classes={K} must be at least 2")
    measurement = measure(
        model,
        loaders,
        layers=layers,
        num_classes=K,
        reduction=reduction,
        measures=measures,
        moments=moments,
        matrices=matrices,
        batch_norm=batch_norm,
        unpack=unpack,
        distributed=distributed,
        sharded=sharded,
    )
    return table(measurement, first_split=next(iter(loaders)))


def infer_num_classes(loaders: Mapping[str, Iterable[Any]]) -> int:
    """K from the first loader's dataset, its `classes` or its `targets`; ValueError where it has neither."""
    dataset = getattr(next(iter(loaders.values()), None), "dataset", None)
    classes = getattr(dataset, "classes", None)
    if classes is not None:
        return len(classes)
    targets = getattr(dataset, "targets", None)
    if targets is not None and len(targets):
        return int(torch.as_tensor(targets).max()) + 1
    raise ValueError("num_classes=None needs a loader whose dataset has classes or targets; give num_classes")


def rows(measurement: Measurement) -> list[dict[str, Any]]:
    """One row per value: replica, split, layer, stage, measure, value."""
    return [
        {"replica": r, "split": split, "layer": layer, "stage": stage, "measure": name, "value": value}
        for (split, layer, stage, name), replica_values in measurement.values.items()
        for r, value in enumerate(replica_values.tolist())
    ]


def table(measurement: Measurement, first_split: str) -> "pd.DataFrame":
    """The table of `measure_network`."""
    import pandas as pd

    listed = [{**row, "index": 0} for row in rows(measurement)]
    for (layer, stage), s in measurement.spectra.items():
        split = "" if stage == "weight" else first_split
        key = {"split": split, "layer": layer, "stage": stage, "measure": "singular_value"}
        listed += [
            {"replica": r, **key, "value": float(value), "index": i}
            for r, singular_values in enumerate(s)
            for i, value in enumerate(singular_values)
        ]
    return pd.DataFrame(listed)
