"""The measures of one layer, from its class moments or its weight.

Always there (their names are public):

    tcv            total cluster variation, labels as partition        arXiv 2402.03991, Definition 3.2 (features)
    tcv_relative   tcv / total variance
    dnc1           tr Sigma_W / tr Sigma_B                             arXiv 2405.14468, Section 6
    dnc2           sigma_1 / sigma_K of the class-mean matrix          arXiv 2405.14468, Section 6
    rank           #{sigma_i > 1e-2 sigma_1}                           class means (pre, post), weights
    stable_rank    ||.||_F^2 / ||.||_2^2                               class means, weights
    effective_rank exp(entropy of sigma / sum sigma)                   class means, weights
    tail           sum_{j>K} sigma_j^2 / sum_j sigma_j^2               weights; arXiv 2402.03991 v3, Figure 1
    norm           ||W||_F                                             weights
    loss, fit, regulariser, accuracy                                   whole network (layer ''), where known

On request, by name (`measures=["cdnv", "nc1"]`; "nc" for NC1 to NC4, "nc2", "nc3", "nc4" for one of them, see
`names.SETS`):

    cdnv, etf_error, orthogonal_frame_error, equinorm, equiangularity  the functions of `ncbench.core`, see there; the
                   second, fourth and fifth of weights with a row per class too, not centred
    self_duality   ||W/||W||_F - M/||M||_F||_F of such a weight and the centred class means of its input, which is
                   measured with it; of the first split
    tcv_floor      the tcv that rounding the layer's dtype can make: a smaller tcv cannot be told from 0
    nc1            with nc1_rank, the number of directions kept; second pass
    separation_fuzziness   with separation_rank; second pass
    ncc_accuracy   samples nearest to their own class mean; second pass
    ncc_mismatch   samples whose nearest class mean of the first split is not the network's decision; second pass

Anything else: `moments={"name": function of ClassMoments}` and `matrices={"name": function of a matrix}`, such as
`matrices={"soft_rank": core.soft_rank}`; a matrix measure is applied to class means (R, K, d) and weights (R, d, d').
The moments have scatter="trace": a function that needs the D x D scatter fails; what it measures takes a second pass.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ncbench import core
from ncbench.measure.classifier import OF_ROWS, has_class_rows
from ncbench.measure.notices import Notices
from ncbench.measure.spectra import are_kept, of_class_means, of_weight_matrix
from ncbench.measure.value_or_nan import value_or_nan

__all__ = [
    "OF_MOMENTS",
    "OF_SINGULAR_VALUES",
    "ON_REQUEST",
    "MatrixMeasure",
    "Measurement",
    "MomentMeasure",
    "of_dtype",
    "of_features",
    "of_weight",
    "with_replica_axis",
]

MOST_WIDE = 512  # class means of wider layers (feature maps) are not kept

MomentMeasure = Callable[[core.ClassMoments], Tensor]
MatrixMeasure = Callable[..., Tensor]

OF_MOMENTS: Mapping[str, MomentMeasure] = {
    "tcv": core.total_cluster_variation,
    "tcv_relative": lambda moments: core.total_cluster_variation(moments, scale_free=True),
    "dnc1": core.scatter_ratio,
}
OF_SINGULAR_VALUES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "rank": lambda s: core.numerical_rank(s=s),
    "stable_rank": lambda s: core.stable_rank(s=s),
    "effective_rank": lambda s: core.effective_rank(s=s),
}
ON_REQUEST: Mapping[str, Callable[[core.ClassMoments, torch.dtype], Tensor]] = {
    "cdnv": lambda moments, dtype: core.cdnv(moments),
    "etf_error": lambda moments, dtype: core.etf_error(moments.means),
    "orthogonal_frame_error": lambda moments, dtype: core.orthogonal_frame_error(moments.means),
    "equinorm": lambda moments, dtype: core.equinorm(moments.means),
    "equiangularity": lambda moments, dtype: core.equiangularity(moments.means),
    "tcv_floor": core.rounding_floor,
}


@dataclass
class Measurement:
    """The results of one call: every tensor has the leading replica axis (R, ...), R = 1 for ordinary networks."""

    values: dict[tuple[str, str, str, str], Tensor] = field(default_factory=dict)  # split, layer, stage, measure
    of_sources: dict[tuple[str, str, str, str, str], Tensor] = field(default_factory=dict)  # and a source layer
    spectra: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, min(K, d))
    grams: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, K, K)
    means: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, K, d), d <= MOST_WIDE
    sample_grams: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, N, N)
    class_counts: dict[str, Tensor] = field(default_factory=dict)  # split -> (K,), samples per class

    def update(self, other: "Measurement") -> None:
        """Take over everything of another measurement."""
        self.values.update(other.values)
        self.of_sources.update(other.of_sources)
        self.spectra.update(other.spectra)
        self.grams.update(other.grams)
        self.means.update(other.means)
        self.sample_grams.update(other.sample_grams)


def of_dtype(name: str, dtype: torch.dtype) -> MomentMeasure:
    """The measure on request of that name, for features that had this dtype."""
    return lambda moments: ON_REQUEST[name](moments, dtype)


def of_features(
    measurement: Measurement,
    moments: core.ClassMoments,
    key: tuple[str, str, str],
    *,
    of_moments: Mapping[str, MomentMeasure],
    of_matrices: Mapping[str, MatrixMeasure],
    first_split: bool,
    grams: bool,
    means: bool,
    notices: Notices,
) -> None:
    """The measures of one layer's class moments, under (split, layer, stage, name)."""
    _, layer, stage = key
    try:
        moments.finalise()
    except ValueError as error:  # the measures are NaN then, and the log has the reason
        notices.warn("moments", f"{layer}.{stage}", "some measures of layer %s (%s) are NaN: %s", layer, stage, error)
    leading = moments.means.shape[:-2]
    for name, measure in {**OF_MOMENTS, **of_moments}.items():
        given = moments if name in OF_MOMENTS else deepcopy(moments)  # what works in place changes its own copy alone
        value = value_or_nan(name, measure, given, leading, notices, f"{layer} {stage}")
        measurement.values[*key, name] = with_replica_axis(value, 0)
    M = with_replica_axis(moments.means, 2)
    K = M.shape[-2]
    s = of_class_means(M, f"{layer} ({stage})", notices)
    # The K x d class means have min(K, d) singular values: with d < K the K-th is 0.
    last = s[..., -1] if s.shape[-1] == K or s[..., 0].isnan().all() else torch.zeros_like(s[..., 0])
    measurement.values[*key, "dnc2"] = s[..., 0] / last
    _of_matrix(measurement, key, M, s, of_matrices, notices)
    if first_split:
        if s.shape[-1] == min(M.shape[-2:]):
            measurement.spectra[layer, stage] = s
        if grams and are_kept(K, notices):
            measurement.grams[layer, stage] = M @ M.mT
        if means and M.shape[-1] <= MOST_WIDE and are_kept(K, notices):
            measurement.means[layer, stage] = M


