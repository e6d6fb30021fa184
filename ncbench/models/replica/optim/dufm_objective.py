"""Value and gradient of the objective of an ensemble of free-features models, by hand, on flat parameters.

    F = fit + lam_H/2 ||H_1||_F^2 + sum_l lam_l/2 ||W_l||_F^2                   (arXiv 2405.14468 and 2410.23169)

with the fits of `dufm_gradient`: 1/(2N) ||f - Y||^2 (mse) or -1/N sum_i log softmax(f_i)_{c_i} (ce).
"""

import torch
from torch import Tensor

from ncbench.models.replica.dufm import DUFM
from ncbench.models.replica.optim.dufm_gradient import FitGradient, padded_shapes, samples_as_columns
from ncbench.models.replica.optim.flat_layout import FlatLayout

__all__ = ["DUFMLayout", "DUFMObjective"]


class DUFMLayout(FlatLayout):
    """Where H_1, W_1 ... W_L of a replica lie in its row; layer 0 are the features. Widths are padded with zeros."""

    def __init__(self, network: DUFM) -> None:
        parameters = [network.features.value, *network.weights]
        # Samples lie along the rows or the columns of H_1, whichever fills vector registers better.
        self.columns = samples_as_columns(network.features.value)
        super().__init__(padded_shapes(parameters, self.columns), range(len(parameters)), parameters[0])

    def tensors(self, network: DUFM) -> list[Tensor]:
        """H_1, with samples as its columns or rows, and the weights."""
        features = network.features.value
        return [features.mT if self.columns else features, *network.weights]


class DUFMObjective:
    """F and its gradient for the replicas `index` of an ensemble, as a function of their flat parameters (r, P).

    `labels` (N,) are the classes of the samples; `decays` (R, L + 1) are lam_H, lam_1 ... lam_L of all replicas.
    Buffers are made once; what pads the matrices has gradient zero.
    """

    def __init__(
        self, network: DUFM, layout: DUFMLayout, labels: Tensor, decays: Tensor, loss: str, index: Tensor
    ) -> None:
        like = network.features.value.detach()
        self.layout = layout
        self.x = like.new_zeros(len(index), layout.size)
        matrices = [block.of(self.x) for block in layout.blocks]
        relu = network.activation == "relu"
        self.fit = FitGradient(matrices, labels, loss=loss, relu=relu, columns=layout.columns)
        # The decay at every entry, so that the penalty's gradient is one product of flat vectors.
        self.decay = layout.per_entry(decays.to(like)[index])
        self.decayed = torch.empty_like(self.decay)

    @torch.no_grad()
    def __call__(self, flat: Tensor, gradient: Tensor) -> Tensor:
        """F (r,) at `flat`; its gradient is written into `gradient` (r, P)."""
        self.x.copy_(flat)
        self.fit.add_to([block.of(gradient) for block in self.layout.blocks], keep=0.0)
        decayed = torch.mul(self.decay, flat, out=self.decayed)
        gradient.add_(decayed)
        total: Tensor = self.fit.values() + torch.linalg.vecdot(decayed, flat) / 2
        return total
