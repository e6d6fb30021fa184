"""A layer's output as one vector per sample: what to do with a convolution's map and with a token sequence.

    flatten   every number of the sample, in the order of its axes (the default)
    mean      the average over positions: (N, C, *space) -> (N, C), (N, T, D) -> (N, D)
    cls       the first token: (N, T, D) -> (N, D); a convolution's map has none, and is refused

A function gets the output as it is, (N, ...), and returns (N, D). Outputs (N, D) are left alone by the names.

Which axis holds the channels is not visible in a shape: (N, 8, 64) is eight tokens or the map of a 1-d
convolution, and some vision transformers keep images as (N, H, W, C). So `mean` looks at the layer: its last
submodule with parameters has a width, and a kind (convolutions and batch normalisation put channels first;
linear maps, layer normalisation and attention last). The axis that has the width is taken; where both or
neither have it, the kind decides; without parameters, three axes are tokens and more are a map. Of a layer's input the
first submodule with parameters tells, by the width that it takes in.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ncbench.core import ClassMoments

__all__ = ["REDUCTIONS", "Reduction", "channels_first", "check_output", "choose", "class_moments", "reducer"]

Reduction = str | Callable[[Tensor], Tensor]
REDUCTIONS = ("flatten", "mean", "cls")

_FIRST = (_ConvNd, _NormBase, nn.GroupNorm)


def reducer(
    reduction: Reduction, layer: nn.Module, name: str, maps: bool = False, of_input: bool = False
) -> Callable[[Tensor], Tensor]:
    """The function from a layer's output (`of_input`: its input) to (N, D). ValueError for an unknown name.

    With `maps`, flatten leaves a longer output as it is: whoever takes it flattens it (see `class_moments`).
    """
    if not isinstance(reduction, str):
        return reduction
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction} must be one of {', '.join(REDUCTIONS)}, or a function")

    def reduce(x: Tensor) -> Tensor:
        if x.ndim <= 2:
            return x.unsqueeze(1) if x.ndim == 1 else x
        if reduction == "flatten":
            return x if maps else x.flatten(1)
        first = channels_first(layer, x, of_input)
        if reduction == "mean":
            return x.flatten(2).mean(-1) if first else x.flatten(1, -2).mean(1)
        if x.ndim != 3 or first:
            raise ValueError(
                f"reduction=cls needs a token sequence (N, T, D), but layer {name} gives {tuple(x.shape)}; "
                "name token layers only, or give a function"
            )
        return x[:, 0]

    return reduce


def channels_first(layer: nn.Module, x: Tensor, of_input: bool = False) -> bool:
    """Whether axis 1 of the layer's output (`of_input`: input), (N, ...), holds the channels, and not the last one."""
    with_parameters = [m for m in layer.modules() if any(True for _ in m.parameters(recurse=False))]
    if not with_parameters:
        return x.ndim > 3
    nearest = with_parameters[0 if of_input else -1]
    width, kind = _width(nearest, of_input), _kind(nearest)
    matches = (x.shape[1] == width, x.shape[-1] == width)
    if matches[0] != matches[1]:
        return matches[0]
    return x.ndim > 3 if kind is None else kind


def _kind(module: nn.Module) -> bool | None:
    """True for channels first, False for last, None for modules whose layout torch does not fix."""
    if isinstance(module, _FIRST):
        return True
    fixed = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention)
    return False if isinstance(module, fixed) else None


def _width(module: nn.Module, of_input: bool) -> int | None:
    ends = ("in_channels", "in_features") if of_input else ("out_channels", "out_features", "embedding_dim")
    for name in (*ends, "num_features", "num_channels", "embed_dim"):
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width
    shape = getattr(module, "normalized_shape", None)
    return int(shape[-1]) if isinstance(shape, tuple) and shape else None


def check_output(name: str, stage: str, x: Tensor, samples: int, has_replica_axis: bool) -> None:
    """ValueError unless a reduced output is floating, (R, N, D) or, without replica axis, (N, ...), for N samples."""
    axis = -2 if has_replica_axis else 0
    if x.ndim < 2 or x.shape[axis] != samples:
        raise ValueError(
            f"layer {name} ({stage}) gives {tuple(x.shape)}, which is not one vector for each of the {samples} samples "
            "of the batch; a layer with another first axis needs a function as its reduction"
        )
    if not x.is_floating_point():
        raise ValueError(f"layer {name} ({stage}) gives {x.dtype}, but only floating outputs have moments")


def class_moments(x: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
    """The moments of maps (N, C, *space), flattened in the order of their axes.

    A map that lies in memory in another order, channels last, would be copied by flatten, which takes longer than the
    sums; they are made in the order of the memory, and the class means put into the order of the axes.
    """
    order = sorted(range(1, x.ndim), key=lambda axis: x.stride(axis), reverse=True)
    moved = x.permute(0, *order)
    moments = ClassMoments.from_batch(moved.flatten(1), labels, num_classes)
    if order == list(range(1, x.ndim)):
        return moments
    back = [0, *(1 + order.index(axis) for axis in range(1, x.ndim))]
    shift, offset = (
        m.view(num_classes, *moved.shape[1:]).permute(back).flatten(1) for m in (moments.shift, moments.offset)
    )
    return replace(moments, shift=shift, offset=offset)


def choose(reduction: Reduction | Mapping[str, Reduction], name: str) -> Reduction:
    """One reduction for all layers, or that of the first glob that the layer's name matches, else flatten."""
    if not isinstance(reduction, Mapping):
        return reduction
    return next((chosen for glob, chosen in reduction.items() if fnmatch.fnmatch(name, glob)), "flatten")
