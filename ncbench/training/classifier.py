"""Backbone plus head, or a whole network of anybody's, on images: mini-batch training of the papers' objectives."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from ncbench.measure.hooks import logits_of
from ncbench.training.classifier_input import ClassifierInput, single_at_least
from ncbench.training.objectives import PaperObjective, decayed_parameters, named_parameters_of
from ncbench.training.speed import StepGraph, in_micro_batches
from ncbench.training.step_draws import seed_step

__all__ = ["ClassifierModule"]


class ClassifierModule(pl.LightningModule):
    """Trains a network with submodules `features` and `head` on (x, y) batches, or any whole network that gives logits.

    The latter where `whole` is true; `classifier` is then the name of the linear layer whose inputs are the features
    (without one there are none, and only the standard regulariser is left).

    The parameters' penalty enters as coupled L2 (lam_p p is added to the gradient of p, through the optimiser's
    weight_decay), the features' penalty through the loss, scaled by N/b so that its batch estimate is unbiased.
    `scheduler` is stepped once per epoch; None keeps the rate. Raises ValueError where a decay that the regulariser
    needs is missing, or as `decayed_parameters` does.
    """

    def __init__(
        self,
        *,
        loss: str,
        regulariser: str,
        weight_decay: float | Sequence[float],
        feature_decay: float | None,
        network: nn.Module,
        num_samples: int,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        whole: bool = False,
        classifier: str | None = None,
    ) -> None:
        super().__init__()
        if regulariser == "dufm_like" and feature_decay is None:
            raise ValueError("feature_decay=None must be a number >= 0 for the dufm_like regulariser")
        if regulariser == "standard" and feature_decay is not None:
            raise ValueError(
                f"feature_decay={feature_decay} must be None, as the standard regulariser has no feature term"
            )
        self.network, self.make_optimizer, self.make_scheduler = network, optimizer, scheduler
        decayed, self.free = decayed_parameters(network, regulariser, weight_decay, classifier=classifier, whole=whole)
        self.objective = PaperObjective(loss, decayed, feature_decay, num_samples, classifier=classifier)
        self.whole, self.classifier = whole, classifier
        head = classifier if whole else "head"
        of_head = [] if head is None else named_parameters_of(network, head)
        self.frozen = [name for name, x in of_head if not x.requires_grad]
        self.classifier_input = None if classifier is None else ClassifierInput(network.get_submodule(classifier))

    micro_batch: int | None = None  # samples of a batch whose gradients are made at once; None: all
    step_graph: StepGraph | None = None  # a step as one CUDA graph
    draws_from: int | None = None  # the seed of what the network draws in training; None: the generators are left alone

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs)
        return outputs

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group of the optimiser for each decay that occurs, as its weight decay is a setting of the group."""
        by_decay: dict[float, list[nn.Parameter]] = {}
        for entry in self.objective.decayed:
            assert not isinstance(entry.decay, Tensor)
            by_decay.setdefault(entry.decay, []).append(entry.parameter)
        if self.free:
            by_decay.setdefault(0.0, []).extend(parameter for _, parameter in self.free)
        return [{"params": parameters, "weight_decay": decay} for decay, parameters in by_decay.items()]

    @override
    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameter_groups())
        if self.make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer)}

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed what the network draws in this step (dropout, stochastic depth, noise) from seed, step and process.

        So a run repeats its draws, and a resumed one those of the steps that are left, without a generator's state in
        the checkpoint.
        """
        if self.draws_from is not None:
            seed_step(self.draws_from, self.trainer.global_step, self.trainer.global_rank, self.device)

    @override
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Give a decayed parameter that the batch did not use a gradient of zero.

        Optimisers pass over one without a gradient, and it would not be decayed, although the objective has it.
        """
        for entry in self.objective.decayed:
            if entry.parameter.grad is None:
                entry.parameter.grad = torch.zeros_like(entry.parameter)

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if self.micro_batch is not None and len(batch[1]) > self.micro_batch:
            return in_micro_batches(partial(self.training_step, batch_idx=batch_idx), batch, self.micro_batch, self)
        if self.step_graph is not None:
            return self.step_graph(self._batch_loss, batch, self)
        loss = self._batch_loss(batch)
        if self._trainer is not None and self._trainer.world_size > 1:
            # The processes' gradients are averaged; their shares of the batch may differ by a sample.
            loader: Any = self._trainer.train_dataloader
            loss = loss * loader.share(batch_idx)
        return loss

    def _batch_loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        outputs, features = self._of_whole(inputs) if self.whole else self._of_head(inputs)
        # Under mixed precision the backbone is in bfloat16. The head, whose collapse is measured and which costs next
        # to nothing, is not, nor are sums over samples and widths.
        with torch.autocast(features.device.type, enabled=False):
            return self.objective.batch_estimate(outputs, features, labels)

    def _of_head(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of a backbone with a head."""
        network: Any = self.network
        features = single_at_least(network.features(inputs))
        with torch.autocast(features.device.type, enabled=False):
            return network.head(features), features

    def _of_whole(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of a whole network; the logits for both where no features are decayed and none are seen.

        Raises ValueError where they are decayed and the classifier was not called.
        """
        with nullcontext() if self.classifier_input is None else self.classifier_input.kept() as kept:
            logits = logits_of(self.network(inputs))
            assert logits is not None  # the network was tried when it was made
            outputs = single_at_least(logits)
            features = None if kept is None else kept.features
        if features is None and self.objective.feature_decay is not None:
            raise ValueError(
                f"classifier={self.classifier}: the forward pass does not call it, so its inputs, the features that "
                f"feature_decay={self.objective.feature_decay} is of, cannot be seen"
            )
        # A classifier of every token or place has inputs of more dimensions; a sample's features are all of them.
        return outputs, outputs if features is None else features.flatten(1)
