"""Outputs with as many positions as the batch has samples: which axis holds the samples is found by a smaller batch.

(N, T, D) with T = N can be read as (T, N, D) without an error, and the class means are then those of positions: numbers
that look right. So such a batch goes through the network once more, without its last sample.
"""

from typing import Any

from torch import Tensor

from ncbench.measure.batches import call, first_samples
from ncbench.measure.hooks import LayerHooks, first_tensor

__all__ = ["check_first_axis"]


def check_first_axis(hooks: LayerHooks, inputs: Any, samples: int) -> None:
    """ValueError of one line where a layer has the samples on another axis than the first; `hooks` are not open.

    Also where inputs (N, N, ...) go to a module with batch_first=False, which would take the second axis for the
    samples. A network that does not take a batch of another size is believed.
    """
    x = first_tensor(inputs)
    square = x is not None and x.ndim > 1 and x.shape[0] == x.shape[1] == samples
    last = [name for name, m in hooks.model.named_modules() if getattr(m, "batch_first", True) is False]
    if square and last:
        raise ValueError(
            f"inputs of {samples} samples and {samples} positions go to {last[0] or 'a network'} with "
            "batch_first=False, so which axis holds the samples cannot be told; choose another batch size"
        )
    wrong: list[str] = []

    def sink(layer: str, stage: str, output: Tensor) -> None:
        if output.shape[0] != samples - 1:
            wrong.append(f"layer {layer} ({stage})")

    if samples < 2:
        return
    with hooks.open(sink):
        try:
            call(hooks.model, first_samples(inputs, samples - 1, samples))
        except Exception:  # of a network that is made for one batch size
            return
    if wrong:
        raise ValueError(
            f"{wrong[0]} has as many positions as the batch has samples ({samples}), and with one sample less its "
            "first axis stays as long, so it does not hold the samples; give a function as its reduction"
        )
