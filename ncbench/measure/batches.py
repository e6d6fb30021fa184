"""From a batch of any loader to a call of the network, and from its outputs to logits.

    (inputs, labels, ...)      a tuple or list: its first two entries, the rest is not used
    {"labels": ..., ...}       a mapping: the labels under one of the names below, the rest are the inputs

Inputs that are a tuple or list are positional arguments; a mapping of several entries keyword arguments, of one
entry that entry. A function `unpack(batch) -> (inputs, labels)` takes the place of these rules for other batches.
Inputs are moved to the network's device as Lightning moves them, those that have a method `to` by it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.measure.hooks import first_tensor
from ncbench.measure.layers import unwrap

__all__ = ["LABELS", "Batches", "Unpack", "call", "check_callable", "first_samples", "labelled", "logits", "unpacked"]

LABELS = ("labels", "label", "targets", "target", "y")

# What torch says of tensors that do not go together.
_ELSEWHERE = re.compile(
    r"dtype|scalar type|same device|(input|weight|bias) type|is on cpu|different types", re.IGNORECASE
)

Unpack = Callable[[Any], tuple[Any, Any]]
Batches = Iterator[tuple[Any, Tensor]]


def unpacked(
    loader: Iterable[Any], model: nn.Module, unpack: Unpack | None = None, skip: Callable[[Tensor], bool] | None = None
) -> Batches:
    """(inputs, labels (N,)) of every batch on the model's device, floating inputs in the dtype of its parameters.

    `skip(labels)` is asked before anything is moved. Raises ValueError as `labelled`.
    """
    device, dtype = _place(model)
    for inputs, labels in labelled(loader, unpack):
        if skip is None or not skip(labels):
            yield _placed(inputs, device, dtype), _placed(labels.long(), device, None)


def labelled(loader: Iterable[Any], unpack: Unpack | None = None) -> Batches:
    """(inputs, labels (N,)) of every batch where they are.

    Raises ValueError for a batch the rules do not cover, or labels that are not one integer per sample.
    """
    for batch in loader:
        inputs, labels = (unpack or split)(batch)
        labels = torch.as_tensor(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(f"labels must be one integer per sample, not {labels.dtype} {tuple(labels.shape)}")
        yield inputs, labels


def split(batch: Any) -> tuple[Any, Any]:
    """Inputs and labels of a batch by the rules above."""
    if isinstance(batch, Mapping):
        key = next((name for name in LABELS if name in batch), None)
        if key is None:
            raise ValueError(
                f"a batch that is a mapping must have its labels under one of {', '.join(LABELS)}, and this one has "
                f"the keys {list(batch)}; give unpack for batches of another form"
            )
        rest = {name: value for name, value in batch.items() if name != key}
        return (next(iter(rest.values())) if len(rest) == 1 else rest), batch[key]
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[0], batch[1]
    raise ValueError(
        f"a batch must be (inputs, labels, ...) or a mapping, and this one is of type {type(batch).__name__}; give "
        "unpack for batches of another form"
    )


def check_callable(model: nn.Module) -> None:
    """ValueError of one line for a module without a method `forward`, such as a LightningModule of steps alone."""
    network = unwrap(model)
    owner = next(kind for kind in type(network).__mro__ if "forward" in vars(kind))
    if "forward" in vars(network) or (owner is not nn.Module and owner.__name__ != "LightningModule"):
        return
    inside = [name for name, child in network.named_children() if next(child.parameters(), None) is not None]
    raise ValueError(
        f"module={type(network).__name__}: has no method forward, so it cannot be measured itself; give the network "
        f'inside it ({", ".join(inside) or "it has none"}), MeasureCollapse(..., module="{(inside or ["net"])[0]}")'
    )


def call(model: nn.Module, inputs: Any) -> Any:
    """The network's outputs for the inputs of one batch.

    Raises ValueError where the tensors inside an object, which only it can reach, are of another dtype or device.
    """
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, (tuple, list)):
            return model(*inputs)
        return model(inputs)
    except RuntimeError as error:
        kind = _object_in(inputs)
        if kind is None or not _ELSEWHERE.search(str(error)):
            raise
        device, dtype = _place(model)
        has_method = callable(getattr(kind, "to", None))
        moved = "moved by its own method to(device)" if has_method else "not moved, as it has no method to(device)"
        raise ValueError(
            f"inputs: a {kind.__name__} is {moved}, and its tensors have to be of the network's dtype {dtype} and on "
            f"{device}; have unpack give it so"
        ) from error


def logits(outputs: Any, samples: int, num_classes: int) -> Tensor | None:
    """The logits (..., N, K) among the outputs: the entry `logits` of a mapping, or the first tensor.

    None where that is not (N, K), or (R, N, K): the network's accuracy is not defined then.
    """
    named = outputs.get("logits") if isinstance(outputs, Mapping) else None
    x = first_tensor(outputs) if named is None else named
    fits = isinstance(x, Tensor) and x.ndim in (2, 3) and x.shape[-2:] == (samples, num_classes)
    return x if fits else None


def _place(model: nn.Module) -> tuple[torch.device | None, torch.dtype | None]:
    """Where the parameters (or buffers) live, and their first floating dtype."""
    tensors = [*model.parameters(), *model.buffers()]
    dtype = next((x.dtype for x in tensors if x.is_floating_point()), None)
    return (tensors[0].device if tensors else None), dtype


def _placed(value: Any, device: torch.device | None, dtype: torch.dtype | None) -> Any:
    """A copy of the value on the device, as Lightning moves a batch; floating tensors also in this dtype.

    An object with a method `to` of its own knows what it holds, and may be the very same.
    """

    def placed(inner: Any) -> Any:
        return _placed(inner, device, dtype)

    if isinstance(value, Tensor):
        moved = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        # A network may change its inputs in place (`x.sub_(mean)`, a first ReLU), and they may be the user's data.
        return moved.clone() if moved is value else moved
    if isinstance(value, Mapping):
        return {name: placed(inner) for name, inner in value.items()}
    if callable(getattr(value, "to", None)):  # a graph, a packed sequence: it knows what it holds
        moved = value if device is None else value.to(device)
        return value if moved is None else moved
    return _rebuilt(value, placed)


def first_samples(value: Any, samples: int, of: int) -> Any:
    """The first `samples` of the `of` samples of inputs, in every tensor whose first axis has so many entries."""
    if isinstance(value, Tensor):
        return value[:samples] if value.ndim and len(value) == of else value
    if isinstance(value, Mapping):
        return {name: first_samples(inner, samples, of) for name, inner in value.items()}
    return _rebuilt(value, lambda inner: first_samples(inner, samples, of))


def _object_in(value: Any) -> type | None:
    """The class of an object in inputs whose tensors cannot be reached from outside; None where there is none."""
    if isinstance(value, Tensor | str | bytes | int | float | None):
        return None
    if isinstance(value, Mapping):
        inside: list[Any] = list(value.values())
    elif isinstance(value, (tuple, list)) and not callable(getattr(value, "to", None)):
        inside = list(value)
    elif is_dataclass(value) and not callable(getattr(value, "to", None)):
        inside = [getattr(value, part.name) for part in fields(value)]
    else:
        return type(value)
    return next((kind for kind in map(_object_in, inside) if kind is not None), None)


def _rebuilt(value: Any, function: Callable[[Any], Any]) -> Any:
    """A tuple, list or dataclass with the function's value of each of its parts; anything else as it is."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(function, value))
    if isinstance(value, (tuple, list)):
        return [function(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        rebuilt = copy(value)
        for part in fields(value):
            object.__setattr__(rebuilt, part.name, function(getattr(value, part.name)))
        return rebuilt
    return value
