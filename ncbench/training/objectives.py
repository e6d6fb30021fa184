"""The functions that are minimised, as the papers write them.

    fit          1/(2N) sum_i ||f(x_i) - e_{y_i}||^2   (mse)      arXiv 2405.14468, equation 1
                 1/N sum_i -log softmax(f(x_i))_{y_i}  (ce)       arXiv 2410.23169, Section 2
                 1/N sum_i ||f(x_i) - y_i||^2          (squared)  arXiv 2402.03991, equation 3
    regulariser  sum_p lam_p ||p||^2 with squared; with mse and ce
                 sum_p lam_p/2 ||p||^2 + lam_H/2 sum_i ||h_i||^2,  h_i the output of the backbone, i over ALL samples

`standard` decays every parameter (biases and normalisation too) and no features; `dufm_like` decays the head's
matrices and the features, so that backbone plus head has the objective of the deep unconstrained features model. Of a
whole network the head is its classifier, L = 1: its matrix and its inputs are decayed. It must have no bias, which the
model does not have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ncbench.measure.layers import INPUT

__all__ = ["Decayed", "PaperObjective", "SquaredObjective", "decayed_parameters", "named_parameters_of"]


@dataclass(frozen=True)
class Decayed:
    """A parameter and its decay: a number, or one per replica (R,)."""

    name: str
    parameter: nn.Parameter
    decay: float | Tensor


class PaperObjective:
    """Fit and regulariser of one network or an ensemble; the `Objective` that `ncbench.measure` asks for its terms.

    `num_samples` is N, the number of training samples that the feature term sums over; `feature_decay` a number, one
    per replica (R,), or None for no feature term; the features are the inputs of `classifier`, or the layer `features`.

    ValueError for another loss than mse and ce.
    """

    def __init__(
        self,
        loss: str,
        decayed: Sequence[Decayed],
        feature_decay: float | Tensor | None,
        num_samples: int,
        classifier: str | None = None,
    ) -> None:
        if loss not in ("mse", "ce"):
            raise ValueError(f"loss={loss} must be mse or ce")
        self.loss, self.decayed, self.feature_decay = loss, list(decayed), feature_decay
        self.num_samples = num_samples
        of_network = "features" if classifier is None else classifier + INPUT
        self.feature_layer = None if feature_decay is None else of_network

    def sample_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(..., N, K), (N,) -> (..., N): 1/2 ||f - e_y||^2 or -log softmax(f)_y."""
        if self.loss == "ce":
            index = labels.expand(outputs.shape[:-1]).unsqueeze(-1)
            return -outputs.log_softmax(-1).gather(-1, index).squeeze(-1)
        targets = nn.functional.one_hot(labels, outputs.shape[-1]).to(outputs)
        return (outputs - targets).square().sum(-1) / 2

    def feature_penalty(self, features: Tensor) -> Tensor:
        """(..., n, d) -> (...): lam_H/2 sum_i ||h_i||^2 over the samples given."""
        if self.feature_decay is None:
            return features.new_zeros(features.shape[:-2])
        decay = self.feature_decay
        if isinstance(decay, Tensor):  # a number stays one: as a tensor it would be sent to the device, which waits
            decay = decay.to(features)
        return decay / 2 * features.square().sum((-2, -1))

    def batch_estimate(self, outputs: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Unbiased estimate of fit plus feature term from a batch of b samples: the latter is scaled by N/b."""
        scale = self.num_samples / len(labels)
        return self.sample_losses(outputs, labels).mean() + scale * self.feature_penalty(features)

    def parameter_penalty(self) -> Tensor:
        """sum_p lam_p/2 ||p||^2 in float64, () or (R,)."""
        total = torch.zeros((), dtype=torch.float64)
        for entry in self.decayed:
            squares = _squares(entry.parameter)
            if isinstance(entry.decay, Tensor):
                total = total + (entry.decay.double().to(squares.device) / 2 * squares.flatten(1).sum(1)).cpu()
            else:
                total = total + entry.decay / 2 * squares.sum().cpu()
        return total

    def feature_samples(self) -> int:
        """N."""
        return self.num_samples


class SquaredObjective:
    """1/N sum_i ||f(x_i) - y_i||^2 + sum_p lam_p ||p||^2 of an ensemble (no halves), for `ncbench.measure`.

    `targets` (R or 1, N, c) are those of all samples in their order: it is evaluated on the full batch only.
    """

    loss = "squared"
    feature_decay = feature_layer = None

    def __init__(self, decayed: Sequence[Decayed], targets: Tensor) -> None:
        self.decayed, self.targets, self.num_samples = list(decayed), targets, targets.shape[1]

    def sample_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(R, N, c) -> (R, N): ||f - y||^2 in float64."""
        return (outputs.double() - self.targets.to(outputs.device, torch.float64)).square().sum(-1)

    def feature_penalty(self, features: Tensor) -> Tensor:
        """0: the inputs are not decayed."""
        return features.new_zeros(features.shape[:-2])

    def parameter_penalty(self) -> Tensor:
        """sum_p lam_p ||p||^2 in float64, (R,)."""
        parts = [
            torch.as_tensor(entry.decay, dtype=torch.float64).cpu() * _squares(entry.parameter).flatten(1).sum(1).cpu()
            for entry in self.decayed
        ]
        return torch.stack(parts).sum(0)

    def feature_samples(self) -> int:
        """N."""
        return self.num_samples


def decayed_parameters(
    network: nn.Module,
    regulariser: str,
    weight_decay: float | Sequence[float],
    *,
    classifier: str | None = None,
    whole: bool = False,
) -> tuple[list[Decayed], list[tuple[str, nn.Parameter]]]:
    """The decayed and the free parameters of a network with submodules `features` and `head`, or of a whole network.

    dufm_like: the matrices of the head, one decay for all or one per matrix, or that of the `classifier`; standard:
    every parameter. What needs no gradient is not trained, and is in neither list. Raises ValueError for another
    regulariser, for decays that do not fit it, and with dufm_like for a whole network whose classifier is not known or
    has a bias.
    """
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if regulariser == "standard":
        if isinstance(weight_decay, Sequence):
            raise ValueError(
                f"weight_decay={list(weight_decay)} must be one number, as the standard regulariser decays every "
                "parameter alike"
            )
        return [Decayed(name, parameter, float(weight_decay)) for name, parameter in trained], []
    if regulariser != "dufm_like":
        raise ValueError(f"regulariser={regulariser} must be dufm_like or standard")
    head = named_parameters_of(network, _without_bias(network, classifier) if whole else "head")
    held = {parameter for _, parameter in head}
    free = [(name, parameter) for name, parameter in trained if parameter not in held]
    decays = zip(head, per_matrix(weight_decay, len(head)), strict=True)
    return [Decayed(name, matrix, decay) for (name, matrix), decay in decays if matrix.requires_grad], free


def _squares(parameter: nn.Parameter) -> Tensor:
    """Of every entry in float64, of a complex one those of its two parts, on an axis of their own."""
    x = parameter.detach()
    return (torch.view_as_real(x) if x.is_complex() else x).double().square()


def named_parameters_of(network: nn.Module, name: str) -> list[tuple[str, nn.Parameter]]:
    """The parameters of the module of that name, under it: one that is shared may have another name in the network."""
    inside = network.get_submodule(name).named_parameters()
    return [(f"{name}.{inner}", parameter) for inner, parameter in inside]


def _without_bias(network: nn.Module, classifier: str | None) -> str:
    """The classifier's name; ValueError unless it is a linear layer without bias."""
    why = "is not known" if classifier is None else ""
    if classifier is not None:
        module = network.get_submodule(classifier)
        why = "has a bias" if getattr(module, "bias", None) is not None else why
        if isinstance(module, nn.Linear) and "weight" not in dict(module.named_parameters(recurse=False)):
            why = "makes its weight of other parameters (a parametrization), on which a decay acts otherwise"
        why = why if isinstance(module, nn.Linear) else "is no linear layer"
    if why or classifier is None:
        raise ValueError(
            f"regulariser=dufm_like: the classifier {classifier or ''} {why}, and the unconstrained features model has "
            "one matrix without bias there; use objective=standard"
        )
    return classifier


def per_matrix(weight_decay: float | Iterable[float], depth: int) -> list[float]:
    """One decay per weight matrix, from one number or as many; ValueError for another number of them."""
    decays = [float(weight_decay)] * depth if isinstance(weight_decay, (int, float)) else [*map(float, weight_decay)]
    if len(decays) != depth:
        raise ValueError(f"weight_decay={decays} must be one number, or one for each weight matrix ({depth})")
    return decays
