"""One sample of anybody's Dataset: its input as a tensor, its label as a whole number.

    (input, label, ...)        a tuple or list: its first two entries, the rest is not used
    {"label": ..., ...}        a mapping: the label under one of the names below, and one other entry, the input

The same forms as `ncbench.measure.batches` reads, which this room may not import; a test compares the names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["LABELS", "check_finite", "input_of", "label_of", "split"]

LABELS = ("labels", "label", "targets", "target", "y")


def split(sample: Any, where: str) -> tuple[Any, Any]:
    """Input and label of a sample (or inputs and labels of a batch) by the rules above; `where` begins the errors.

    ValueError for what these rules do not cover.
    """
    if isinstance(sample, Mapping):
        key = next((name for name in LABELS if name in sample), None)
        rest = [name for name in sample if name != key]
        if key is None or len(rest) != 1:
            raise ValueError(
                f"{where}: a mapping must have its label under one of {', '.join(LABELS)} and one input beside it, and "
                f"this one has the keys {', '.join(map(str, sample))}"
            )
        return sample[rest[0]], sample[key]
    if isinstance(sample, tuple | list) and len(sample) >= 2:
        return sample[0], sample[1]
    raise ValueError(
        f"{where}: must be (input, label) or a mapping with a label, not a value of type {type(sample).__name__}"
    )


def input_of(x: Any, where: str) -> Tensor:
    """The input as a tensor of at least one dimension: floats in 32 or 64 bits, or whole numbers (such as tokens).

    Raises ValueError for a picture without a transform, for unscaled pixels (uint8), and for what is no array.
    """
    if hasattr(x, "getbands"):  # of PIL's images
        raise ValueError(
            f"{where}: is a PIL image; give the Dataset a transform that ends in a tensor, as in "
            "transform: {_target_: torchvision.transforms.ToTensor}"
        )
    if isinstance(x, np.ndarray) and x.dtype != object:
        x = torch.from_numpy(np.ascontiguousarray(x))
    if not isinstance(x, Tensor):
        raise ValueError(f"{where}: its input must be a tensor or an array, not a value of type {type(x).__name__}")
    if x.is_nested or x.layout != torch.strided:
        kind = "a nested tensor" if x.is_nested else f"one of {x.layout}"
        raise ValueError(f"{where}: its input must be a dense tensor, not {kind}; to_dense() or padding makes it one")
    if x.dim() == 0:
        raise ValueError(f"{where}: its input is a single number; give it a dimension, as in x[None]")
    if x.dtype == torch.uint8:
        raise ValueError(
            f"{where}: its input is pixels of 0 to 255 (uint8), which nothing here scales; give floats, as "
            "torchvision.transforms.ToTensor or division by 255 does"
        )
    if x.dtype == torch.bool or x.is_complex():
        raise ValueError(f"{where}: its input must be floats or whole numbers, not {x.dtype}")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_finite(x: Tensor, where: str) -> Tensor:
    """The input itself; ValueError where a value is nan or infinite."""
    if x.is_floating_point() and not bool(x.isfinite().all()):
        wrong = int((~x.isfinite()).sum())
        raise ValueError(f"{where}: its input must be finite, and {wrong} of {x.numel()} values are not")
    return x


def label_of(y: Any, where: str) -> int:
    """The class number that a label means: a whole number, alone or as an array of one, or a one-hot vector.

    Raises ValueError for anything else, such as 0.5 or shares of several classes.

    >>> label_of(torch.tensor([3]), "train[0]"), label_of([0.0, 1.0], "train[0]"), label_of(True, "train[0]")
    (3, 1, 1)
    """
    try:
        values = np.asarray(y)
    except (TypeError, ValueError, RuntimeError):
        values = np.asarray(None)
    if values.dtype.kind in "biu" and values.size == 1:
        return int(values.item())
    if values.dtype.kind in "biuf" and values.size > 1 and values.ndim == 1:
        ones = np.flatnonzero(values == 1)
        if len(ones) == 1 and np.count_nonzero(values) == 1:
            return int(ones[0])
    shown = f"{y!r}".replace("\n", " ")
    raise ValueError(f"{where}: a label must be a whole number (int) or a one-hot vector, not {shown[:60]}")
