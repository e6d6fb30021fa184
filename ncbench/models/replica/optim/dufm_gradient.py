"""Gradients of the full objective for an ensemble of networks, by hand, into fixed buffers.

With fit 1/(2N) ||f - Y||^2 (mse) or -1/N sum_i log softmax(f_i)_{c_i} (ce) and penalty lam/2 ||.||^2 per matrix:

    D_L = (f - Y)/N or (softmax(f) - Y)/N,   G_{W_l} = D_l^T H_l + lam_l W_l,
    D_{l-1} = (D_l W_l) * 1[H_l > 0],         G_{H_1} = D_1 W_1 + lam_H H_1          (relu'(0) = 0, as autograd).

Autograd on networks of width 20 spends its time in bookkeeping; this is the same arithmetic without it.
"""

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor

from ncbench.models.replica.dufm import DUFM

__all__ = ["FitGradient", "FullBatchGradient", "padded_shapes", "samples_as_columns"]

ALIGNED = 4  # entries: 16 bytes in float32
LANES = 16  # of float32
_threshold_backward = torch.ops.aten.threshold_backward.grad_input  # in place, without a mask


class FitGradient:
    """Adds the gradient of the fit to given tensors: G <- keep G + d fit / d parameter, for H_1, W_1 ... W_L.

    `parameters` are H_1 (R, N, d_1), or with `columns` (R, d_1, N), and W_l (R, d_{l+1}, d_l), contiguous, read where
    they lie at every call; `labels` are the classes of the samples, the first of H_1: those beyond them count for
    nothing. Buffers are made once. Scaling by `keep` inside the products saves the pass over the momentum that a
    separate gradient would cost.

    Three layouts are on purpose. `columns` keeps all H_l as the papers write them, which is up to a fifth faster on
    the CPU where N fills vector registers better than the width does. The outputs always are (R, K, N): a product with
    K = 10 columns runs at half the rate of one with K rows. The rectified H_l replace the Z_l: 1[H_l > 0] = 1[Z_l > 0].

    ValueError for another loss than mse and ce.
    """

    def __init__(
        self, parameters: Sequence[Tensor], labels: Tensor, *, loss: str, relu: bool, columns: bool = False
    ) -> None:
        if loss not in ("mse", "ce"):
            raise ValueError(f"loss={loss} must be mse or ce")
        features, *W = parameters
        # H_1 is the parameter itself, the others are buffers; Y and 1/N are zero for samples beyond the labels.
        R, N, K = len(features), features.shape[2 if columns else 1], W[-1].shape[1]
        self.mse, self.relu, self.last = loss == "mse", relu, len(W) - 1
        self.H = [
            features,
            *(features.new_empty((R, V.shape[1], N) if columns else (R, N, V.shape[1])) for V in W[:-1]),
        ]
        self.Y, self.scale = features.new_zeros(K, N), features.new_zeros(N)
        self.Y[:, : len(labels)] = torch.nn.functional.one_hot(labels, K).to(features).T
        self.scale[: len(labels)] = 1 / len(labels)
        # D_L = f/N - Y/N in one call (mse): the shift is added to the product W_L H_L, scaled by the factor.
        self.shift, self.factor = -self.Y * self.scale, 1 / len(labels)
        # The gradients of Z_{l+1} and Z_l are needed together, those of the layers above no more: two buffers do.
        self.D_L = features.new_empty(R, K, N)
        scratch = [features.new_empty(max((H.numel() for H in self.H[1:]), default=0)) for _ in range(2)]
        self.D = [scratch[l % 2][: H.numel()].view_as(H) for l, H in enumerate(self.H[1:])]
        # The factors of every product, transposed once: a view costs a microsecond of Python, and ten of them per step
        # would be felt. `H` and `D` here have samples as columns; where they do not lie so, (A B)^T = B^T A^T is taken.
        H, D = ([x if columns else x.mT for x in xs] for xs in (self.H, self.D))
        D.append(self.D_L)
        self.outwards = [(V, h) if columns else (h.mT, V.mT) for V, h in zip(W, H, strict=True)]
        self.inwards = [(V.mT, d) if columns else (d.mT, V) for V, d in zip(W, D, strict=True)]
        self.weights = [(d, h.mT) for d, h in zip(D, H, strict=True)]
        self.output = W[-1], H[-1]

    @torch.no_grad()
    def add_to(self, into: Sequence[Tensor], keep: float) -> None:
        """into[l] <- keep * into[l] + gradient, for the parameters in their order; keep = 0 ignores what was there."""
        # Forward: H_{l+1} = s(W_l H_l); the outputs are not needed by themselves, D_L is made of them at once.
        for l in range(self.last):
            Z = torch.bmm(*self.outwards[l], out=self.H[l + 1])
            if self.relu:
                Z.clamp_min_(0.0)
        self._output_gradient()
        # Backward: G_{W_l} = D_l^T H_l, then D_{l-1} = (D_l W_l) 1[H_l > 0]; at l = 0 that is the gradient of H_1.
        for l in range(self.last, -1, -1):
            into[l + 1].baddbmm_(*self.weights[l], beta=keep)
            if l == 0:
                into[0].baddbmm_(*self.inwards[0], beta=keep)
            else:
                below = torch.bmm(*self.inwards[l], out=self.D[l - 1])
                if self.relu:
                    _threshold_backward(below, self.H[l], 0.0, grad_input=below)

    def _output_gradient(self) -> None:
        """D_L from H_L."""
        if self.mse:
            torch.baddbmm(self.shift, *self.output, alpha=self.factor, out=self.D_L)
        else:
            torch.softmax(torch.bmm(*self.output, out=self.D_L), dim=1, out=self.D_L)
            self.D_L.sub_(self.Y).mul_(self.scale)

    @torch.no_grad()
    def values(self) -> Tensor:
        """The fit (R,) at the parameters of the latest call of `add_to`."""
        f = self.outputs()
        if self.mse:
            return ((f - self.Y).square() * self.scale).sum((1, 2)) / 2
        return ((torch.logsumexp(f, 1) - (f * self.Y).sum(1)) * self.scale).sum(1)

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """f (R, K, N) of the latest call of `add_to`."""
        return torch.bmm(*self.output)


