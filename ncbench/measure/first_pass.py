"""What one pass over a split adds up: class moments of every layer, the objective's terms, correct answers."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ncbench import core
from ncbench.measure.activation_watch import warn_of_activations
from ncbench.measure.batches import Unpack, call, logits, unpacked
from ncbench.measure.coverage import check_range, class_counts
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.first_axis import check_first_axis
from ncbench.measure.hooks import LayerHooks, first_tensor
from ncbench.measure.measures import Measurement, with_replica_axis
from ncbench.measure.missing_classes import classes_with_samples, of_classes
from ncbench.measure.notices import Notices
from ncbench.measure.reductions import check_output, class_moments

__all__ = ["FirstPass", "Objective"]

Key = tuple[str, str]


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


class FirstPass:
    """The sums over the samples of one split. `asked` are the names of the layers to measure, of those with hooks.

    With missing_classes="skip" (see `missing_classes`) the moments are those of the `classes` that have samples; else
    `classes` is None.
    """

    def __init__(
        self,
        hooks: LayerHooks,
        asked: set[str],
        num_classes: int,
        objective: Objective | None,
        group: ProcessGroup,
        notices: Notices,
        missing_classes: str = "nan",
    ) -> None:
        self.hooks, self.asked, self.num_classes = hooks, asked, num_classes
        self.missing_classes = missing_classes
        self.classes: Tensor | None = None
        self.position: Tensor | None = None  # of every class among `classes`, -1 of one that has no sample
        self.objective, self.group, self.notices = objective, group, notices
        self.moments: dict[Key, core.ClassMoments] = {}
        self.dtypes: dict[Key, torch.dtype] = {}
        self.count = 0
        self.class_counts = torch.zeros(num_classes, dtype=torch.int64)
        self.fit: Tensor | float = 0.0
        self.penalty: Tensor | float = 0.0
        self.correct: Tensor | None = None
        self.called: set[Key] = set()

    def run(self, loader: Iterable[Any], unpack: Unpack | None, sharded: bool) -> None:
        """Go through the split once; afterwards the sums are those of all processes."""
        shard = Shard(loader, self.group, sharded)
        labels = torch.empty(0)
        looked_at: list[tuple[Any, int]] = []

        def sink(layer: str, stage: str, x: Tensor) -> None:
            check_output(layer, stage, x, len(labels), self.hooks.has_replica_axis)
            if self.objective is not None and layer == self.objective.feature_layer and stage == "post":
                self.penalty = self.penalty + self.objective.feature_penalty(self.vectors(x).double())
            if layer in self.asked or layer.rsplit("@", 1)[0] in self.asked:
                self._add(layer, stage, x, labels)

        def add_batches() -> None:
            nonlocal labels
            for inputs, batch_labels in unpacked(shard.loader, self.hooks.model, unpack, shard.skip):
                labels = batch_labels
                outputs = call(self.hooks.model, inputs)
                if self.count == 0:
                    looked_at.append((inputs, len(labels)))
                self._add_outputs(outputs, labels)

        def check_first_axes() -> None:
            for inputs, samples in looked_at:
                check_first_axis(self.hooks, inputs, samples)

        def warn() -> None:
            for inputs, _ in looked_at:
                warn_of_activations(self.hooks, inputs, self.notices)

        with self.hooks.open(sink):
            self.group.together(add_batches)
        self.group.together(warn)
        if any(self.group.gathered(self.hooks.square)):
            self.group.together(check_first_axes)
        self._merge_processes(labels.device)
        shard.check(self.count, self.notices)
        if self.count == 0:
            raise ValueError("the loader gave no batch, so there is nothing to measure")
        self._check_labels()
        self._warn_of_uncalled_layers()
        self._warn_of_batch_statistics()
        if self.missing_classes == "skip" and self.moments:
            self.classes = classes_with_samples(next(iter(self.moments.values())))
            self.position = self.classes.new_full((self.num_classes,), -1)
            self.position[self.classes] = torch.arange(len(self.classes), device=self.classes.device)
            self.moments = {key: of_classes(moments, self.classes) for key, moments in self.moments.items()}

    def summarise(self, measurement: Measurement, split: str, full_objective: bool) -> None:
        """Accuracy and the objective's terms as values of the whole network, layer ''."""
        key = (split, "", "")
        if self.correct is not None:
            measurement.values[*key, "accuracy"] = with_replica_axis(self.correct / self.count, 0)
        if self.objective is None:
            return
        fit = torch.as_tensor(self.fit / self.count).cpu()
        measurement.values[*key, "fit"] = with_replica_axis(fit, 0)
        if full_objective:  # on a subset the sum over all samples is estimated from those measured
            scale = self.objective.feature_samples() / self.count
            penalty = torch.as_tensor(self.penalty * scale).cpu()
            regulariser = self.objective.parameter_penalty().cpu() + penalty
            measurement.values[*key, "regulariser"] = with_replica_axis(regulariser, 0)
            measurement.values[*key, "loss"] = with_replica_axis(fit + regulariser, 0)

    def _merge_processes(self, labels_device: torch.device) -> None:
        """Replace every sum by that of all processes."""
        device = next((p.device for p in self.hooks.model.parameters()), labels_device)
        self.moments = self.group.merge(self.moments, self.num_classes, device)
        self.dtypes = {key: dtype for dtypes in self.group.gathered(self.dtypes) for key, dtype in dtypes.items()}
        total = self.group.sums(
            {
                "count": self.count,
                "class_counts": self.class_counts,
                "fit": self.fit,
                "penalty": self.penalty,
                "correct": self.correct,
            }
        )
        for name, value in total.items():
            setattr(self, name, value)
        self.called = set().union(*self.group.gathered(self.hooks.called))

    def _check_labels(self) -> None:
        """ValueError for a label out of range; every layer has seen the same labels, so the first one tells."""
        for moments in list(self.moments.values())[:1]:
            check_range(moments.label_range, self.num_classes)

    def _warn_of_uncalled_layers(self) -> None:
        """Of every layer and stage that no forward pass has called, whatever it may have given if it was."""
        for layer in (layer for layer in self.hooks.layers if layer.name in self.asked):
            missing = [stage for stage in layer.stages if (layer.name, stage) not in self.called]
            if missing == layer.stages:
                message = "layer %s is not called in the forward pass, so it has no features to measure"
            elif missing == ["post"]:
                message = "layer %s is not called itself, only what is inside it, so it has no stage post to measure"
            elif missing:
                message = "layer %s uses its weight without calling the module of it, so it has no stage pre to measure"
            else:
                continue
            seen = "; a call of .forward() is not seen" if "post" in missing or missing == layer.stages else ""
            self.notices.warn("uncalled", layer.name, message + seen, layer.name)

    def _warn_of_batch_statistics(self) -> None:
        """Of batch normalisation that keeps no running statistics: every number then is of the batches as they are."""
        for name, module in self.hooks.model.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is None:
                message = (
                    "%s keeps no running statistics, so in evaluation too it normalises by those of each batch, and "
                    "the measures depend on the batches"
                )
                self.notices.warn("batch statistics", "", message, name or type(module).__name__)
                return

    def _add(self, layer: str, stage: str, x: Tensor, labels: Tensor) -> None:
        vectors = x.ndim == 2 or self.hooks.has_replica_axis
        moments_of = core.ClassMoments.from_batch if vectors else class_moments
        batch = moments_of(x, labels, self.num_classes)
        earlier = self.moments.get((layer, stage))
        self.moments[layer, stage] = batch if earlier is None else earlier.merge(batch)
        self.dtypes[layer, stage] = x.dtype

    def vectors(self, x: Tensor) -> Tensor:
        """(N, D) of a map; what is (N, D), or (R, N, D), as it is."""
        return x if x.ndim == 2 or self.hooks.has_replica_axis else x.flatten(1)

    def _add_outputs(self, outputs: Any, labels: Tensor) -> None:
        self.count += len(labels)
        self.class_counts = self.class_counts.to(labels.device) + class_counts(labels, self.num_classes)
        class_scores = logits(outputs, len(labels), self.num_classes)
        if class_scores is not None:
            decided = (class_scores.argmax(-1) == labels).double()
            # Among scores that are NaN argmax takes the first class: no decision, and no accuracy of the network.
            correct = decided.where(~class_scores.isnan().any(-1), torch.nan).sum(-1)
            self.correct = correct if self.correct is None else self.correct + correct
        compared = first_tensor(outputs) if class_scores is None else class_scores  # an autoencoder has no logits
        if self.objective is not None and compared is not None:
            self.fit = self.fit + self.objective.sample_losses(compared.double(), labels).sum(-1)
