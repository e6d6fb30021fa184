"""Which modules a layer's name stands for, whatever wraps the network.

A name is that of `named_modules()` without the parts that torch.compile, activation checkpointing, FSDP and
(Distributed)DataParallel insert: `_orig_mod.layer4` and `module.layer4` are both `layer4`, in what is asked
and in what is recorded. A glob stands for every name it matches, part by part: `*` stays between two dots, so that
`layer*` is not everything inside of `layer1` too, and `**` is any number of parts, also none. `NAME.input` is what the
module NAME is called with: `fc.input` are the features that a classifier `fc` gets, whatever made them, a module or a
function. Where the network has a module of that very name, it is the module.
"""

import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["INPUT", "Layer", "is_made_when_called", "list_layers", "resolve", "unwrap", "weight_matrix"]

INPUT = ".input"  # after a module's name: the tensor that it is called with
INSERTED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
PARALLEL = (DataParallel, DistributedDataParallel)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """A named layer: the module whose output is `post` and the one whose output is `pre`, either may be None.

    Of a layer NAME.input both are None, and `receiver` is the module whose input is `post`.
    """

    name: str
    output: nn.Module | None
    weighted: nn.Module | None
    receiver: nn.Module | None = None

    @property
    def stages(self) -> list[str]:
        """Those of `hooks` that its forward pass may have."""
        return ["pre"] * (self.weighted is not None) + ["post"] * (self.output is not None or self.receiver is not None)

    @property
    def module(self) -> nn.Module:
        """The module that has the layer's name, or gets what has it."""
        # A container without modules is false in Python.
        return next(module for module in (self.output, self.weighted, self.receiver) if module is not None)


def list_layers(model: nn.Module) -> list[str]:
    """The names by which the layers of a module can be asked for, in the order of their registration.

    >>> list_layers(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))
    ['0', '1', '1.0']
    """
    return list(_named(model))


def resolve(model: nn.Module, layers: Iterable[str]) -> list[Layer]:
    """The layers of those names or globs, in the order asked for; ValueError where one matches nothing."""
    modules = _named(model)
    layers_by_name: dict[str, Layer] = {}
    for asked in layers:
        # A name as it is recorded says what it says, also where it begins as those of a wrapper do.
        pattern = asked if asked.removesuffix(INPUT) in modules else _asked(model, asked)
        names = _matching(modules, pattern)
        receivers = [] if names or not pattern.endswith(INPUT) else _matching(modules, pattern.removesuffix(INPUT))
        if not names and not receivers:
            top = ", ".join(name for name in modules if name.count(".") <= 1)
            raise ValueError(f"layers={asked}: the network has no such layer; it has {top}")
        for name in names:
            layers_by_name.setdefault(name, _layer(name, modules[name]))
        for name in receivers:
            layers_by_name.setdefault(name + INPUT, Layer(name + INPUT, None, None, modules[name]))
    return list(layers_by_name.values())


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile and of (Distributed)DataParallel, or itself.

    The evaluation pass calls this one: DDP's own forward exchanges buffers, and waits for processes that
    have fewer batches.
    """
    while True:
        inner = model.module if isinstance(model, PARALLEL) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def weight_matrix(module: nn.Module, has_replica_axis: bool = False) -> Tensor:
    """The module's weight as matrices (..., d_out, d_in), detached.

    A convolution's kernel (out, in / groups, *k) becomes (out, in / groups * prod k), as `core.conv_matrix`; a
    transposed one (in, out / groups, *k) becomes (out / groups, in * prod k). With `has_replica_axis` the leading axis
    is that of the replicas and stays.
    """
    weight = _weight_as_it_is(module)
    assert isinstance(weight, Tensor)
    W = weight.detach()
    if has_replica_axis or W.ndim == 2:
        return W
    return (W.transpose(0, 1) if isinstance(module, TRANSPOSED) else W).flatten(1)


def is_made_when_called(module: nn.Module) -> bool:
    """Whether the module's weight is an attribute that a hook before its forward pass sets: it is that of the last one.

    So do `nn.utils.weight_norm`, `nn.utils.spectral_norm` and `nn.utils.prune`. A parametrised weight is computed
    whenever it is read.
    """
    return "weight" not in module._parameters and not is_parametrized(module, "weight")


def _matching(modules: Collection[str], pattern: str) -> list[str]:
    if pattern in modules:
        return [pattern]
    return [name for name in modules if _matches(name.split("."), pattern.split("."))]


def _matches(name: list[str], glob: list[str]) -> bool:
    if not glob:
        return not name
    if glob[0] == "**":
        return any(_matches(name[skipped:], glob[1:]) for skipped in range(len(name) + 1))
    return bool(name) and fnmatch.fnmatchcase(name[0], glob[0]) and _matches(name[1:], glob[1:])


def _named(model: nn.Module) -> dict[str, nn.Module]:
    # The wrapper and what it wraps have one name; the later one, the wrapped, stays.
    root = unwrap(model)
    named = ((_name_without_wrappers(root, raw), module) for raw, module in root.named_modules(remove_duplicate=False))
    return {name: module for name, module in named if name}


def _name_without_wrappers(root: nn.Module, raw: str) -> str:
    """A name of `named_modules()` without the parts that wrappers put in, which are known by the module they sit in."""
    parts: list[str] = []
    module: nn.Module | None = root
    for part in raw.split(".") if raw else ():
        inserted = part in INSERTED or (part == "module" and isinstance(module, PARALLEL))
        if not inserted:
            parts.append(part)
        module = getattr(module, part, None)
    return ".".join(parts)


def _asked(model: nn.Module, pattern: str) -> str:
    """A name as `named_modules()` of the wrapped model prints it, without the inserted parts."""
    parts = [part for part in pattern.split(".") if part not in INSERTED]
    if isinstance(model, PARALLEL) and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def _layer(name: str, module: nn.Module) -> Layer:
    weighted = [m for m in module.modules() if _has_matrix(m)]
    if len(weighted) != 1:
        return Layer(name, module, None)
    return Layer(name, None if weighted[0] is module else module, weighted[0])


def _has_matrix(module: nn.Module) -> bool:
    """Whether it owns a weight with two axes or more; the rows of an embedding are outputs, not a map on inputs."""
    weight = _weight_as_it_is(module)
    if not isinstance(weight, Tensor) or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return False
    return is_lazy(weight) or weight.ndim >= 2


def _weight_as_it_is(module: nn.Module) -> Any:
    """What the module has as `weight`; reading it leaves everything as it is.

    In training mode a parametrisation may change its own buffers when it is read, as `spectral_norm` does by a step of
    its power iteration, and one that draws would draw.
    """
    if not is_parametrized(module, "weight"):
        return getattr(module, "weight", None)
    parametrisations = module.parametrizations
    assert isinstance(parametrisations, nn.ModuleDict)
    modes = [(part, part.training) for part in parametrisations["weight"].modules()]
    try:
        for part, _ in modes:
            part.training = False
        with torch.random.fork_rng(devices=()), torch.no_grad():
            return module.weight
    finally:
        for part, training in modes:
            part.training = training
