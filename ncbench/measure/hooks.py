"""Outputs of named layers of any module, before and after their activation.

A layer is named as in `named_modules()`, or by a glob over those names (see `layers`). Its stages:

    pre     the output of its one weight module (a module that owns a `weight` with at least two axes) ...
    post    the output of the layer itself, where that is not the same tensor,
    weight  the matrix of that weight module.

A layer that holds several weight modules (a block, a backbone) has only its output, stage post; a bare linear or
convolution only its own, stage pre. `NAME.input` (see `layers`) has stage post only: what the module NAME is called
with, its first tensor, after every activation, pooling or flattening on the way. An activation that is a function and
not a module (F.relu(self.fc1(x))) belongs to no layer: `fc1` has stage pre only, and the log says so.

A layer that is called more than once in one forward pass is `layer` at its first call, then `layer@2`, `layer@3`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncbench.measure.layers import is_made_when_called, list_layers, resolve, unwrap, weight_matrix
from ncbench.measure.measurable import check_measurable
from ncbench.measure.reductions import Reduction, choose, reducer

__all__ = ["LayerHooks", "list_layers"]

COMPLEX = "is complex, and the measures are of real numbers; measure other layers"
Sink = Callable[[str, str, Tensor], None]


class LayerHooks:
    """A context in which every forward pass of `model` hands the outputs of its layers to `sink(layer, stage, x)`.

    The sink is called inside the forward pass, before any later module can change the tensor in place. x is (N, D),
    or (R, N, D) where the model declares `replicas` (an int); `reduction` (see `reductions`; a name, a function, or a
    mapping from globs over layer names to them) makes one vector per sample of anything longer. Of an output that is
    a tuple, list or mapping the first tensor is taken. With `maps` what would be flattened is handed over as it is.

    `called` are the layers and stages whose module a forward pass has called, `square` says whether an output had as
    many entries on its second axis as on its first: then its shape does not tell which of them holds the samples.

    Raises ValueError for a layer that the model does not have, an unknown reduction, and as `check_measurable`.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        reduction: Reduction | Mapping[str, Reduction] = "flatten",
        maps: bool = False,
    ) -> None:
        self.model = unwrap(model)
        self.layers = resolve(model, layers)
        check_measurable(self.model, self.layers)
        self.has_replica_axis = isinstance(getattr(self.model, "replicas", None), int)
        self._reduce = {
            layer.name: reducer(
                choose(reduction, layer.name), layer.module, layer.name, maps, of_input=layer.receiver is not None
            )
            for layer in self.layers
        }
        self.called: set[tuple[str, str]] = set()
        self.square = False
        self._calls: Counter[tuple[str, str]] = Counter()
        self._handles: list[RemovableHandle] = []

    def weights(self) -> dict[str, Tensor]:
        """The weight of every layer that has one, as matrices (..., d_out, d_in); see `layers.weight_matrix`."""
        owners = {layer.name: layer.weighted for layer in self.layers if layer.weighted is not None}
        weights = {name: weight_matrix(owner, self.has_replica_axis) for name, owner in owners.items()}
        if found := next((name for name, W in weights.items() if W.is_complex()), None):
            raise ValueError(f"the weight of layer {found} {COMPLEX}")
        return weights

    def made_in_the_forward_pass(self) -> set[str]:
        """The layers whose weight a forward pass computes anew and keeps; see `layers.is_made_when_called`."""
        owners = {layer.name: layer.weighted for layer in self.layers if layer.weighted is not None}
        return {name for name, owner in owners.items() if is_made_when_called(owner)}

    def open(self, sink: Sink) -> "LayerHooks":
        """Register the hooks; use as `with hooks.open(sink): ...`."""
        self._handles.append(self.model.register_forward_pre_hook(lambda *_: self._calls.clear()))
        users = {(id(layer.weighted), id(layer.output)) for layer in self.layers if layer.output is not None}
        sharing = Counter(weighted for weighted, _ in users)  # layers that hold the module, by its id
        for layer in self.layers:
            before: list[tuple[Tensor, int | Tensor]] = []
            if layer.weighted is not None:
                shared = layer.output is not None and sharing[id(layer.weighted)] > 1
                within = self._count_calls_under_way(layer.output) if shared and layer.output is not None else None
                self._hook(layer.weighted, layer.name, "pre", sink, before, within)
            if layer.output is not None:
                self._hook(layer.output, layer.name, "post", sink, before)
            if layer.receiver is not None:
                self._hook_input(layer.receiver, layer.name, sink)
        return self

    def _hook(
        self,
        module: nn.Module,
        name: str,
        stage: str,
        sink: Sink,
        before: list[tuple[Tensor, int | Tensor]],
        within: list[None] | None = None,
    ) -> None:
        def hand_over(_: nn.Module, __: Any, output: Any) -> None:
            if within is not None and not within:  # the call of another layer that shares the module
                return
            self.called.add((name, stage))
            x = first_tensor(output)
            if x is None:
                raise ValueError(
                    f"the output of layer {name} ({stage}) is of type {type(output).__name__} that holds no tensor"
                )
            if x.is_nested and x.layout is torch.strided:
                raise ValueError(
                    f"the output of layer {name} ({stage}) is a nested tensor, as torch makes of padded sequences in "
                    "evaluation mode; measure a layer behind the encoder, or make it with enable_nested_tensor=False"
                )
            if stage == "pre":
                before[:] = [(x, _state(x))]
            elif before:
                y, state = before.pop()
                if y is x and _is_in(x, state):  # no activation, not even in place: the same output
                    return
            self._hand_over(name, stage, x, sink)

        self._handles.append(module.register_forward_hook(hand_over))

    def _count_calls_under_way(self, module: nn.Module) -> list[None]:
        """A list that has an entry for each call of the module that has begun and not ended."""
        calls: list[None] = []

        def ended(*_: Any) -> None:
            calls.pop()

        self._handles.append(module.register_forward_pre_hook(lambda *_: calls.append(None)))
        self._handles.append(module.register_forward_hook(ended, always_call=True))
        return calls

    def _hook_input(self, module: nn.Module, name: str, sink: Sink) -> None:
        def hand_over(_: nn.Module, args: Any, kwargs: Any) -> None:
            self.called.add((name, "post"))
            x = first_tensor([args, kwargs])
            if x is None:
                raise ValueError(f"layer {name}: its module is called without a tensor, so it has no input to measure")
            self._hand_over(name, "post", x, sink)

        self._handles.append(module.register_forward_pre_hook(hand_over, with_kwargs=True))

    def _hand_over(self, name: str, stage: str, x: Tensor, sink: Sink) -> None:
        self._calls[name, stage] += 1
        call = self._calls[name, stage]
        self.square |= not self.has_replica_axis and x.ndim > 2 and x.shape[0] == x.shape[1]
        with ExitStack() as contexts:
            if x.is_inference():  # what a layer in inference mode gives cannot be used outside of that mode
                contexts.enter_context(torch.inference_mode(False))
                contexts.enter_context(torch.no_grad())
                x = x.clone()
            x = x if self.has_replica_axis else self._reduce[name](x)
            if x.is_complex():
                raise ValueError(
                    f"the output of layer {name} ({stage}) {COMPLEX}, or give a reduction that makes it real"
                )
            sink(name if call == 1 else f"{name}@{call}", stage, x)

    def __enter__(self) -> "LayerHooks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._calls.clear()


def _state(x: Tensor) -> int | Tensor:
    """What tells whether x is changed in place later: torch's count of changes, which inference mode does not keep."""
    return x.clone() if x.is_inference() else x._version


def _is_in(x: Tensor, state: int | Tensor) -> bool:
    return torch.equal(x, state) if isinstance(state, Tensor) else x._version == state


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor of a nested output: tuples and lists in order, mappings by their values."""
    if isinstance(value, Tensor):
        return value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return next((x for x in map(first_tensor, inner) if x is not None), None)


def logits_of(output: Any) -> Tensor | None:
    """What a classifying network gives: `logits` of a mapping that has them, else the first tensor."""
    named = output.get("logits") if isinstance(output, Mapping) else None
    return first_tensor(output if named is None else named)
