"""One pass over data: moments of every tapped layer, the objective's terms, and from them all measures.

The measures (their names are public):

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
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ncbench import core
from ncbench.measure.taps import Taps, evaluation

__all__ = ["Measurement", "Objective", "measure_once"]

_log = logging.getLogger(__name__)

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


class Objective(Protocol):
    """What a LightningModule tells the pass about the function it minimises; all sums keep leading replica axes."""

    feature_layer: str | None

    def sample_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The fit's summand of every sample, (..., N): the fit is their mean."""

    def feature_penalty(self, features: Tensor) -> Tensor:
        """Sum over these samples of the penalty on their features, (...,)."""

    def parameter_penalty(self) -> Tensor:
        """The penalty on the parameters, (...,)."""

    def feature_samples(self) -> int:
        """How many samples the objective sums the feature penalty over."""


@dataclass
class Measurement:
    """What one call found: every tensor has the leading replica axis (R, ...), R = 1 for ordinary networks."""

    values: dict[tuple[str, str, str, str], Tensor] = field(default_factory=dict)  # split, layer, stage, measure
    spectra: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, min(K, d))
    grams: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # layer, stage -> (R, K, K)


def measure_once(
    model: nn.Module,
    loaders: Mapping[str, Iterable[tuple[Tensor, Tensor]]],
    *,
    layers: Sequence[str],
    num_classes: int,
    objective: Objective | None = None,
    moments: Mapping[str, MomentMeasure] | None = None,
    matrices: Mapping[str, MatrixMeasure] | None = None,
    grams: bool = False,
    reduction: str | Callable[[Tensor], Tensor] = "flatten",
) -> Measurement:
    """Measure `model` on every split of `loaders` ({"train": batches of (inputs, labels), ...}), in evaluation mode.

    The first split's class means also give the spectra and Gram matrices. `moments` and `matrices` add measures by
    name. Training is not affected: no random generator is touched and every module's mode is restored. A measure
    that fails is NaN and says so once in the log.
    """
    found = Measurement()
    with torch.random.fork_rng(devices=[]), evaluation(model):  # an ordinary DataLoader draws on every pass
        for position, (split, loader) in enumerate(loaders.items()):
            sums = _Sums(model, layers, num_classes, objective, reduction)
            sums.run(loader)
            sums.summarise(found.values, split, full_objective=position == 0)
            for (layer, stage), of_layer in sums.moments.items():
                _of_features(
                    found,
                    of_layer,
                    (split, layer, stage),
                    moments or {},
                    matrices or {},
                    position == 0,
                    grams,
                )
        for layer, W in Taps(model, layers).weights().items():
            _of_weight(found, _stack(W, 2), layer, num_classes, matrices or {})
    return found


