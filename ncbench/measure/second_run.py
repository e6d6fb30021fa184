"""The pass over a split for measures that look at samples in the light of the first pass's class means."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncbench.measure.batches import Unpack, call, logits, unpacked
from ncbench.measure.coverage import check_same_classes, class_counts
from ncbench.measure.distributed import Shard
from ncbench.measure.first_pass import FirstPass, Key
from ncbench.measure.second_pass import SECOND_PASSES, SecondPass
from ncbench.measure.value_or_nan import warn_of_nan

__all__ = ["run_second_pass"]


def run_second_pass(
    first_pass: FirstPass,
    loader: Iterable[Any],
    unpack: Unpack | None,
    sharded: bool,
    names: Sequence[str],
    first_split: FirstPass,
) -> dict[tuple[str, str, str], Tensor]:
    """Go through the split of `first_pass` again for these measures: their values by layer, stage and name.

    `first_split` is the pass over the first split, which may be this one. Without names nothing is done.

    Raises ValueError where the loader gives other numbers of samples per class than before.
    """
    if not names:
        return {}
    shard = Shard(loader, first_pass.group, sharded)
    passes: dict[Key, dict[str, SecondPass]] = {}
    for key, moments in first_pass.moments.items():
        passes[key] = {}
        for name in names:
            try:
                passes[key][name] = SECOND_PASSES[name](moments, first_split.moments[key])
            except Exception as error:
                warn_of_nan(name, error, first_pass.notices, " ".join(key))
    labels = torch.empty(0)
    every: list[Any] = [second_pass for of_layer in passes.values() for second_pass in of_layer.values()]
    listening = [second_pass for second_pass in every if hasattr(second_pass, "decided")]

    def sink(layer: str, stage: str, x: Tensor) -> None:
        for second_pass in passes.get((layer, stage), {}).values():
            second_pass.add(first_pass.vectors(x), labels)

    counts = torch.zeros_like(first_pass.class_counts)

    def add_batches() -> None:
        nonlocal labels, counts
        for inputs, batch_labels in unpacked(shard.loader, first_pass.hooks.model, unpack, shard.skip):
            counts = counts + class_counts(batch_labels, first_pass.num_classes).to(counts.device)
            labels = batch_labels if first_pass.position is None else first_pass.position[batch_labels]
            class_scores = logits(call(first_pass.hooks.model, inputs), len(labels), first_pass.num_classes)
            classes = None if class_scores is None else class_scores.argmax(-1)
            if classes is not None and first_split.position is not None:
                classes = first_split.position[classes]
            for second_pass in listening:
                second_pass.decided(classes, None if class_scores is None else ~class_scores.isnan().any(-1))

    with first_pass.hooks.open(sink):
        first_pass.group.together(add_batches)
    check_same_classes(first_pass.class_counts, first_pass.group.sums({"counts": counts})["counts"])
    for layer_passes in passes.values():
        for second_pass in layer_passes.values():
            second_pass.sums = first_pass.group.total(second_pass.sums)
    return {
        (*key, name): value
        for key, layer_passes in passes.items()
        for second_pass in layer_passes.values()
        for name, value in second_pass.values().items()
    }
