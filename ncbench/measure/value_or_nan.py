"""The value of one measure, or NaN with the reason in the log: a training never ends because of a measure."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ncbench.measure.failures import why_it_fails
from ncbench.measure.notices import Notices

__all__ = ["one_number", "value_or_nan", "warn_of_nan"]


def value_or_nan(
    name: str, measure: Callable[[Any], Any], argument: Any, leading: torch.Size, notices: Notices, at: str
) -> Tensor:
    """The measure's value (leading), or NaN with the reason in the log: a run never ends because of a measure.

    `at` is the layer and its stage, "head.1 post".
    """
    try:
        return one_number(measure(argument), leading)
    except Exception as error:
        warn_of_nan(name, error, notices, at)
        return torch.full(leading, torch.nan, dtype=torch.float64)


def one_number(value: Any, leading: torch.Size) -> Tensor:
    """A measure's result as (leading), one number per network; ValueError where it is something else."""
    if not isinstance(value, Tensor):
        raise ValueError(f"its result is of type {type(value).__name__} and not a tensor")
    if value.shape == leading:
        return value
    if value.numel() != 1 or leading.numel() != 1:
        raise ValueError(f"its result has the shape {tuple(value.shape)} and not {tuple(leading)}")
    return value.reshape(leading)


def warn_of_nan(name: str, error: Exception, notices: Notices, at: str) -> None:
    """Say in the log why a measure is NaN and at which layer and stage, the first time at each."""
    in_words = isinstance(error, ValueError | RuntimeError) and str(error)
    why = error if in_words else f"it {why_it_fails(error)}"
    notices.warn("measure", f"{name} {at}", "the measure %s failed and is NaN: %s (layer %s)", name, why, at)
