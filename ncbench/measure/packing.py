"""Class moments as one float64 tensor, for what moves between processes."""

import torch
from torch import Tensor

from ncbench.core import ClassMoments

__all__ = ["merged", "pack", "unpack"]


def pack(moments: ClassMoments) -> tuple[Tensor, Tensor]:
    """(state (..., K, 2D + 2), label_range (2,)) of moments with scatter="trace".

    The columns of the state are n_c, the within-class sum of squares, the shift and the offset of `ClassMoments`;
    counts are exact in float64 up to 2^53.
    """
    within = moments.required_within_trace()[..., None]
    counts = moments.counts.to(within)[:, None].expand(within.shape)
    return torch.cat([counts, within, moments.shift, moments.offset], -1), moments.label_range


def unpack(state: Tensor, label_range: Tensor) -> ClassMoments:
    """The moments that `pack` made the two tensors from."""
    width = (state.shape[-1] - 2) // 2
    counts = state[..., 0].reshape(-1, state.shape[-2])[0].round().long()  # the same for all leading axes
    return ClassMoments(
        counts=counts,
        shift=state[..., 2 : 2 + width],
        offset=state[..., 2 + width :],
        within_trace=state[..., 1],
        scatter=None,
        label_range=label_range.long(),
    )


def merged(states: Tensor, label_ranges: Tensor) -> ClassMoments:
    """The moments of the union of disjoint samples, from P states (P, ..., K, 2D + 2) and ranges (P, 2)."""
    first, *others = (unpack(state, label_range) for state, label_range in zip(states, label_ranges, strict=True))
    for other in others:
        first = first.merge(other)
    return first
