"""Class moments of a feature matrix: counts, class means and within-class scatter, streaming and mergeable.

Legend: H (..., N, D) features, one row per sample; mu_c class means; K classes; N samples; leading axes are
replicas that share the labels.

Numbers. Every sum is taken in float64 of h - s_c, where the shift s_c is the first sample of class c in the
batch; a mean is kept as the pair shift + offset. So identical samples give a within-class trace of exactly
0, and the trace keeps about 10 digits at a within-class standard deviation of 1e-7 around means of norm 1,
where E[h^2] - E[h]^2 in float32 has none left. The trace is sum ||h - s_c||^2 - n_c ||mu_c - s_c||^2 per
class of a batch; since s_c is one of the samples, the first term is at most n_c times the result (about
twice, unless that sample is an outlier), so the subtraction loses n_c units of rounding in the worst case.

Validity. `from_batch` and `merge` never wait for the device. What is wrong with the data stays in the
state: means are NaN where a class is empty or a label was out of range, non-finite features make their
class NaN. So a measure of unchecked moments is NaN rather than a plausible number; `finalise` says what was
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

Scatter = Literal["trace", "full", "none"]

CPU_BLOCK = 2**17  # float64 numbers of a temporary: 1 MiB, the order of a core's cache
DEVICE_BLOCK = 2**24  # 128 MiB: a few launches for any batch


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """First and second moments per class, the sufficient statistics of every collapse measure.

    Build with `from_batch`, add batches or other processes' parts with `merge`, check with `finalise`. All but two
    attributes are float64; nothing is modified in place.

    Attributes:
        counts: (K,) int64, samples n_c per class.
        shift: (..., K, D), a reference point s_c per class: a sample of it, 0 for an empty class.
        offset: (..., K, D), mu_c - s_c.
        within_trace: (..., K), the SUM sum_{i in c} ||h_i - mu_c||^2, not divided by n_c (see
            `class_variances`), so that tr Sigma_W = within_trace.sum(-1) / N. None with scatter="none".
        scatter: (..., D, D), the SUM over all samples of (h_i - mu_c)(h_i - mu_c)^T = N Sigma_W. None
            unless scatter="full".
        label_range: (2,) int64, smallest and largest label seen; judged by `finalise`.

    Examples:
        >>> H = torch.tensor([[0.0], [2.0], [10.0]])
        >>> moments = ClassMoments.from_batch(H, torch.tensor([0, 0, 1]), num_classes=2).finalise()
        >>> moments.means.flatten().tolist(), moments.within_trace.tolist()
        ([1.0, 10.0], [2.0, 0.0])
    """

    counts: Tensor
    shift: Tensor
    offset: Tensor
    within_trace: Tensor | None
    scatter: Tensor | None
    label_range: Tensor

    @classmethod
    def from_batch(cls, features: Tensor, labels: Tensor, num_classes: int, scatter: Scatter = "trace") -> ClassMoments:
        """Moments of one batch, in float64 and without a host synchronisation: one pass over it, two for "full".

        Args:
            features: (..., N, D), any real floating dtype; N = 0 gives the neutral element of `merge`.
            labels: (N,), integers in [0, num_classes), shared by the leading axes; others are refused by `finalise`.
            num_classes: K >= 1.
            scatter: "trace" keeps sum ||h - mu_c||^2 per class, "full" also the D x D scatter, "none" means only.

        Raises:
            ValueError: for what the shapes and dtypes alone show to be wrong.
        """
        _check_batch(features, labels, num_classes, scatter)
        *leading, N, D = features.shape
        features, labels = features.detach(), labels.to(features.device, torch.int64)
        shape = (*leading, num_classes)
        # No samples: the neutral element, whose label range (0, 0) is in range for every K.
        if N == 0:
            zeros = torch.zeros((*shape, D), dtype=torch.float64, device=features.device)
            return cls(
                counts=labels.new_zeros(num_classes),
                shift=zeros,
                offset=zeros,
                within_trace=zeros.new_zeros(shape) if scatter != "none" else None,
                scatter=zeros.new_zeros(*leading, D, D) if scatter == "full" else None,
                label_range=labels.new_zeros(2),
            )

        # A label out of range would end the process on a GPU: remember the range, clamp, and let `finalise` judge it.
        label_range = torch.stack(labels.aminmax())
        labels = labels.clamp(0, num_classes - 1)
        counts = labels.new_zeros(num_classes).index_add_(0, labels, torch.ones_like(labels))
        # The shift s_c: the first sample of class c by a scatter of minima (no wait for the device), 0 for no sample.
        first = labels.new_full((num_classes,), N - 1)
        first.scatter_reduce_(0, labels, torch.arange(N, device=labels.device), "amin")
        shift = features.index_select(-2, first).to(torch.float64)
        shift = torch.where(counts[:, None] > 0, shift, 0.0)

        # Blocks keep the float64 temporaries in the cache, and the memory at O(K D) instead of O(N D).
        block = CPU_BLOCK if features.device.type == "cpu" else DEVICE_BLOCK
        rows = max(1, block * N // max(1, features.numel()), D if scatter == "full" else 1)
        blocks = [(features[..., i : i + rows, :], labels[i : i + rows]) for i in range(0, N, rows)]
        # First pass: sum of h - s_c per class, and for "trace" that of ||h - s_c||^2 (a norm needs no temporary).
        sums, squares = torch.zeros_like(shift), shift.new_zeros(shape)
        for H, y in blocks:
            deviation = H - shift.index_select(-2, y)
            sums.index_add_(-2, y, deviation)
            if scatter == "trace":
                squares.index_add_(-1, y, torch.linalg.vector_norm(deviation, dim=-1).square_())
        # mu_c - s_c; an empty class keeps 0, and `means` says NaN.
        offset = sums / counts.clamp(min=1)[:, None]
        if scatter == "none":
            return cls(counts, shift, offset, None, None, label_range)
        if scatter == "trace":
            # sum ||h - mu_c||^2 = sum ||h - s_c||^2 - n_c ||mu_c - s_c||^2; rounding may leave it just below 0.
            full = None
            within_trace = (squares - counts * offset.square().sum(-1)).clamp_(min=0)
        else:
            # Second pass, around the means themselves: the D x D scatter, and the trace as a sum of squares.
            full, within_trace = shift.new_zeros(*leading, D, D), squares
            for H, y in blocks:
                deviation = (H - shift.index_select(-2, y)).sub_(offset.index_select(-2, y))
                full += deviation.mT @ deviation
                within_trace.index_add_(-1, y, deviation.square_().sum(-1))
        # Clamped labels have put samples into the wrong classes: no number then.
        within_trace = torch.where(_in_range(label_range, num_classes), within_trace, torch.nan)
        return cls(counts, shift, offset, within_trace, full, label_range)

    @property
    def means(self) -> Tensor:
        """Class means mu_c, (..., K, D); NaN for an empty class, everywhere after a label out of range."""
        usable = (self.counts > 0) & _in_range(self.label_range, self.counts.shape[0])
        return torch.where(usable[:, None], self.shift + self.offset, torch.nan)

    @property
    def class_variances(self) -> Tensor:
        """v_c = within_trace_c / n_c = E_{i in c} ||h_i - mu_c||^2, (..., K); NaN for an empty class."""
        return self.required_within_trace() / self.counts

    def required_within_trace(self) -> Tensor:
        """`within_trace`, or a ValueError that says how to get it."""
        if self.within_trace is None:
            raise ValueError('within_trace is needed: build the moments with scatter="trace" or "full"')
        return self.within_trace

    def required_scatter(self) -> Tensor:
        """`scatter`, or a ValueError that says how to get it."""
        if self.scatter is None:
            raise ValueError('the full scatter is needed: build the moments with scatter="full"')
        return self.scatter

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Moments of the union of two disjoint sets of samples; a new object, no host synchronisation.

        Per class, with d = mu_b - mu_a and n = n_a + n_b: mu = mu_a + d n_b / n and sum of squares S = S_a
        + S_b + ||d||^2 n_a n_b / n; Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances" (1979).

        Raises:
            ValueError: when shapes or kinds of scatter differ.
        """
        # Both sides must have the same shapes and the same kinds of scatter.
        kinds = [(m.offset.shape, m.within_trace is None, m.scatter is None) for m in (self, other)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                "moments to merge must agree in (means' shape, within_trace is None, scatter is None), "
                f"got {kinds[0]} and {kinds[1]}"
            )
        counts = self.counts + other.counts
        only_other, in_both = (self.counts == 0)[:, None], ((self.counts > 0) & (other.counts > 0))[:, None]
        # The shifts nearly cancel exactly, so d keeps its digits when it is far smaller than the means.
        delta = (other.shift - self.shift) + (other.offset - self.offset)
        delta = torch.where(in_both, delta, 0.0)
        share = other.counts.to(torch.float64) / counts.clamp(min=1)
        shift = torch.where(only_other, other.shift, self.shift)
        offset = torch.where(only_other, other.offset, self.offset + delta * share[:, None])
        # n_a n_b / n times ||d||^2 (or d d^T) is what the move of the mean adds.
        weight = self.counts * share
        within_trace, scatter = None, None
        if self.within_trace is not None and other.within_trace is not None:
            within_trace = self.within_trace + other.within_trace + weight * delta.square().sum(-1)
        if self.scatter is not None and other.scatter is not None:
            scatter = self.scatter + other.scatter + (weight[:, None] * delta).mT @ delta
        low = torch.minimum(self.label_range[0], other.label_range[0])
        high = torch.maximum(self.label_range[1], other.label_range[1])
        return ClassMoments(counts, shift, offset, within_trace, scatter, torch.stack([low, high]))

    def finalise(self) -> ClassMoments:
        """The same moments, checked: the one place that waits for the device.

        Raises:
            ValueError: labels out of range; features that are not finite (or overflow float64), naming the
                classes; empty classes, naming them.
        """
        K = self.counts.shape[0]
        low, high = self.label_range.tolist()
        if low < 0 or high >= K:
            raise ValueError(f"labels must lie in [0, {K - 1}] for num_classes={K}, got [{low}, {high}]")
        finite = (self.shift + self.offset).isfinite().all(-1)
        if self.within_trace is not None:
            finite = finite & self.within_trace.isfinite()
        bad = (~finite).reshape(-1, K).any(0).nonzero().flatten().tolist()
        if bad:
            raise ValueError(f"features must be finite; they are not, or overflow float64, in classes {bad}")
        empty = (self.counts == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"every class needs a sample; empty classes: {empty} of num_classes={K}")
        return self

    def to(self, device: torch.device | str) -> ClassMoments:
        """The same moments on another device."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x.to(device) for name, x in state.items() if x is not None})


def _in_range(label_range: Tensor, num_classes: int) -> Tensor:
    return (label_range[0] >= 0) & (label_range[1] < num_classes)


def _check_batch(features: Tensor, labels: Tensor, num_classes: int, scatter: Scatter) -> None:
    """ValueError for what shapes, dtypes and names alone show to be wrong: nothing here waits for the device."""
    if features.ndim < 2 or not features.dtype.is_floating_point:
        raise ValueError(
            f"features must be a floating tensor (..., N, D), got {features.dtype} {tuple(features.shape)}"
        )
    N = features.shape[-2]
    if labels.shape != (N,) or labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be integers of shape ({N},) for features {tuple(features.shape)}, "
            f"got {labels.dtype} {tuple(labels.shape)}"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if scatter not in ("trace", "full", "none"):
        raise ValueError(f'scatter must be "trace", "full" or "none", got {scatter!r}')
