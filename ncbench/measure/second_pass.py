"""Measures that need a second pass over the data, because they look at samples in the light of the class means.

Legend: h_n the features of sample n, mu_c class means, v_i the right singular vectors of the centred K x D class
means, K classes, N samples, D features; leading axes are replicas.

A measure declares its second pass by being a `SecondPass`: begun from the first pass's moments, fed with the same
batches again, its `sums` added up over processes, its `values` read at the end. One that has a method `decided` is told
what the network decided for the samples of the batch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from ncbench import core
from ncbench.core.moments import CPU_BLOCK, DEVICE_BLOCK
from ncbench.core.variability import Convention

__all__ = ["SECOND_PASSES", "SecondPass", "nc1_streaming"]


class SecondPass(Protocol):
    """What a second pass collects for one layer; `sums` is one tensor, replaced at every batch, never written to."""

    sums: Tensor

    def add(self, features: Tensor, labels: Tensor) -> None:
        """One batch: (..., N, D) and (N,)."""

    def values(self) -> Mapping[str, Tensor]:
        """The measures by name, each (...)."""


def nc1_streaming(
    moments: core.ClassMoments,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    rtol: float = 1e-2,
    convention: Convention = "rhubarbwu",
) -> tuple[Tensor, Tensor]:
    """NC1, tr(Sigma_W Sigma_B^+) up to the convention's factor, without a D x D matrix: for wide layers.

    The value of `core.nc1` (its docstring has the conventions' sources), by a second pass over the samples:
    sum_i w_i (1/N) sum_n (v_i . (h_n - mu_{c(n)}))^2 over the kept directions v_i of the class means, w_i = factor /
    s_i^2. Memory O(K D) and a block of 1 MiB, time O(N K D), where the D x D covariance takes O(N D^2) and its
    pseudo-inverse O(D^3).

    Args:
        moments: of exactly these samples (any scatter), from a first pass.
        batches: (features (..., N_b, D), labels (N_b,)) of the same samples, in any order and division.
        rtol, convention: as in `core.nc1`.

    Returns:
        (value, kept_rank), each (...); value 0 for zero within-class variance, NaN with kept_rank 0 when the class
        means coincide (K = 1 included) or the moments are not valid (an empty class, a label out of range).

    Raises:
        ValueError: bad rtol or convention; other samples than those of the moments (by their number and width).
    """
    second_pass = NC1(moments, rtol=rtol, convention=convention)
    for features, labels in batches:
        second_pass.add(features, labels)
    seen, expected = int(second_pass.count), int(moments.counts.sum())
    if seen != expected:
        raise ValueError(f"batches must hold the {expected} samples of the moments once more, but hold {seen}")
    values = second_pass.values()
    return values["nc1"], values["nc1_rank"].long()


class NC1:
    """The second pass of `nc1_streaming`; values `nc1` and `nc1_rank`, the number of kept directions."""

    def __init__(
        self,
        moments: core.ClassMoments,
        *,
        rtol: float = 1e-2,
        convention: Convention = "rhubarbwu",
        names: tuple[str, str] = ("nc1", "nc1_rank"),
    ) -> None:
        self.names, self.samples = names, moments.counts.sum()
        self.means = moments.means
        self.directions, self.weights, self.kept_rank = core.nc1_directions(moments, rtol, convention)
        self.count = 0
        self.sums = torch.zeros_like(self.weights)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """One batch: (..., N, D) and (N,)."""
        *_, samples, width = features.shape
        if width != self.means.shape[-1]:
            raise ValueError(f"features must have the width {self.means.shape[-1]} of the moments, not {width}")
        labels = labels.to(features.device).clamp(0, self.means.shape[-2] - 1)
        # Rows at a time, so that the deviations stay in the cache and are never a second copy of the batch.
        block = CPU_BLOCK if features.device.type == "cpu" else DEVICE_BLOCK
        rows = max(1, block * samples // max(1, features.numel()))
        squares = torch.zeros_like(self.sums)
        for start in range(0, samples, rows):
            part = slice(start, start + rows)
            # Deviations first, then directions: v.h - v.mu would lose what within-class variance is left.
            deviation = features[..., part, :].detach() - self.means.index_select(-2, labels[part])
            squares += (deviation @ self.directions.mT).square_().sum(-2)
        self.sums = self.sums + squares
        self.count += samples

    def values(self) -> Mapping[str, Tensor]:
        """The value, NaN where no direction is kept, and the kept rank as a float64."""
        value = torch.where(self.kept_rank > 0, (self.weights * self.sums).sum(-1) / self.samples, torch.nan)
        return dict(zip(self.names, (value, self.kept_rank.to(value)), strict=True))


class NearestCentre:
    """Value `ncc_accuracy`: the share of samples whose nearest class mean (of these samples) is their own class's.

    NC4 of Papyan, Han & Donoho (2020) asks whether the network decides so; against the labels instead of the
    network's decision it is defined for every layer, as in Galanti, Gyorgy & Hutter (ICLR 2022). Ties go to the
    smaller class.
    """

    def __init__(self, moments: core.ClassMoments) -> None:
        self.means, self.samples = moments.means, moments.counts.sum()
        self.sums = torch.zeros(self.means.shape[:-2], dtype=torch.float64, device=self.means.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """One batch: (..., N, D) and (N,)."""
        nearest = core.ncc_labels(features, self.means)
        self.sums = self.sums + (nearest == labels.to(nearest.device)).sum(-1)

    def values(self) -> Mapping[str, Tensor]:
        """NaN where the means are not finite."""
        finite = self.means.isfinite().all(-1).all(-1)
        return {"ncc_accuracy": torch.where(finite, self.sums / self.samples, torch.nan)}


class NearestCentreMismatch:
    """Value `ncc_mismatch`: the share of samples for which argmin_c ||h - mu_c|| is not the class the network decides.

    NC4 of Papyan, Han & Donoho (2020), Figure 7, where the samples are those of the test set and mu_c the class means
    of the training set: so here, where the first split is `train`. 1 - `core.ncc_agreement` for the classifier's
    input. Ties go to the smaller class on both sides.
    """

    def __init__(self, moments: core.ClassMoments, first_split: core.ClassMoments) -> None:
        self.means, self.samples = first_split.means, moments.counts.sum()
        self.nearest: Tensor | None = None
        self.sums = torch.zeros(self.means.shape[:-2], dtype=torch.float64, device=self.means.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """One batch: (..., N, D) and (N,)."""
        self.nearest = core.ncc_labels(features, self.means)

    def decided(self, classes: Tensor | None, known: Tensor | None) -> None:
        """The network's classes (..., N) for the batch that was added last, and whether its scores were numbers.

        None where it has no logits.
        """
        if self.nearest is None:  # the layer was not called for this batch
            return
        differs: Tensor | float = torch.nan
        if classes is not None and known is not None:
            other = (self.nearest != classes.to(self.nearest.device)).double()
            differs = other.where(known.to(other.device), torch.nan).sum(-1)
        self.sums, self.nearest = self.sums + differs, None

    def values(self) -> Mapping[str, Tensor]:
        """NaN where the means are not finite, or the network has no logits or such as are NaN."""
        finite = self.means.isfinite().all(-1).all(-1)
        return {"ncc_mismatch": torch.where(finite, self.sums / self.samples, torch.nan)}


# From the moments of the split that is passed over, and those of the first split.
SECOND_PASSES: Mapping[str, Callable[[core.ClassMoments, core.ClassMoments], SecondPass]] = {
    "nc1": lambda moments, _: NC1(moments),
    "separation_fuzziness": lambda moments, _: NC1(
        moments, convention="he-su", names=("separation_fuzziness", "separation_rank")
    ),
    "ncc_accuracy": lambda moments, _: NearestCentre(moments),
    "ncc_mismatch": NearestCentreMismatch,
}
