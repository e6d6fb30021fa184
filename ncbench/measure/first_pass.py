"""What one pass over a split adds up: class moments of every layer, the objective's terms, correct answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ncbench import core
from ncbench.measure.batches import Unpack, call, logits, unpacked
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.hooks import LayerHooks, first_tensor
from ncbench.measure.measures import Measurement, warn_of_nan, with_replica_axis
from ncbench.measure.notices import Notices
from ncbench.measure.reductions import check_output, class_moments
from ncbench.measure.second_pass import SECOND_PASSES, SecondPass

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
    """The sums over the samples of one split. `asked` are the names of the layers to measure, of those with hooks."""

    def __init__(
        self,
        hooks: LayerHooks,
        asked: set[str],
        num_classes: int,
        objective: Objective | None,
        group: ProcessGroup,
        notices: Notices,
    ) -> None:
        self.hooks, self.asked, self.num_classes = hooks, asked, num_classes
        self.objective, self.group, self.notices = objective, group, notices
        self.moments: dict[Key, core.ClassMoments] = {}
        self.dtypes: dict[Key, torch.dtype] = {}
        self.count = 0
        self.fit: Tensor | float = 0.0
        self.penalty: Tensor | float = 0.0
        self.correct: Tensor | None = None

    def run(self, loader: Iterable[Any], unpack: Unpack | None, sharded: bool) -> None:
        """Go through the split once; afterwards the sums are those of all processes."""
        shard = Shard(loader, self.group, sharded)
        labels = torch.empty(0)

        def sink(layer: str, stage: str, x: Tensor) -> None:
            check_output(layer, stage, x, len(labels), self.hooks.has_replica_axis)
            if self.objective is not None and layer == self.objective.feature_layer and stage == "post":
                self.penalty = self.penalty + self.objective.feature_penalty(self._vectors(x).double())
            if layer in self.asked or layer.rsplit("@", 1)[0] in self.asked:
                self._add(layer, stage, x, labels)

        def add_batches() -> None:
            nonlocal labels
            for inputs, batch_labels in unpacked(shard.loader, self.hooks.model, unpack, shard.skip):
                labels = batch_labels
                if self.count == 0:
                    with self.hooks.watching_activations(self.notices):
                        outputs = call(self.hooks.model, inputs)
                else:
                    outputs = call(self.hooks.model, inputs)
                self._add_outputs(outputs, labels)

        with self.hooks.open(sink):
            self.group.together(add_batches)
        self._merge_processes(labels.device)
        shard.check(self.count)
        if self.count == 0:
            raise ValueError("the loader gave no batch, so there is nothing to measure")
        self._check_labels()
        self._warn_of_uncalled_layers()

    def run_second_pass(
        self,
        loader: Iterable[Any],
        unpack: Unpack | None,
        sharded: bool,
        names: Sequence[str],
        first_split: Mapping[Key, core.ClassMoments],
    ) -> dict[tuple[str, str, str], Tensor]:
        """Go through the split again for the measures of those names: their values by layer, stage and name.

        `first_split` are the moments of the first split, which may be this one. Without names nothing is done.
        """
        if not names:
            return {}
        shard = Shard(loader, self.group, sharded)
        passes: dict[Key, dict[str, SecondPass]] = {}
        for key, moments in self.moments.items():
            passes[key] = {}
            for name in names:
                try:
                    passes[key][name] = SECOND_PASSES[name](moments, first_split[key])
                except Exception as error:
                    warn_of_nan(name, error, self.notices, " ".join(key))
        labels = torch.empty(0)
        every: list[Any] = [second_pass for of_layer in passes.values() for second_pass in of_layer.values()]
        listening = [second_pass for second_pass in every if hasattr(second_pass, "decided")]

        def sink(layer: str, stage: str, x: Tensor) -> None:
            for second_pass in passes.get((layer, stage), {}).values():
                second_pass.add(self._vectors(x), labels)

        def add_batches() -> None:
            nonlocal labels
            for inputs, batch_labels in unpacked(shard.loader, self.hooks.model, unpack, shard.skip):
                labels = batch_labels
                class_scores = logits(call(self.hooks.model, inputs), len(labels), self.num_classes)
                classes = None if class_scores is None else class_scores.argmax(-1)
                for second_pass in listening:
                    second_pass.decided(classes)

        with self.hooks.open(sink):
            self.group.together(add_batches)
        for layer_passes in passes.values():
            for second_pass in layer_passes.values():
                second_pass.sums = self.group.total(second_pass.sums)
        return {
            (*key, name): value
            for key, layer_passes in passes.items()
            for second_pass in layer_passes.values()
            for name, value in second_pass.values().items()
        }

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
            {"count": self.count, "fit": self.fit, "penalty": self.penalty, "correct": self.correct}
        )
        self.count, self.fit, self.penalty, self.correct = (
            total[name] for name in ("count", "fit", "penalty", "correct")
        )

    def _check_labels(self) -> None:
        """ValueError for a label out of range; every layer has seen the same labels, so the first one tells."""
        for moments in list(self.moments.values())[:1]:
            low, high = moments.label_range.tolist()
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"num_classes={self.num_classes} needs labels in [0, {self.num_classes - 1}], but the data has "
                    f"labels in [{low}, {high}]"
                )

    def _warn_of_uncalled_layers(self) -> None:
        called = {name for name, _ in self.moments}
        for layer in sorted(self.asked - called):
            self.notices.warn(
                "uncalled",
                layer,
                "layer %s is not called in the forward pass, so it has no features to measure",
                layer,
            )

    def _add(self, layer: str, stage: str, x: Tensor, labels: Tensor) -> None:
        vectors = x.ndim == 2 or self.hooks.has_replica_axis
        moments_of = core.ClassMoments.from_batch if vectors else class_moments
        batch = moments_of(x, labels, self.num_classes)
        earlier = self.moments.get((layer, stage))
        self.moments[layer, stage] = batch if earlier is None else earlier.merge(batch)
        self.dtypes[layer, stage] = x.dtype

    def _vectors(self, x: Tensor) -> Tensor:
        """(N, D) of a map; what is (N, D), or (R, N, D), as it is."""
        return x if x.ndim == 2 or self.hooks.has_replica_axis else x.flatten(1)

    def _add_outputs(self, outputs: Any, labels: Tensor) -> None:
        self.count += len(labels)
        class_scores = logits(outputs, len(labels), self.num_classes)
        if class_scores is not None:
            correct = (class_scores.argmax(-1) == labels).sum(-1).double()
            self.correct = correct if self.correct is None else self.correct + correct
        compared = first_tensor(outputs) if class_scores is None else class_scores  # an autoencoder has no logits
        if self.objective is not None and compared is not None:
            self.fit = self.fit + self.objective.sample_losses(compared.double(), labels).sum(-1)
