"""Classes of which there is no sample: their mean is not defined, so a measure of all K class means is not either.

nan    (the default) such measures are NaN, and the log says which classes are empty;
skip   the classes without samples are left out: K is then the number of those that have some, in every formula,
       and so have the Gram matrices and class means a row for each of those alone.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ncbench.core import ClassMoments

__all__ = ["MISSING_CLASSES", "check_missing_classes", "classes_with_samples", "of_classes"]

MISSING_CLASSES = ("nan", "skip")


def check_missing_classes(missing_classes: str) -> None:
    """ValueError where it is none of `MISSING_CLASSES`."""
    if missing_classes not in MISSING_CLASSES:
        raise ValueError(f"missing_classes={missing_classes} must be {' or '.join(MISSING_CLASSES)}")


def classes_with_samples(moments: ClassMoments) -> Tensor:
    """The numbers of the classes that have samples, ascending, (K',)."""
    return (moments.counts > 0).nonzero().flatten()


def of_classes(moments: ClassMoments, classes: Tensor) -> ClassMoments:
    """The moments of these classes alone, (K',), in their order; the scatter stays that of all samples.

    A label out of range stays one.
    """
    K = len(moments.counts)
    low, high = moments.label_range
    last = torch.where(high < K, len(classes) - 1, high)
    return replace(
        moments,
        counts=moments.counts[classes],
        shift=moments.shift[..., classes, :],
        offset=moments.offset[..., classes, :],
        within_trace=None if moments.within_trace is None else moments.within_trace[..., classes],
        label_range=torch.stack([low.clamp(max=0), last]),
    )
