"""Gradients of the full objective for a stack of networks, by hand, into fixed buffers.

With fit 1/(2N) ||f - Y||^2 (mse) or -1/N sum_i log softmax(f_i)_{c_i} (ce) and penalty lam/2 ||.||^2 per matrix:

    D_L = (f - Y)/N or (softmax(f) - Y)/N,   G_{W_l} = D_l^T H_l + lam_l W_l,
    D_{l-1} = (D_l W_l) * 1[Z_{l-1} > 0],     G_{H_1} = D_1 W_1 + lam_H H_1          (relu'(0) = 0, as autograd).

Autograd on networks of width 20 spends its time in bookkeeping; this is the same arithmetic without it.
"""

import torch
from torch import Tensor

from ncbench.models.replica.dufm import DUFM

__all__ = ["FullBatchGradient"]


class FullBatchGradient:
    """Writes the gradients of a DUFM stack into `parameter.grad`; buffers are made once and reused.

    `labels` (N,) are the classes of the samples; `weight_decays` (R, L) and `feature_decays` (R,) may differ
    between replicas. Calling it costs 3 L - 1 batched products and nothing that depends on earlier calls.
    """

    def __init__(
        self, model: DUFM, labels: Tensor, *, loss: str, weight_decays: Tensor, feature_decays: Tensor
    ) -> None:
        if loss not in ("mse", "ce"):
            raise ValueError(f"objective.loss={loss}: must be mse or ce")
        self.loss, self.relu = loss, model.activation == "relu"
        self.features, self.weights = model.features.value, model.weights
        like = self.features
        self.targets = torch.nn.functional.one_hot(labels, model.num_classes).to(like)
        R, N = like.shape[:2]
        self.N = N
        self.weight_decays = [weight_decays[:, l].to(like).reshape(R, 1, 1) for l in range(model.depth)]
        self.feature_decays = feature_decays.to(like).reshape(R, 1, 1)
        for parameter in (self.features, *self.weights):
            parameter.grad = torch.zeros_like(parameter)
        # Z[l] = W_l H_l and, for every layer but the last, its rectified copy H[l + 1]; D[l] is their gradient.
        self.Z = [like.new_empty(R, N, W.shape[1]) for W in self.weights]
        self.H = [torch.empty_like(Z) if self.relu else Z for Z in self.Z[:-1]]
        self.D = [torch.empty_like(Z) for Z in self.Z]

    @torch.no_grad()
    def __call__(self) -> None:
        H = [self.features, *self.H]
        last = len(self.weights) - 1
        for l, W in enumerate(self.weights):
            torch.bmm(H[l], W.transpose(1, 2), out=self.Z[l])
            if self.relu and l < last:
                torch.clamp_min(self.Z[l], 0, out=self.H[l])
        D = self.D[last]
        if self.loss == "ce":
            torch.softmax(self.Z[last], dim=-1, out=D)
            D.sub_(self.targets)
        else:
            torch.sub(self.Z[last], self.targets, out=D)
        D.div_(self.N)
        for l in range(last, -1, -1):
            W, D = self.weights[l], self.D[l]
            _gradient(W, torch.bmm(D.transpose(1, 2), H[l], out=W.grad), self.weight_decays[l])
            if l == 0:
                _gradient(self.features, torch.bmm(D, W, out=self.features.grad), self.feature_decays)
            else:
                torch.bmm(D, W, out=self.D[l - 1])
                if self.relu:
                    self.D[l - 1].mul_(self.Z[l - 1] > 0)


def _gradient(parameter: Tensor, fit: Tensor, decay: Tensor) -> None:
    fit.addcmul_(parameter, decay)