class FullBatchGradient:
    """Writes the gradients of an ensemble of DUFMs into `parameter.grad`, for any torch optimiser.

    `weight_decays` (R, L) and `feature_decays` (R,) may differ between replicas. Calling it costs 3 L - 1 batched
    products and nothing that depends on earlier calls.
    """

    def __init__(
        self, model: DUFM, labels: Tensor, *, loss: str, weight_decays: Tensor, feature_decays: Tensor
    ) -> None:
        self.parameters = [model.features.value, *model.weights]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.grads = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.fit = FitGradient(
            [parameter.detach() for parameter in self.parameters], labels, loss=loss, relu=model.activation == "relu"
        )
        like = model.features.value
        self.decays = [d.to(like).reshape(-1, 1, 1) for d in (feature_decays, *weight_decays.unbind(1))]

    @torch.no_grad()
    def __call__(self) -> None:
        self.fit.add_to(self.grads, keep=0.0)
        for grad, parameter, decay in zip(self.grads, self.parameters, self.decays, strict=True):
            grad.addcmul_(parameter, decay)


def samples_as_columns(features: Tensor) -> bool:
    """Whether the samples of H_1 (R, N, d) fill vector registers better than its entries do."""
    return _filled(features.shape[1]) > _filled(features.shape[2])


def padded_shapes(parameters: Sequence[Tensor], columns: bool) -> list[tuple[int, int]]:
    """Shapes of one replica's H_1, W_1 ... W_L: widths multiples of `ALIGNED`, and so K x N, by more samples."""
    (_, N, _), (_, K, _) = parameters[0].shape, parameters[-1].shape
    widths = [-(-W.shape[2] // ALIGNED) * ALIGNED for W in parameters[1:]]
    step = ALIGNED // gcd(K, ALIGNED)
    features = (-(-N // step) * step, widths[0])
    return [features[::-1] if columns else features, *zip([*widths[1:], K], widths, strict=True)]


def _filled(entries: int) -> float:
    """The share of the lanes that a row of so many entries fills in the 512-bit registers that it takes."""
    return entries / (-(-entries // LANES) * LANES)