class _Sums:
    """The accumulators of one pass over one split."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        num_classes: int,
        objective: Objective | None,
        reduction: str | Callable[[Tensor], Tensor],
    ) -> None:
        self.model, self.num_classes, self.objective = model, num_classes, objective
        extra = [] if objective is None or objective.feature_layer is None else [objective.feature_layer]
        self.taps = Taps(model, [*layers, *extra], reduction=reduction)
        asked = {layer.name for layer in Taps(model, layers).layers}
        self.asked = asked
        self.moments: dict[tuple[str, str], core.ClassMoments] = {}
        self.count = 0
        self.fit: Tensor | float = 0.0
        self.penalty: Tensor | float = 0.0
        self.correct: Tensor | None = None

    def run(self, loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        labels = torch.empty(0)

        def sink(layer: str, stage: str, x: Tensor) -> None:
            if self.objective is not None and layer == self.objective.feature_layer and stage == "post":
                self.penalty = self.penalty + self.objective.feature_penalty(x.double())
            if layer in self.asked:
                batch = core.ClassMoments.from_batch(x, labels, self.num_classes, scatter="trace")
                known = self.moments.get((layer, stage))
                self.moments[layer, stage] = batch if known is None else known.merge(batch)

        with self.taps.open(sink):
            for inputs, labels in loader:
                self.add(self.model(inputs), labels)

    def add(self, outputs: Any, labels: Tensor) -> None:
        self.count += len(labels)
        if not isinstance(outputs, Tensor) or outputs.shape[-1] != self.num_classes:
            return
        correct = (outputs.argmax(-1) == labels).sum(-1).double()
        self.correct = correct if self.correct is None else self.correct + correct
        if self.objective is not None:
            self.fit = self.fit + self.objective.sample_losses(outputs.double(), labels).sum(-1)

    def summarise(self, values: dict[tuple[str, str, str, str], Tensor], split: str, full_objective: bool) -> None:
        if self.correct is not None:
            values[split, "", "", "accuracy"] = _stack(self.correct / self.count, 0)
        if self.objective is None:
            return
        fit = torch.as_tensor(self.fit / self.count)
        values[split, "", "", "fit"] = _stack(fit, 0)
        if full_objective:  # on a subset the sum over all samples is estimated from those measured
            scale = self.objective.feature_samples() / self.count
            regulariser = self.objective.parameter_penalty() + self.penalty * scale
            values[split, "", "", "regulariser"] = _stack(regulariser, 0)
            values[split, "", "", "loss"] = _stack(fit + regulariser, 0)


def _of_features(
    found: Measurement,
    of_layer: core.ClassMoments,
    key: tuple[str, str, str],
    moments: Mapping[str, MomentMeasure],
    matrices: Mapping[str, MatrixMeasure],
    keep: bool,
    grams: bool,
) -> None:
    _, layer, stage = key
    _guarded(f"{layer}.{stage}", lambda checked: checked.finalise().counts, of_layer)  # says what is wrong, once
    for name, measure in {**OF_MOMENTS, **moments}.items():
        found.values[*key, name] = _stack(_guarded(name, measure, of_layer), 0)
    M = _stack(of_layer.means, 2)
    s = _singular_values(M)
    last = s[..., M.shape[-2] - 1] if s.shape[-1] == M.shape[-2] else torch.zeros_like(s[..., 0])
    found.values[*key, "dnc2"] = s[..., 0] / last
    _of_matrix(found, key, M, s, matrices)
    if keep:
        found.spectra[layer, stage] = s
        if grams:
            found.grams[layer, stage] = M @ M.mT


def _of_weight(
    found: Measurement, W: Tensor, layer: str, num_classes: int, matrices: Mapping[str, MatrixMeasure]
) -> None:
    s = _singular_values(W.double())
    key = ("", layer, "weight")
    found.spectra[layer, "weight"] = s
    found.values[*key, "norm"] = s.square().sum(-1).sqrt()
    found.values[*key, "tail"] = _guarded("tail", lambda s: core.relative_tail(s=s, k=num_classes), s)
    _of_matrix(found, key, W, s, matrices)


def _of_matrix(
    found: Measurement, key: tuple[str, str, str], M: Tensor, s: Tensor, matrices: Mapping[str, MatrixMeasure]
) -> None:
    for name, of_values in OF_SINGULAR_VALUES.items():
        value = _guarded(name, of_values, s).double()
        found.values[*key, name] = value.masked_fill(s[..., 0].isnan(), torch.nan)
    for name, measure in matrices.items():
        found.values[*key, name] = _stack(_guarded(name, measure, M), 0)


def _singular_values(M: Tensor) -> Tensor:
    """Singular values in float64; NaN for the replicas whose matrix is not finite, without disturbing the others."""
    finite = M.isfinite().all(-1).all(-1)
    s = core.singular_values(torch.where(finite[..., None, None], M, 0))
    return s.masked_fill(~finite[..., None], torch.nan)


def _stack(x: Tensor, own: int) -> Tensor:
    """With a leading replica axis: `own` is the number of axes of one network's value."""
    x = x.detach().double()
    return x.unsqueeze(0) if x.ndim == own else x


_failed: set[str] = set()


def _guarded(name: str, measure: Callable[[Any], Tensor], argument: Any) -> Tensor:
    """The measure's value, or NaN with its reason logged once: a run never ends because of a measure."""
    try:
        return measure(argument)
    except Exception as error:
        if name not in _failed:
            _failed.add(name)
            _log.warning("measure %s failed and is NaN from here on: %s", name, error)
        shape = argument.shape[:-1] if isinstance(argument, Tensor) else argument.means.shape[:-2]
        return torch.full(shape, torch.nan, dtype=torch.float64)