def of_weight(
    measurement: Measurement,
    W: Tensor,
    layer: str,
    num_classes: int,
    of_matrices: Mapping[str, MatrixMeasure],
    asked: Sequence[str],
    notices: Notices,
    classes: Tensor | None = None,
) -> None:
    """The measures of one layer's weight (R, d_out, d_in), under ("", layer, "weight", name).

    Those asked for by name are of a classifier's rows, or of those of `classes`, whose number is then K of the tail.
    """
    s, k = of_weight_matrix(W, layer, notices), num_classes if classes is None else len(classes)
    key = ("", layer, "weight")
    measurement.spectra[layer, "weight"] = s
    measurement.values[*key, "norm"] = s.square().sum(-1).sqrt()
    measurement.values[*key, "tail"] = value_or_nan(
        "tail", lambda s: core.relative_tail(s=s, k=k), s, s.shape[:-1], notices, f"{layer} weight"
    )
    _of_matrix(measurement, key, W, s, of_matrices, notices)
    if has_class_rows(W, num_classes):
        rows = W if classes is None else W.index_select(-2, classes.to(W.device))
        _add(measurement, key, rows, {name: OF_ROWS[name] for name in asked if name in OF_ROWS}, notices)


def with_replica_axis(x: Tensor, axes: int) -> Tensor:
    """x in float64 with a leading replica axis; `axes` is the number of axes that one network's value has."""
    x = x.detach().double()
    return x.unsqueeze(0) if x.ndim == axes else x


def _of_matrix(
    measurement: Measurement,
    key: tuple[str, str, str],
    M: Tensor,
    s: Tensor,
    of_matrices: Mapping[str, MatrixMeasure],
    notices: Notices,
) -> None:
    """The measures of a matrix M (R, d, d') with singular values s, which are NaN where a replica has diverged."""
    at = f"{key[1]} {key[2]}"
    for name, of_values in OF_SINGULAR_VALUES.items():
        value = value_or_nan(name, of_values, s, s.shape[:-1], notices, at).double()
        measurement.values[*key, name] = value.masked_fill(s[..., 0].isnan(), torch.nan)
    _add(measurement, key, M, of_matrices, notices)


def _add(
    measurement: Measurement,
    key: tuple[str, str, str],
    M: Tensor,
    measures: Mapping[str, MatrixMeasure],
    notices: Notices,
) -> None:
    """The further measures of a matrix M (R, d, d'), each of a copy: one that works in place changes no weight."""
    for name, measure in measures.items():
        value = value_or_nan(name, measure, M.clone(), M.shape[:-2], notices, f"{key[1]} {key[2]}")
        measurement.values[*key, name] = with_replica_axis(value, 0)
