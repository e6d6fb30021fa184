"""Value and gradient of the regularised squared error of an ensemble of perceptrons, by hand, on flat parameters.

    F(theta) = (1/N) sum_i ||f(x_i) - y_i||^2 + sum_l lam_l (||W_l||_F^2 + ||b_l||^2)       arXiv 2402.03991, equation 3

Written as the paper writes it: no halves, 1/N, and lam of ||.||^2, so that a stationary point has 2 lam_l W_l =
-grad_{W_l}.

The parameters of a replica lie one after another in a row of (R, P) (`flat_layout`), and samples are columns, padded
with columns of weight zero to a multiple of 64 bytes, so that a replica's numbers do not depend on its place either.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ncbench.models.replica.optim.flat_layout import ALIGNED, FlatLayout
from ncbench.models.replica.perceptron import LEAK, Perceptron

__all__ = ["Layout", "SquaredError"]

_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


class Layout(FlatLayout):
    """Where W_1, b_1 ... W_L, b_L of a replica lie in its row of P numbers."""

    def __init__(self, network: Perceptron) -> None:
        tensors = self.tensors(network)
        pairs = zip(network.weights, network.biases, strict=True)
        layers = [l for l, pair in enumerate(pairs) for parameter in pair if parameter is not None]
        super().__init__([tuple(tensor.shape[1:]) for tensor in tensors], layers, tensors[0])
        blocks = iter(self.blocks)
        placed = [(next(blocks), None if b is None else next(blocks)) for b in network.biases]
        self.weights, self.biases = [W for W, _ in placed], [b for _, b in placed]

    def tensors(self, network: Perceptron) -> list[Tensor]:
        """Weight and bias of each layer, without the biases that it has not."""
        pairs = zip(network.weights, network.biases, strict=True)
        return [parameter for pair in pairs for parameter in pair if parameter is not None]


class SquaredError:
    """F and its gradient for the replicas `index` of an ensemble, as a function of their flat parameters (r, P).

    `inputs` (R or 1, N, d), `targets` (R or 1, N, c); `decays` (R, L) are the lam_l; all is computed in `dtype`
    (default: the network's). Buffers are made once.
    """

    def __init__(
        self,
        network: Perceptron,
        layout: Layout,
        inputs: Tensor,
        targets: Tensor,
        decays: Tensor,
        index: Tensor,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.layout, self.index = layout, index
        self.kinds = [layer.kind for layer in network.layers]
        self.residual = [layer.residual for layer in network.layers]
        like = network.weights[0].detach().to(dtype or network.weights[0].dtype)
        # lam_l at every parameter of layer l, so that the penalty's gradient is one product of flat vectors.
        self.decay = layout.per_entry(decays.to(like)[index])
        self.decayed = torch.empty_like(self.decay)
        self.Z: list[Tensor] = [_columns(inputs.to(like), index)]
        self.Y = _columns(targets.to(like), index)
        N, width = inputs.shape[1], self.Y.shape[2]
        # 2/N for the samples, 0 for the columns that pad them.
        self.weight = like.new_zeros(width)
        self.weight[:N] = 2 / N
        # Without a skip connection z^l is the activation itself, and no second buffer is needed.
        R = len(index)
        shapes = [(R, block.shape[0], width) for block in layout.weights]
        self.act = [like.new_empty(shape) for shape in shapes]  # act(W z + b)
        self.Z += [like.new_empty(s) if skip else a for s, skip, a in zip(shapes, self.residual, self.act, strict=True)]
        self.D = [like.new_empty(shape) for shape in shapes]  # gradients of the pre-activations
        self.below = [like.new_empty(shape) for shape in shapes]  # gradients of the z^l, where a skip keeps both

    @torch.no_grad()
    def __call__(self, flat: Tensor, gradient: Tensor) -> Tensor:
        """F (r,) at `flat`; its gradient is written into `gradient` (r, P)."""
        layout = self.layout
        W = [block.of(flat) for block in layout.weights]
        fit = self._forward(flat, W)
        # Backward: D = act'(.) of the gradient of z^l; G_{W_l} = D Z_{l-1}^T, G_{b_l} = D 1; then the gradient of
        # z^{l-1} is W_l^T D, plus that of z^l where a skip connection passes it on.
        carried = self.D[-1]  # the gradient of z^l
        for l in range(len(W) - 1, -1, -1):
            D = self._through(l, carried)
            torch.bmm(D, self.Z[l].mT, out=layout.weights[l].of(gradient))
            block = layout.biases[l]
            if block is not None:
                block.of(gradient).copy_(D.sum(2))
            if l:
                below = torch.bmm(W[l].mT, D, out=self.below[l - 1])
                carried = below.add_(carried) if self.residual[l] else below
        # The penalty lam ||theta||^2 and its gradient 2 lam theta.
        decayed = torch.mul(self.decay, flat, out=self.decayed)
        gradient.add_(decayed, alpha=2.0)
        total: Tensor = fit + torch.linalg.vecdot(decayed, flat)
        return total

    def _forward(self, flat: Tensor, W: Sequence[Tensor]) -> Tensor:
        """The fit (r,); leaves all z^l, and its gradient 2 (f - y)/N in the last of `D`."""
        for l, matrix in enumerate(W):
            block = self.layout.biases[l]
            pre = torch.bmm(matrix, self.Z[l], out=self.act[l])
            if block is not None:
                pre.add_(block.of(flat)[:, :, None])
            _activate(pre, self.kinds[l])
            if self.residual[l]:
                torch.add(self.Z[l], pre, out=self.Z[l + 1])
        error = torch.sub(self.Z[-1], self.Y, out=self.below[-1])
        top = torch.mul(error, self.weight, out=self.D[-1])
        fit: Tensor = torch.linalg.vecdot(error.flatten(1), top.flatten(1)) / 2
        return fit

    def _through(self, l: int, carried: Tensor) -> Tensor:
        """The gradient of layer l's pre-activation from that of its output."""
        kind, act, D = self.kinds[l], self.act[l], self.D[l]
        if kind == "linear":
            return carried
        if kind == "tanh":
            _tanh_backward(carried, act, grad_input=D)
        else:  # leaky: the activation is positive where its argument is
            _leaky_relu_backward(carried, act, LEAK if kind == "leaky_relu" else 0.0, True, grad_input=D)
        return D


def _activate(x: Tensor, kind: str) -> None:
    """The activation, in place."""
    if kind == "tanh":
        x.tanh_()
    elif kind == "relu":
        x.clamp_min_(0.0)
    elif kind == "leaky_relu":
        torch.nn.functional.leaky_relu_(x, LEAK)


def _columns(rows: Tensor, index: Tensor) -> Tensor:
    """(R or 1, N, d) of some replicas as (r, d, N'), N' a multiple of 64 bytes, contiguous."""
    step = ALIGNED // rows.element_size()
    is_shared = len(rows) == 1
    chosen = rows if is_shared else rows[index]
    out = rows.new_zeros(len(chosen), rows.shape[2], -(-rows.shape[1] // step) * step)
    out[:, :, : rows.shape[1]] = chosen.mT
    return out.expand(len(index), *out.shape[1:]) if is_shared else out
