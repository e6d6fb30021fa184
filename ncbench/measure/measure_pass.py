"""One pass over each split gives the moments of every tapped layer, and from them come all measures.

A second pass is made only for measures that declare it (see `second`). What is measured, and by which names, is the
list in `measures`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from ncbench.measure.batches import Unpack, unpacked
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.evaluation_mode import evaluation, one_network, reestimated
from ncbench.measure.first_pass import FirstPass, Objective
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.measures import (
    ON_REQUEST,
    MatrixMeasure,
    Measurement,
    MomentMeasure,
    check_names,
    of_dtype,
    of_features,
    of_weight,
    stack,
)
from ncbench.measure.reductions import Reduction
from ncbench.measure.second_pass import SECOND_PASSES

__all__ = ["Measurement", "Objective", "measure_once"]

BatchNorm = Literal["eval", "reestimate"]


def measure_once(
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
    measures: Sequence[str] = (),
    batch_norm: BatchNorm = "eval",
    unpack: Unpack | None = None,
    distributed: bool = False,
    sharded: bool = False,
    threads: int = 1,
) -> Measurement:
    """Measure `model` on every split of `loaders` ({"train": batches of (inputs, labels), ...}), in evaluation mode.

    The first split's class means also give the spectra and Gram matrices. Training is not affected: every random
    generator, every module's mode and the statistics of batch normalisation are as before. A measure that fails is
    NaN and says so once in the log.

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
        measures: names of measures on request, see `measures`.
        batch_norm: "eval" takes the running statistics as they are, "reestimate" those of the first split.
        unpack: function from a batch to (inputs, labels), for batches of another form.
        distributed: called by all ranks of torch.distributed, which divide the samples; see `ranks`.
        sharded: the loaders give each rank its own samples already.
        threads: measure so many layers at once, for stacks of networks: LAPACK takes their matrices one by one.

    Raises:
        ValueError: an unknown layer, reduction or measure; a batch of unknown form; an output that is not one vector
            per sample; a loader that cannot be read twice where that is needed; samples seen twice or not at all.
    """
    check_names(measures)
    if batch_norm not in ("eval", "reestimate"):
        raise ValueError(f"batch_norm={batch_norm}: must be eval or reestimate")
    second = [name for name in measures if name in SECOND_PASSES]
    first = [name for name in measures if name in ON_REQUEST]
    extra = [] if objective is None or objective.feature_layer is None else [objective.feature_layer]
    _check_repeats(loaders, second, batch_norm)
    hooks = LayerHooks(model, [*layers, *extra], reduction=reduction, maps=True)
    asked = {layer.name for layer in LayerHooks(model, layers, reduction=reduction).layers} if extra else set()
    asked = asked or {layer.name for layer in hooks.layers}
    group, found = ProcessGroup(distributed), Measurement()
    with (
        evaluation(hooks.model),
        one_network(hooks.model, group),
        _statistics(hooks.model, loaders, batch_norm, unpack, group, sharded),
        _side_by_side(threads) as start,
    ):
        of_weights = [
            start(of_weight, stack(W, 2), layer, num_classes, matrices or {})
            for layer, W in hooks.weights().items()
            if layer in asked
        ]
        for position, (split, loader) in enumerate(loaders.items()):
            sums = FirstPass(hooks, asked, num_classes, objective, group)
            sums.run(loader, unpack, sharded)
            sums.summarise(found, split, full_objective=position == 0)
            of_layers = [
                start(
                    of_features,
                    of_layer,
                    (split, layer, stage),
                    of_moments={
                        **{name: of_dtype(name, sums.dtypes[layer, stage]) for name in first},
                        **(moments or {}),
                    },
                    of_matrices=matrices or {},
                    first_split=position == 0,
                    grams=grams,
                    means=means,
                )
                for (layer, stage), of_layer in sums.moments.items()
            ]
            for finish in of_layers:
                found.update(finish())
            if second:
                for (layer, stage), values in sums.again(loader, unpack, sharded, second).items():
                    found.values.update({(split, layer, stage, name): stack(x, 0) for name, x in values.items()})
        for finish in of_weights:
            found.update(finish())
    return found


@contextmanager
def _side_by_side(threads: int) -> Iterator[Callable[..., Callable[[], Measurement]]]:
    """start(measures, *args, **options) begins `measures(found, ...)` and returns what waits for it and gives `found`.

    On one thread nothing happens before the waiting.
    """

    def measured(measures: Callable[..., None], *args: Any, **options: Any) -> Measurement:
        found = Measurement()
        with torch.no_grad():  # every thread has its own mode
            measures(found, *args, **options)
        return found

    if threads == 1:
        yield lambda *args, **options: lambda: measured(*args, **options)
        return
    before = torch.get_num_threads()

    def start(*args: Any, **options: Any) -> Callable[[], Measurement]:
        future: Future[Measurement] = pool.submit(measured, *args, **options)
        return future.result

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield start
    finally:
        torch.set_num_threads(before)  # new threads of this process would start with the number set last


def _check_repeats(loaders: Mapping[str, Iterable[Any]], second: Sequence[str], batch_norm: BatchNorm) -> None:
    reasons = [f"measures={', '.join(second)}"] * bool(second) + ["batch_norm=reestimate"] * (batch_norm != "eval")
    for split, loader in loaders.items():
        if reasons and isinstance(loader, Iterator):
            raise ValueError(f"{reasons[0]}: needs another pass, but the loader of {split} can be read only once")


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
