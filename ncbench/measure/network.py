"""`measure_network`: the measures of a network as it is, in plain PyTorch."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ncbench.measure.batches import Unpack, check_callable
from ncbench.measure.layers import unwrap
from ncbench.measure.measure_pass import BatchNorm, measure
from ncbench.measure.measures import MatrixMeasure, Measurement, MomentMeasure
from ncbench.measure.names import names_on_request
from ncbench.measure.own_training import device_of, network_values
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
    missing_classes: str = "nan",
    folder: str | os.PathLike[str] | None = None,
    step: int | None = None,
    epoch: float | None = None,
) -> "pd.DataFrame":
    """The measures of a network as it is, one row per value.

    Args:
        model: any module, in any mode, compiled or wrapped or not; it is left as it was.
        loader: batches (inputs, labels), mappings, or what `unpack` understands, on any device; or a mapping of
            splits {"train": ..., "test": ...}, the first of which gives the singular values. Without augmentation,
            and every sample once: class means are averages. What is seen is counted (see `ncbench.measure.coverage`):
            a sampler that repeats samples is refused, one that leaves some out is said in the log. A generator is read
            whole, once.
        layers: names as `list_layers(model)` gives them, or globs over them: ["layer4", "fc", "blocks.*"]; with
            `.input` what a module is called with: "fc.input" are the features that the classifier fc gets.
        num_classes: K. None takes it from the loader's dataset (`classes` or `targets`).
        reduction: "flatten", "mean", "cls", a function, or {glob: one of these}; see `ncbench.measure.reductions`.
        measures: measures on request, ["cdnv", "nc1"], or "nc" for NC1 to NC4; the list is in
            `ncbench.measure.names`.
        moments, matrices: your own, {"name": function}.
        batch_norm: "eval", or "reestimate" for statistics estimated anew from the first split.
        distributed, sharded: see `ncbench.measure.distributed`; by default every process measures everything itself.
        missing_classes: "nan", or "skip" for the measures of the classes that have samples.
        folder: write this measurement, with spectra, Gram matrices and class means, into a run folder (docs/runs.md)
            beside those that are there, for `python -m ncbench.report` and the figures. One of the same step is
            replaced.
        step, epoch: where in the training this is: gradient steps, epochs passed. Either stands for the other; without
            both it is step 0, which only a new folder takes.

    Returns:
        DataFrame with columns replica, split, layer, stage, measure, value, index. Singular values are rows too
        (measure `singular_value`, counted by `index`); accuracy has layer ''. NaN where a measure is undefined, with
        the reason in the log; so a class without samples makes every value NaN that needs all class means.

    Raises:
        ValueError: as `measure`, and for labels outside [0, K), a K that cannot be inferred, a folder that holds
            another run, and a second measurement in a folder without step or epoch.

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
    record, place = None, (0, 0.0)
    if folder is not None:
        from ncbench.measure.run_record import RunRecord  # with pyarrow, which only a folder needs

        values = network_values(unwrap(model), layers, K, names_on_request(measures))
        record = RunRecord(folder, values, recorded_by="measure_network", device=device_of(model))
        place = _place(step, epoch, folder, empty=record.is_empty)
        record.check(place[0], adding=True)
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
        grams=record is not None,
        means=record is not None,
        distributed=distributed,
        sharded=sharded,
        missing_classes=missing_classes,
    )
    if record is not None and (not distributed or torch.distributed.get_rank() == 0):
        record.add(*place, measurement)
    return table(measurement, first_split=next(iter(loaders)))


def _place(step: int | None, epoch: float | None, folder: object, empty: bool) -> tuple[int, float]:
    """Step and epoch of a measurement, either from the other; ValueError where neither is known."""
    if step is None and epoch is None:
        if not empty:
            raise ValueError(f"folder={folder}: holds measurements; say where this one belongs by step= or epoch=")
        return 0, 0.0
    for name, value in (("step", step), ("epoch", epoch)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name}={value} must be finite")
    if step is None:
        assert epoch is not None
        if epoch != int(epoch):
            raise ValueError(f"epoch={epoch} is no whole number, so it cannot stand for the step; give step= too")
        step = int(epoch)
    if step < 0 or step != int(step):
        raise ValueError(f"step={step} must be a whole number of at least 0")
    return int(step), float(step if epoch is None else epoch)


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
