"""One pass over each split gives the moments of every layer asked for, and from them come all measures.

A second pass is made only for measures that declare it (see `second_pass`). What is measured, and by which names, is
the list in `measures`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ncbench.measure.batches import Unpack, unpacked
from ncbench.measure.classifier import SELF_DUALITY, inputs_of_classifiers, self_duality
from ncbench.measure.coverage import ends_for_good
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.evaluation_mode import evaluation, one_network, reestimated
from ncbench.measure.first_pass import FirstPass, Objective
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.measures import (
    ON_REQUEST,
    MatrixMeasure,
    Measurement,
    MomentMeasure,
    of_dtype,
    of_features,
    of_weight,
    with_replica_axis,
)
from ncbench.measure.missing_classes import check_missing_classes
from ncbench.measure.names import names_on_request
from ncbench.measure.notices import Notices
from ncbench.measure.reductions import Reduction
from ncbench.measure.second_pass import SECOND_PASSES
from ncbench.measure.second_run import run_second_pass

__all__ = ["Measurement", "Objective", "measure"]

BatchNorm = Literal["eval", "reestimate"]


def measure(
    model: nn.Module,
    loaders: Mapping[str, Iterable[Any]],
    *,
    layers: Sequence[str],
    num_classes: int,
    objective: Objective | None = None,
    moments: Mapping[str, MomentMeasure] | None = None,
    matrices: Mapping[str, MatrixMeasure] | None = None,
    grams: bool = False,
    means: bool = False,
    reduction: Reduction | Mapping[str, Reduction] = "flatten",
    measures: str | Sequence[str] = (),
    batch_norm: BatchNorm = "eval",
    unpack: Unpack | None = None,
    distributed: bool = False,
    sharded: bool = False,
    threads: int = 1,
    missing_classes: str = "nan",
    notices: Notices | None = None,
) -> Measurement:
    """Measure `model` on every split of `loaders` ({"train": batches of (inputs, labels), ...}), in evaluation mode.

    The first split's class means also give the spectra and Gram matrices. Training is not affected: every random
    generator, every module's mode and the statistics of batch normalisation are as before. A measure that fails is
    NaN, and the log has the reason.

    Args:
        model: any module; wrappers of torch.compile and DDP are looked through.
        loaders: batches as `batches` describes, on any device.
        layers: names or globs, see `layers` and `hooks`.
        num_classes: K; labels are 0 ... K - 1.
        objective: gives loss, fit and regulariser.
        moments, matrices: further measures by name, see `measures`.
        grams: keep the K x K Gram matrices of the class means.
        means: keep the K x d class means themselves, of layers with d <= 512.
        reduction: of longer outputs to one vector per sample, see `reductions`.
        measures: names of measures on request, or "nc" for NC1 to NC4, see `measures`.
        batch_norm: "eval" takes the running statistics as they are, "reestimate" those of the first split.
        unpack: function from a batch to (inputs, labels), for batches of another form.
        distributed: called by all processes of torch.distributed, which divide the samples; see `distributed`.
        sharded: the loaders give each process its own samples already.
        threads: measure so many layers at once, for ensembles: LAPACK takes their matrices one by one.
        missing_classes: "nan" makes the measures of a layer NaN where a class has no sample, "skip" leaves such classes
            out; see `missing_classes`.
        notices: the warnings given before, which are not repeated; a new set by default.

    Raises:
        ValueError: an unknown layer, reduction or measure; a batch of unknown form; an output that is not one vector
            per sample; a loader that cannot be read twice where that is needed; samples seen twice or not at all (a
            subset that a sampler chooses is a warning, see `coverage`); a network as `measurable` refuses.
    """
    names = names_on_request(measures)
    of_first_pass, of_second_pass = ([name for name in names if name in known] for known in (ON_REQUEST, SECOND_PASSES))
    _check_arguments(loaders, of_second_pass, batch_norm, missing_classes)
    notices, further = notices or Notices(), dict(moments or {})
    asked = _asked(model, layers, num_classes, names)
    hooks = _hooks(model, asked, objective, reduction)
    group, measurement = ProcessGroup(distributed), Measurement()
    first_split: FirstPass | None = None
    with (
        evaluation(hooks.model, loaders.values()),
        one_network(hooks.model, group),
        _statistics(hooks.model, loaders, batch_norm, unpack, group, sharded),
        _side_by_side(threads) as start,
    ):
        # Measured beside the batches, but after them where the forward pass sets the weight or has to find the classes.
        late = set(asked) if missing_classes == "skip" else hooks.made_in_the_forward_pass()
        of_weights = partial(start, of_weight, of_matrices=matrices or {}, asked=names, notices=notices)
        weights_pending = _of_weights(of_weights, hooks, set(asked) - late, num_classes)
        for position, (split, loader) in enumerate(loaders.items()):
            first_pass = FirstPass(hooks, set(asked), num_classes, objective, group, notices, missing_classes)
            first_pass.run(loader, unpack, sharded)
            measurement.class_counts[split] = first_pass.class_counts.cpu()
            first_pass.summarise(measurement, split, full_objective=position == 0)
            layers_pending = [
                start(
                    of_features,
                    layer_moments,
                    (split, layer, stage),
                    of_moments={n: of_dtype(n, first_pass.dtypes[layer, stage]) for n in of_first_pass} | further,
                    of_matrices=matrices or {},
                    first_split=position == 0,
                    grams=grams,
                    means=means,
                    notices=notices,
                )
                for (layer, stage), layer_moments in first_pass.moments.items()
            ]
            for finish in layers_pending:
                measurement.update(finish())
            if first_split is None:
                first_split = first_pass
                weights_pending += _of_weights(of_weights, hooks, late & set(asked), num_classes, first_pass.classes)
            values = _self_duality(first_pass) if first_pass is first_split and SELF_DUALITY in names else {}
            values |= run_second_pass(first_pass, loader, unpack, sharded, of_second_pass, first_split)
            measurement.values.update({(split, *key): with_replica_axis(x, 0) for key, x in values.items()})
        for finish in weights_pending:
            measurement.update(finish())
    return measurement


def _asked(model: nn.Module, layers: Sequence[str], num_classes: int, names: Sequence[str]) -> list[str]:
    """The layers by name; with NC3 also the inputs of those that may be classifiers, which it compares with weights."""
    asked = LayerHooks(model, layers)
    inputs = inputs_of_classifiers(asked.weights(), num_classes) if SELF_DUALITY in names else []
    return list(dict.fromkeys([*(layer.name for layer in asked.layers), *inputs]))


def _of_weights(
    start: Callable[..., Callable[[], Measurement]],
    hooks: LayerHooks,
    layers: Collection[str],
    num_classes: int,
    classes: Tensor | None = None,
) -> list[Callable[[], Measurement]]:
    """What waits for the measures of the weights of `layers`, begun by `start(weight, layer, num_classes)`."""
    weights = {layer: with_replica_axis(W, 2) for layer, W in hooks.weights().items() if layer in layers}
    return [start(W, layer, num_classes, classes=classes) for layer, W in weights.items()]


def _self_duality(of: FirstPass) -> dict[tuple[str, str, str], Tensor]:
    return self_duality(of.hooks.weights(), of.moments, of.notices, of.num_classes, of.classes)


def _hooks(
    model: nn.Module,
    layers: Sequence[str],
    objective: Objective | None,
    reduction: Reduction | Mapping[str, Reduction],
) -> LayerHooks:
    """The hooks of the layers, and of that whose output the objective penalises, even if it is not to be measured."""
    penalised = [] if objective is None or objective.feature_layer is None else [objective.feature_layer]
    return LayerHooks(model, [*layers, *penalised], reduction=reduction, maps=True)


@contextmanager
def _side_by_side(threads: int) -> Iterator[Callable[..., Callable[[], Measurement]]]:
    """start(fill, *args, **options) begins `fill(measurement, ...)` and returns what waits for it and its measurement.

    On one thread nothing happens before the waiting.
    """

    def filled(fill: Callable[..., None], *args: Any, **options: Any) -> Measurement:
        measurement = Measurement()
        with torch.no_grad():  # every thread has its own mode
            fill(measurement, *args, **options)
        return measurement

    if threads == 1:
        yield lambda *args, **options: lambda: filled(*args, **options)
        return
    before = torch.get_num_threads()

    def start(*args: Any, **options: Any) -> Callable[[], Measurement]:
        future: Future[Measurement] = pool.submit(filled, *args, **options)
        return future.result

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield start
    finally:
        torch.set_num_threads(before)  # new threads of this process would start with the number set last


def _check_arguments(
    loaders: Mapping[str, Iterable[Any]], of_second_pass: Sequence[str], batch_norm: BatchNorm, missing_classes: str
) -> None:
    """ValueError for an unknown batch_norm or missing_classes, and where a loader that ends would be read again."""
    if batch_norm not in ("eval", "reestimate"):
        raise ValueError(f"batch_norm={batch_norm} must be eval or reestimate")
    check_missing_classes(missing_classes)
    reasons = [f"measures={', '.join(of_second_pass)}"] * bool(of_second_pass)
    reasons += ["batch_norm=reestimate"] * (batch_norm != "eval")
    for split, loader in loaders.items():
        if reasons and ends_for_good(loader):
            raise ValueError(
                f"{reasons[0]} needs another pass over the data, but the loader of {split} is read only once"
            )


def _statistics(
    model: nn.Module,
    loaders: Mapping[str, Iterable[Any]],
    batch_norm: BatchNorm,
    unpack: Unpack | None,
    group: ProcessGroup,
    sharded: bool,
) -> AbstractContextManager[None]:
    if batch_norm == "eval" or not loaders:
        return nullcontext()
    shard = Shard(next(iter(loaders.values())), group, sharded)
    return reestimated(model, unpacked(shard.loader, model, unpack, shard.skip), group)
