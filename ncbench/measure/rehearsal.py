"""One batch of every split through the network, before anything is trained: what is wrong is the user's to mend."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor, nn

from ncbench.measure.batches import Unpack, call, unpacked
from ncbench.measure.evaluation_mode import evaluation
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.reductions import Reduction, check_output

__all__ = ["rehearse"]


def rehearse(
    model: nn.Module,
    loaders: Mapping[str, Iterable[Any]],
    layers: Sequence[str],
    *,
    reduction: Reduction | Mapping[str, Reduction],
    unpack: Unpack | None,
) -> None:
    """ValueError of one line for what `measure` would refuse of a first batch: layers, batches, labels, outputs."""
    hooks = LayerHooks(model, layers, reduction=reduction)
    samples = 0

    def sink(layer: str, stage: str, x: Tensor) -> None:
        check_output(layer, stage, x, samples, hooks.has_replica_axis)

    with evaluation(hooks.model), hooks.open(sink):
        for loader in loaders.values():
            for inputs, labels in islice(unpacked(loader, hooks.model, unpack), 1):
                samples = len(labels)
                call(hooks.model, inputs)
