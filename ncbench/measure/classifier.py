"""The classifier, the last linear map with an output for every class: which it is, and what NC2 and NC3 say of it.

Legend: W (..., K, d) the classifier's weight, w_c its rows; M (K, d) the class means of its input, K classes.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ncbench import core
from ncbench.measure.layers import INPUT, list_layers, resolve, weight_matrix
from ncbench.measure.notices import Notices

__all__ = [
    "NC",
    "OF_ROWS",
    "SELF_DUALITY",
    "find_classifier",
    "has_class_rows",
    "inputs_of_classifiers",
    "self_duality",
]

SELF_DUALITY = "self_duality"
# Papyan, Han & Donoho (2020): NC1 Figure 6; NC2 Figures 2 and 4; NC3 Figure 5; NC4 Figure 7.
NC = ("nc1", "equinorm", "equiangularity", SELF_DUALITY, "ncc_mismatch")

# Of a weight with K rows. The rows are not centred, as in the paper (class means are) and in tding1/Neural-Collapse.
OF_ROWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "equinorm": partial(core.equinorm, centre=False),
    "equiangularity": partial(core.equiangularity, centre=False),
    "etf_error": partial(core.etf_error, centre=False),
}


def find_classifier(model: nn.Module, num_classes: int) -> str:
    """The name of the last linear layer, in the order of registration, with `num_classes` outputs.

    Raises ValueError where there is none, with the outputs of the linear layers that there are.
    """
    layers = [layer for layer in resolve(model, list_layers(model)) if isinstance(layer.weighted, nn.Linear)]
    bare = [layer for layer in layers if layer.output is None]
    outputs = {layer.name: weight_matrix(layer.weighted).shape[-2] for layer in bare if layer.weighted is not None}
    found = [name for name, rows in outputs.items() if rows == num_classes]
    if found:
        return found[-1]
    last = list(outputs.items())[-3:]
    told = ", ".join(f"{name} has {rows}" for name, rows in last) or "it has no linear layer"
    raise ValueError(
        f"classifier=None: no linear layer of the network has an output for each of the {num_classes} classes ({told})"
    )


def has_class_rows(W: Tensor, num_classes: int) -> bool:
    """Whether a weight (..., d_out, d_in) has a row for every class."""
    return W.shape[-2] == num_classes


def inputs_of_classifiers(weights: Mapping[str, Tensor], num_classes: int) -> list[str]:
    """The layers NAME.input whose weight, of these by name, has a row for every class: NC3 compares the two."""
    return [name + INPUT for name, W in weights.items() if has_class_rows(W, num_classes)]


def self_duality(
    weights: Mapping[str, Tensor], moments: Mapping[tuple[str, str], core.ClassMoments], notices: Notices
) -> dict[tuple[str, str, str], Tensor]:
    """NC3, || W / ||W||_F - M / ||M||_F ||_F with centred M, of every weight whose input was measured, in float64.

    Under (layer, "weight", "self_duality"). W and M are (K, d), or (R, K, d) for networks with a replica axis.
    """
    values = {}
    for name, W in weights.items():
        of_input = moments.get((name + INPUT, "post"))
        if of_input is None or W.shape[-2:] != of_input.means.shape[-2:]:
            continue
        try:
            distance = core.self_duality_distance(W.to(of_input.means.device), of_input.means)
        except Exception as error:  # a measure that fails is NaN, and the log has the reason
            notices.warn("measure", SELF_DUALITY, "the measure %s failed and is NaN: %s", SELF_DUALITY, error)
            distance = of_input.means.new_full(W.shape[:-2], torch.nan)
        values[name, "weight", SELF_DUALITY] = distance
    return values
