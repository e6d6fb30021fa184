"""What one pass over a split adds up: class moments of every layer, the objective's terms, correct answers."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ncbench import core
from ncbench.measure.batches import Unpack, call, logits, unpacked
from ncbench.measure.distributed import ProcessGroup, Shard
from ncbench.measure.hooks import LayerHooks, first_tensor
from ncbench.measure.measures import Measurement, say_once, stack
from ncbench.measure.reductions import check_output, class_moments
from ncbench.measure.second_pass import SECOND_PASSES, SecondPass

__all__ = ["FirstPass", "Objective"]

_log = logging.getLogger(__name__)
_uncalled: set[str] = set()

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
    """The accumulators of one split. `asked` are the names of the layers to measure, of those tapped."""

    def __init__(
        self, hooks: LayerHooks, asked: set[str], num_classes: int, objective: Objective | None, group: ProcessGroup
    ) -> None:
        self.hooks, self.asked, self.num_classes = hooks, asked, num_classes
        self.objective, self.group = objective, group
        self.moments: dict[Key, core.ClassMoments] = {}
        self.dtypes: dict[Key, torch.dtype] = {}
        self.count = 0
        self.fit: Tensor | float = 0.0
        self.penalty: Tensor | float = 0.0
        self.correct: Tensor | None = None

    def run(self, loader: Iterable[Any], unpack: Unpack | None, sharded: bool) -> None:
        """The first pass; afterwards the sums are those of all ranks."""
        shard = Shard(loader, self.group, sharded)
        labels = torch.empty(0)

        def sink(layer: str, stage: str, x: Tensor) -> None:
            check_output(layer, stage, x, len(labels), self.hooks.stacked)
            if self.objective is not None and layer == self.objective.feature_layer and stage == "post":
                self.penalty = self.penalty + self.objective.feature_penalty(self._vectors(x).double())
            if layer in self.asked or layer.rsplit("@", 1)[0] in self.asked:
                self._add(layer, stage, x, labels)

        def run() -> None:
            nonlocal labels
            for inputs, of_batch in unpacked(shard.loader, self.hooks.model, unpack, shard.skip):
                labels = of_batch
                if self.count == 0:
                    with self.hooks.noticing():
                        outputs = call(self.hooks.model, inputs)
                else:
                    outputs = call(self.hooks.model, inputs)
                self._add_outputs(outputs, labels)

        with self.hooks.open(sink):
            self.group.together(run)
        device = next((p.device for p in self.hooks.model.parameters()), labels.device)
        self.moments = self.group.merge(self.moments, self.num_classes, device)
        self.dtypes = {key: dtype for of_rank in self.group.gathered(self.dtypes) for key, dtype in of_rank.items()}
        total = self.group.sums(
            {"count": self.count, "fit": self.fit, "penalty": self.penalty, "correct": self.correct}
        )
        self.count, self.fit, self.penalty, self.correct = (
            total[name] for name in ("count", "fit", "penalty", "correct")
        )
        shard.check(self.count)
        if self.count == 0:
            raise ValueError("the loader gave no batch: there is nothing to measure")
        self._check_labels()
        self._say_uncalled()

    def again(
        self, loader: Iterable[Any], unpack: Unpack | None, sharded: bool, names: Iterable[str]
    ) -> Mapping[Key, Mapping[str, Tensor]]:
        """The second pass, for the measures of those names: their values for every layer and stage."""
        shard = Shard(loader, self.group, sharded)
        passes: dict[Key, dict[str, SecondPass]] = {}
        for key, moments in self.moments.items():
            passes[key] = {}
            for name in names:
                try:
                    passes[key][name] = SECOND_PASSES[name](moments)
                except Exception as error:
                    say_once(name, error)
        labels = torch.empty(0)

        def sink(layer: str, stage: str, x: Tensor) -> None:
            for second in passes.get((layer, stage), {}).values():
                second.add(self._vectors(x), labels)

        def run() -> None:
            nonlocal labels
            for inputs, of_batch in unpacked(shard.loader, self.hooks.model, unpack, shard.skip):
                labels = of_batch
                call(self.hooks.model, inputs)

        with self.hooks.open(sink):
            self.group.together(run)
        for of_layer in passes.values():
            for second in of_layer.values():
                second.sums = self.group.total(second.sums)
        return {
            key: {name: value for second in of_layer.values() for name, value in second.values().items()}
            for key, of_layer in passes.items()
        }

    def summarise(self, found: Measurement, split: str, full_objective: bool) -> None:
        """Accuracy and the objective's terms as values of the whole network, layer ''."""
        if self.correct is not None:
            found.values[split, "", "", "accuracy"] = stack(self.correct / self.count, 0)
        if self.objective is None:
            return
        fit = torch.as_tensor(self.fit / self.count).cpu()
        found.values[split, "", "", "fit"] = stack(fit, 0)
        if full_objective:  # on a subset the sum over all samples is estimated from those measured
            scale = self.objective.feature_samples() / self.count
            penalty = torch.as_tensor(self.penalty * scale).cpu()
            regulariser = self.objective.parameter_penalty().cpu() + penalty
            found.values[split, "", "", "regulariser"] = stack(regulariser, 0)
            found.values[split, "", "", "loss"] = stack(fit + regulariser, 0)

    def _check_labels(self) -> None:
        for moments in list(self.moments.values())[:1]:
            low, high = moments.label_range.tolist()
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"num_classes={self.num_classes}: labels must lie in [0, {self.num_classes - 1}], the data has "
                    f"labels in [{low}, {high}]"
                )

    def _say_uncalled(self) -> None:
        for layer in self.asked - {name for name, _ in self.moments} - _uncalled:
            _uncalled.add(layer)
            _log.warning("layer %s is not called in the forward pass: it has no features to measure", layer)

    def _add(self, layer: str, stage: str, x: Tensor, labels: Tensor) -> None:
        vectors = x.ndim == 2 or self.hooks.stacked
        moments_of = core.ClassMoments.from_batch if vectors else class_moments
        batch = moments_of(x, labels, self.num_classes)
        known = self.moments.get((layer, stage))
        self.moments[layer, stage] = batch if known is None else known.merge(batch)
        self.dtypes[layer, stage] = x.dtype

    def _vectors(self, x: Tensor) -> Tensor:
        """(N, D) of a map; what is (N, D), or (R, N, D), as it is."""
        return x if x.ndim == 2 or self.hooks.stacked else x.flatten(1)

    def _add_outputs(self, outputs: Any, labels: Tensor) -> None:
        self.count += len(labels)
        found = logits(outputs, len(labels), self.num_classes)
        if found is not None:
            correct = (found.argmax(-1) == labels).sum(-1).double()
            self.correct = correct if self.correct is None else self.correct + correct
        compared = first_tensor(outputs) if found is None else found  # an autoencoder's outputs are no logits
        if self.objective is not None and compared is not None:
            self.fit = self.fit + self.objective.sample_losses(compared.double(), labels).sum(-1)
