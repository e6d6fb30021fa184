"""Activations from outside: functions that a network applies to the output of a layer that is measured before them."""

import re
from contextlib import ExitStack, suppress
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ncbench.measure.batches import call
from ncbench.measure.hooks import LayerHooks, first_tensor
from ncbench.measure.notices import Notices

__all__ = ["warn_of_activations"]

ACTIVATION = re.compile("relu6?|gelu|silu|mish|c?elu|selu|leaky_relu|tanh|sigmoid|softplus|hard(swish|tanh|sigmoid)")


def warn_of_activations(hooks: LayerHooks, inputs: Any, notices: Notices) -> None:
    """Warn, the first time, of each bare layer of `hooks` that an activation is applied to in a pass of `inputs`.

    It is a pass of its own, and nothing of it is kept: while torch functions are watched, torch leaves its fast paths
    (`nn.TransformerEncoder` has one), so that the outputs may be others than the network's own. A network that does not
    take the same inputs twice, as one that changes them, is not looked at.
    """
    bare = {layer.name: layer.weighted for layer in hooks.layers if layer.output is None and layer.weighted is not None}
    unwatched = {name: module for name, module in bare.items() if notices.first_time("activation", name)}
    if not unwatched:
        return
    watched: dict[int, tuple[str, Tensor]] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def see(_: nn.Module, __: Any, output: Any) -> None:
            x = first_tensor(output)
            if x is not None:
                watched[id(x)] = (name, x)  # the tensor is kept alive, so that its id stays its own

        return module.register_forward_hook(see)

    with ExitStack() as handles:
        for name, module in unwatched.items():
            handles.callback(watch(name, module).remove)
        with _ActivationWatch(watched, notices), suppress(Exception):
            call(hooks.model, inputs)


class _ActivationWatch(TorchFunctionMode):
    """Sees every torch function that is applied to a watched output while it is on."""

    def __init__(self, watched: dict[int, tuple[str, Tensor]], notices: Notices) -> None:
        super().__init__()
        self.watched, self.notices = watched, notices

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        layer, _ = self.watched.get(id(args[0]), (None, None)) if args else (None, None)
        if layer is not None and ACTIVATION.fullmatch(name):
            self.notices.warn(
                "outside activation",
                layer,
                "layer %s: %s is applied to its output from outside, so only stage pre is measured "
                "(name a module that contains both to have stage post)",
                layer,
                name,
            )
        return func(*args, **(kwargs or {}))
