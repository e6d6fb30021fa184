"""What the closed forms accept: class numbers, depths and decays, checked once and in one wording.

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
    "geometric_mean",
    "layer_decays",
    "plain",
    "positive",
    "scalar_decays",
]

Array = NDArray[np.float64]
Decay = float | Array
Decays = Decay | Sequence[Decay]


def at_least(name: str, value: int, bound: int, what: str) -> int:
    """`value`, or a ValueError "name=value: at least <bound> <what>"."""
    if isinstance(value, bool) or int(value) != value or value < bound:
        raise ValueError(f"{name}={value}: at least {bound} {what}")
    return int(value)


def positive(name: str, value: Any) -> Array:
    """`value` as a float64 array of any shape (0-dimensional for a number), all entries positive and finite."""
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    bad = array[~(np.isfinite(array) & (array > 0))]
    if bad.size:
        raise ValueError(f"{name}={bad.flat[0]}: must be positive and finite")
    return array


def layer_decays(weight_decays: Decays, depth: int) -> list[Array]:
    """One array per weight matrix, from one decay for all of them or from a list or tuple of `depth` decays."""
    if isinstance(weight_decays, list | tuple):
        if len(weight_decays) != depth:
            raise ValueError(f"weight_decays has {len(weight_decays)} values: one, or one per weight matrix ({depth})")
        return [positive("weight_decays", decay) for decay in weight_decays]
    return [positive("weight_decays", weight_decays)] * depth


def scalar_decays(weight_decays: Decays, depth: int) -> list[float]:
    """`layer_decays` where explicit matrices are built: every decay must be one number."""
    decays = layer_decays(weight_decays, depth)
    if any(decay.ndim for decay in decays):
        raise ValueError("weight_decays holds an array: explicit matrices need one number per weight matrix")
    return [float(decay) for decay in decays]


def plain(values: Any) -> float | Array:
    """A float where there is one value, else the float64 array."""
    array = np.asarray(values, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def geometric_mean(decays: Sequence[float]) -> float:
    """(prod_i lam_i)^(1/count), by logarithms: 7 decays of 1e-60 do not underflow."""
    return math.exp(sum(map(math.log, decays)) / len(decays))
