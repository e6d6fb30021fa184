"""Outputs of named layers of any module, before and after their activation.

A layer is named as in `named_modules()`, or by a glob over those names. Its stages:

    pre     the output of its one weight module (a module that owns a `weight` with at least two axes) ...
    post    the output of the layer itself, where that is not the same tensor,
    weight  the matrix of that weight module.

A layer that holds several weight modules (a block, a backbone) has only its output, stage post; a bare linear or
convolution only its own, stage pre.
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["REDUCTIONS", "Layer", "Taps", "list_layers"]

Sink = Callable[[str, str, Tensor], None]

# A convolution's map (N, C, *space) or a token sequence (N, T, D) as one vector per sample.
REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "flatten": lambda x: x.flatten(1),
    "mean": lambda x: x.flatten(2).mean(-1) if x.ndim > 3 else x.mean(1),
    "cls": lambda x: x[:, 0],
}


@dataclass(frozen=True)
class Layer:
    """A named layer: the module whose output is `post` and the one whose output is `pre`, either may be None."""

    name: str
    output: nn.Module | None
    weighted: nn.Module | None


def list_layers(model: nn.Module) -> list[str]:
    """The names by which the layers of a module can be asked for, in the order of their registration."""
    return [name for name, _ in model.named_modules() if name]


def resolve(model: nn.Module, layers: Iterable[str]) -> list[Layer]:
    """The layers of those names or globs, in the order asked for; ValueError where one matches nothing."""
    modules = dict(model.named_modules())
    found: dict[str, Layer] = {}
    for pattern in layers:
        names = [pattern] if pattern in modules and pattern else fnmatch.filter(modules, pattern)
        names = [name for name in names if name]
        if not names:
            top = ", ".join(name for name in modules if name and name.count(".") <= 1)
            raise ValueError(f"measure.layers={pattern}: no such layer; the network has {top}")
        for name in names:
            found.setdefault(name, _layer(name, modules[name]))
    return list(found.values())


def _layer(name: str, module: nn.Module) -> Layer:
    weighted = [m for m in module.modules() if isinstance(W := getattr(m, "weight", None), Tensor) and W.ndim >= 2]
    if len(weighted) != 1:
        return Layer(name, module, None)
    return Layer(name, None if weighted[0] is module else module, weighted[0])


class Taps:
    """A context in which every forward pass of `model` hands the outputs of its layers to `sink(layer, stage, x)`.

    The sink is called inside the forward pass, before any later module can change the tensor in place. Outputs are
    (N, D), or (R, N, D) where the model declares `replicas`; anything longer is reduced to one vector per sample.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        reduction: str | Callable[[Tensor], Tensor] = "flatten",
    ) -> None:
        if isinstance(reduction, str) and reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction}: must be one of {', '.join(REDUCTIONS)}, or a function")
        self.layers = resolve(model, layers)
        self.stacked = getattr(model, "replicas", None) is not None
        self.reduce = REDUCTIONS[reduction] if isinstance(reduction, str) else reduction
        self._handles: list[RemovableHandle] = []

    def weights(self) -> dict[str, Tensor]:
        """The weight of every layer that has one, as matrices (..., d_out, d_in); kernels as d_out x (d_in * space)."""
        owners = {layer.name: layer.weighted for layer in self.layers if layer.weighted is not None}
        found: dict[str, Tensor] = {}
        for name, owner in owners.items():
            weight = owner.weight
            assert isinstance(weight, Tensor)
            found[name] = weight.detach() if self.stacked or weight.ndim == 2 else weight.detach().flatten(1)
        return found

    def open(self, sink: Sink) -> "Taps":
        """Register the hooks; use as `with taps.open(sink): ...`."""
        for layer in self.layers:
            before: list[tuple[Tensor, int]] = []
            if layer.weighted is not None:
                self._hook(layer.weighted, layer.name, "pre", sink, before)
            if layer.output is not None:
                self._hook(layer.output, layer.name, "post", sink, before)
        return self

    def _hook(self, module: nn.Module, name: str, stage: str, sink: Sink, before: list[tuple[Tensor, int]]) -> None:
        def hand_over(_: nn.Module, __: Any, output: Any) -> None:
            x = output[0] if isinstance(output, (tuple, list)) else output
            if stage == "pre":
                before[:] = [(x, x._version)]
            elif before:
                y, version = before.pop()
                if y is x and x._version == version:  # no activation, not even in place: the same output
                    return
            sink(name, stage, x if self.stacked or x.ndim <= 2 else self.reduce(x))

        self._handles.append(module.register_forward_hook(hand_over))

    def __enter__(self) -> "Taps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class evaluation:  # noqa: N801 - a context manager, used like torch.no_grad
    """The module in evaluation mode and without gradients; every submodule's own mode is restored afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._no_grad = torch.no_grad()

    def __enter__(self) -> None:
        self._modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        self._no_grad.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._no_grad.__exit__(*exception)
        for module, training in self._modes:
            module.training = training
