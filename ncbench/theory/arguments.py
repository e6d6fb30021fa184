"""What the closed forms accept: class numbers, depths and decays, checked in one place and in the same words.

A decay is a number, or an array: then the closed form is evaluated at every entry (arrays broadcast). Decays of
the L weight matrices are one such decay for all matrices, or a list or tuple of L of them, one per matrix.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Array",
    "Decay",
    "Decays",
    "at_least",
    "classes_and_depth",
    "geometric_mean",
    "layer_decays",
    "plain",
    "positive",
    "scalar_decays",
]

Array = NDArray[np.float64]
Decay = float | Array
Decays = Decay | Sequence[Decay]


def at_least(name: str, value: int, bound: int, reason: str = "") -> int:
    """`value` as an int, or a ValueError that names the argument, the bound, the bound's reason and the value."""
    if isinstance(value, bool) or int(value) != value or value < bound:
        because = f" ({reason})" if reason else ""
        raise ValueError(f"{name} must be an integer of at least {bound}{because}, got {value}")
    return int(value)


def classes_and_depth(num_classes: int, depth: int) -> tuple[int, int]:
    """(K, L) of an unconstrained features model: at least 2 classes and 1 weight matrix (ValueError)."""
    return at_least("num_classes", num_classes, 2), at_least("depth", depth, 1)


def positive(name: str, value: Any) -> Array:
    """`value` as a float64 array of any shape (0-dimensional for a number), all entries positive and finite.

    ValueError where one is not.
    """
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    bad = array[~(np.isfinite(array) & (array > 0))]
    if bad.size:
        raise ValueError(f"{name} must be positive and finite, got {bad.flat[0]}")
    return array


def layer_decays(weight_decays: Decays, depth: int) -> list[Array]:
    """One array per weight matrix, from one decay for all of them or from a list or tuple of `depth` decays.

    ValueError for a list of another length, and for a decay that is not positive.
    """
    if isinstance(weight_decays, list | tuple):
        if len(weight_decays) != depth:
            raise ValueError(
                f"weight_decays must be one decay or one per weight matrix ({depth}), got {len(weight_decays)} decays"
            )
        return [positive("weight_decays", decay) for decay in weight_decays]
    return [positive("weight_decays", weight_decays)] * depth


def scalar_decays(weight_decays: Decays, depth: int) -> list[float]:
    """`layer_decays` where explicit matrices are built: every decay must be one number.

    ValueError for an array.
    """
    decays = layer_decays(weight_decays, depth)
    if any(decay.ndim for decay in decays):
        shape = next(decay.shape for decay in decays if decay.ndim)
        raise ValueError(f"weight_decays must hold single numbers for explicit matrices, got an array of shape {shape}")
    return [float(decay) for decay in decays]


def plain(values: Any) -> float | Array:
    """A float for a single value, otherwise the float64 array."""
    array = np.asarray(values, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def geometric_mean(decays: Sequence[float]) -> float:
    """(prod_i lam_i)^(1/count), by logarithms: 7 decays of 1e-60 do not underflow."""
    return math.exp(sum(map(math.log, decays)) / len(decays))
