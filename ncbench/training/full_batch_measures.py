"""What an ensemble with free features measures besides its class moments, on it or on a copy of it."""

import copy
from functools import partial

import torch
from torch import Tensor

from ncbench.measure import Measurement
from ncbench.models.replica import DUFM
from ncbench.models.replica.optim.dufm_gradient import FitGradient
from ncbench.training.hessian_measures import hessian_measures
from ncbench.training.objectives import Decayed, PaperObjective

__all__ = ["FullBatchMeasures"]


class FullBatchMeasures:
    """The objective of R networks and what it says of them: `weight_decays` (R, L) and `feature_decays` (R,).

    `hessian_at` is the step at which the curvature is measured; None: never. ValueError for another loss than mse, ce.
    """

    def __init__(
        self,
        network: DUFM,
        labels: Tensor,
        *,
        loss: str,
        weight_decays: Tensor,
        feature_decays: Tensor,
        hessian_at: int | None,
    ) -> None:
        self.network, self.labels, self.loss, self.hessian_at = network, labels, loss, hessian_at
        self.weight_decays, self.feature_decays = weight_decays, feature_decays
        decayed = [
            Decayed(f"head.{l}.linear.weight", W, weight_decays[:, l - 1]) for l, W in enumerate(network.weights, 1)
        ]
        self.objective = PaperObjective(loss, decayed, feature_decays, len(labels))

    def copy(self) -> "FullBatchMeasures":
        """The same of a copy of the network."""
        return FullBatchMeasures(
            copy.deepcopy(self.network),
            self.labels,
            loss=self.loss,
            weight_decays=self.weight_decays,
            feature_decays=self.feature_decays,
            hessian_at=self.hessian_at,
        )

    @torch.no_grad()
    def take_over(self, network: DUFM) -> None:
        """Copy the parameters of a network like this one's, as they are now."""
        for x, y in zip(self.network.parameters(), network.parameters(), strict=True):
            x.copy_(y)

    def further(self, step: int) -> Measurement:
        """grad_max: the largest entry of |gradient of the objective|; at `hessian_at` the curvature, too."""
        values = {"grad_max": self.largest_gradients().cpu()}
        if step == self.hessian_at:
            losses = partial(self.objective.sample_losses, labels=self._labels_beside_network())
            decays = self.feature_decays, self.weight_decays
            values |= hessian_measures(self.network, losses, *decays, values["grad_max"])
        return Measurement(values={("train", "", "", name): value for name, value in values.items()})

    def largest_gradients(self) -> Tensor:
        """(R,) in float64, also where training is in float32."""
        network, labels = self.network, self._labels_beside_network()
        parameters = [parameter.detach().double() for parameter in (network.features.value, *network.weights)]
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        fit = FitGradient(parameters, labels, loss=self.loss, relu=network.activation == "relu")
        fit.add_to(gradients, keep=0.0)
        for gradient, parameter, decay in zip(
            gradients, parameters, (self.feature_decays, *self.weight_decays.unbind(1)), strict=True
        ):
            gradient.addcmul_(parameter, decay.to(parameter).reshape(-1, 1, 1))
        return torch.stack([gradient.abs().amax((1, 2)) for gradient in gradients]).amax(0)

    def _labels_beside_network(self) -> Tensor:
        """On the device to which the trainer may have moved the network."""
        return self.labels.to(self.network.features.value.device)
