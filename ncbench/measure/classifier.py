"""The classifier, the linear map that gives an output for every class: which it is, and what NC2 and NC3 say of it.

Legend: W (..., K, d) the classifier's weight, w_c its rows; M (K, d) the class means of its input, K classes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ncbench import core
from ncbench.measure.hooks import first_tensor, logits_of
from ncbench.measure.layers import INPUT, Layer, list_layers, resolve, weight_matrix
from ncbench.measure.notices import Notices

__all__ = [
    "NC",
    "OF_ROWS",
    "SELF_DUALITY",
    "Calls",
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


class Calls:
    """Which modules of a network a forward pass calls with a tensor, in order: `with calls.watched(network): ...`.

    `names` are those of `list_layers`, one entry for every call; `last` are the modules whose output, the very tensor,
    is what the network gives.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.last: list[str] = []

    @contextmanager
    def watched(self, network: nn.Module) -> Iterator[None]:
        """Watch what is called inside; what was seen before is forgotten."""
        self.names, self.last = [], []
        given: dict[str, Tensor | None] = {}

        def of(name: str) -> Callable[..., None]:
            def called(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                if first_tensor([args, kwargs]) is not None:
                    self.names.append(name)
                    given[name] = first_tensor(output)  # kept, so that no later tensor is taken for it

            return called

        def finished(_: nn.Module, __: Any, output: Any) -> None:
            logits = logits_of(output)
            self.last = [name for name, x in given.items() if x is not None and x is logits]

        layers = resolve(network, list_layers(network))
        handles = [layer.module.register_forward_hook(of(layer.name), with_kwargs=True) for layer in layers]
        handles.append(network.register_forward_hook(finished))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            given.clear()


def find_classifier(model: nn.Module, num_classes: int, calls: Calls, asked: str | None = None) -> str:
    """The name of the classifier: of the linear layers with `num_classes` outputs that a forward pass calls.

    It is the one whose output the network gives; where none is, as behind a scale, the last that is called. `calls` has
    watched a forward pass. A layer that is `asked` for by its name may be any that holds one weight, of `num_classes`
    rows.

    Raises ValueError (one line) where there is none, with the linear layers that there are, and for one that is asked
    for and does not exist, has another number of outputs or is never called.
    """
    layers = {layer.name: layer for layer in resolve(model, list_layers(model))}
    if asked is not None:
        if asked not in layers:
            raise ValueError(f"classifier={asked}: the network has no such module")
        rows = _rows(layers[asked])
        if rows != num_classes:
            told = "it holds no weight of its own" if rows is None else f"it has {rows} outputs"
            raise ValueError(f"classifier={asked}: must have an output for each of the {num_classes} classes ({told})")
        if asked not in calls.names:
            raise ValueError(f"classifier={asked}: the forward pass never calls it, so what it gets cannot be seen")
        return asked
    bare = [layer for layer in layers.values() if isinstance(layer.weighted, nn.Linear) and layer.output is None]
    outputs = {layer.name: _rows(layer) for layer in bare}
    found = [name for name in calls.names if outputs.get(name) == num_classes]
    if found:
        return next((name for name in reversed(found) if name in calls.last), found[-1])
    others = [
        f"{name} has {rows}{'' if name in calls.names else ' and is not called'}" for name, rows in outputs.items()
    ]
    raise ValueError(
        f"classifier=None: the forward pass calls no linear layer with an output for each of the {num_classes} classes "
        f"({', '.join(others[-3:]) or 'it has no linear layer'})"
    )


def _rows(layer: Layer) -> int | None:
    """The outputs of the one weight that a layer holds; None where it holds none, or several."""
    return None if layer.weighted is None else weight_matrix(layer.weighted).shape[-2]


def has_class_rows(W: Tensor, num_classes: int) -> bool:
    """Whether a weight (..., d_out, d_in) has a row for every class."""
    return W.shape[-2] == num_classes


def inputs_of_classifiers(weights: Mapping[str, Tensor], num_classes: int) -> list[str]:
    """The layers NAME.input whose weight, of these by name, has a row for every class: NC3 compares the two."""
    return [name + INPUT for name, W in weights.items() if has_class_rows(W, num_classes)]


def self_duality(
    weights: Mapping[str, Tensor],
    moments: Mapping[tuple[str, str], core.ClassMoments],
    notices: Notices,
    num_classes: int,
    classes: Tensor | None = None,
) -> dict[tuple[str, str, str], Tensor]:
    """NC3, || W / ||W||_F - M / ||M||_F ||_F with centred M, of every weight whose input was measured, in float64.

    Under (layer, "weight", "self_duality"). Where `classes` are given, the moments are of those alone, and W is of its
    rows. W and M are (K, d), or (R, K, d) for networks with a replica axis.
    """
    values = {}
    for name, W in weights.items():
        of_input = moments.get((name + INPUT, "post"))
        if classes is not None and has_class_rows(W, num_classes):
            W = W.index_select(-2, classes.to(W.device))
        if of_input is None or W.shape[-2:] != of_input.means.shape[-2:]:
            continue
        try:
            distance = core.self_duality_distance(W.to(of_input.means.device), of_input.means)
        except Exception as error:  # a measure that fails is NaN, and the log has the reason
            notices.warn("measure", SELF_DUALITY, "the measure %s failed and is NaN: %s", SELF_DUALITY, error)
            distance = of_input.means.new_full(W.shape[:-2], torch.nan)
        values[name, "weight", SELF_DUALITY] = distance
    return values
