"""Fully connected networks on fixed data, as an ensemble of R independent networks.

Source: arXiv 2402.03991, Sections 2 and 4: z^0 = x, z^l = act_l(W_l z^{l-1} + b_l), the last layer linear; with
`residual` the layers 2 ... L-1 are z^l = z^{l-1} + act_l(W_l z^{l-1} + b_l), between a linear first and last layer.

Letters: R replicas, N samples, d inputs, c outputs, L weight matrices, n_1 ... n_{L-1} hidden widths. Rows are samples:
x (R or 1, N, d), W_l (R, n_l, n_{l-1}), b_l (R, n_l).
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.models.initial_values import check_generator, fan_in_deviation, standard_normals

__all__ = ["ACTIVATIONS", "FixedFeatures", "Perceptron", "PerceptronLayer"]

LEAK = 0.1  # slope of the leaky ReLU below zero: that of the experiments of arXiv 2402.03991 is not given

ACTIVATIONS: dict[str, Any] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAK),
    "tanh": nn.Tanh,
}


class FixedFeatures(nn.Module):
    """The inputs (R or 1, N, d) of R networks: called with sample indices (B,), returns their rows (R, B, d).

    They are data, so they are not in the checkpoint.
    """

    value: Tensor

    def __init__(self, value: Tensor, replicas: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.register_buffer("value", value, persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        chosen = self.value[:, indices]
        return chosen.expand(self.replicas, *chosen.shape[1:])


class EnsembleLinear(nn.Module):
    """R affine maps: weight (R, d_out, d_in), bias (R, d_out) or None, (R, B, d_in) -> (R, B, d_out)."""

    def __init__(self, weight: Tensor, biased: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(weight.new_zeros(weight.shape[:2])) if biased else None

    def forward(self, inputs: Tensor) -> Tensor:
        product = torch.bmm(inputs, self.weight.transpose(1, 2))
        return product if self.bias is None else product + self.bias[:, None]


class PerceptronLayer(nn.Module):
    """One layer of every replica: act(W z + b), or with `residual` z + act(W z + b)."""

    def __init__(self, weight: Tensor, activation: str, *, biased: bool, residual: bool) -> None:
        super().__init__()
        self.linear = EnsembleLinear(weight, biased)
        self.kind, self.residual = activation, residual
        self.activation = ACTIVATIONS[activation]()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.linear(inputs)
        if self.kind != "linear":
            outputs = self.activation(outputs)
        return inputs + outputs if self.residual else outputs


class Perceptron(nn.Module):
    """R networks of the same shape on the inputs (R or 1, N, d), with independent initial values.

    Submodules `features` (the inputs) and `head` with children "1" ... "L", each with a `linear`: the layer names of
    every other ncbench network. `width` is one number for all of n_1 ... n_{L-1}, or L - 1 numbers.
    `first_activation` None is that of the other hidden layers; with `residual` the first layer is linear, and all
    hidden widths are equal.

    Initial values: W_l ~ N(0, g^2 / fan_in), g = `init_scale` (1 by default, one number or one per replica), b_l = 0.
    Replica i draws from its own generator, seeded with `seeds[i]`, in float64, so that neither the number of replicas
    nor the dtype changes its start. `init_generator` is torch or philox (`standard_normals`; W_l is parameter l - 1).

    Raises ValueError for depth < 1, a width < 1, more or fewer widths than hidden layers, unequal widths with
    `residual`, an unknown activation, or numbers of replicas that do not fit.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int | Sequence[int],
        activation: str,
        inputs: Tensor,
        num_outputs: int,
        seeds: Sequence[int],
        first_activation: str | None = None,
        residual: bool = False,
        biases: bool = True,
        init_scale: float | Sequence[float] | None = None,
        dtype: torch.dtype = torch.float64,
        init_generator: str = "torch",
    ) -> None:
        super().__init__()
        check_generator(init_generator)
        if depth < 1:
            raise ValueError(f"depth={depth} must be at least 1, the number of weight matrices")
        widths = [width] * (depth - 1) if isinstance(width, int) else [*map(int, width)]
        if len(widths) != depth - 1 or min(widths, default=1) < 1:
            raise ValueError(f"width={width} must be one number >= 1, or one for each hidden layer ({depth - 1})")
        if residual and len(set(widths)) > 1:
            raise ValueError(f"width={width} must be the same for all hidden layers where residual=True")
        first = first_activation or ("linear" if residual else activation)
        for argument, name in (("activation", activation), ("first_activation", first)):
            if name not in ACTIVATIONS:
                raise ValueError(f"{argument}={name} must be one of {', '.join(ACTIVATIONS)}")
        if not seeds or len(inputs) not in (1, len(seeds)):
            raise ValueError(
                f"inputs of {len(inputs)} replicas must be one set for all, or one for each seed ({len(seeds)})"
            )
        scale = 1.0 if init_scale is None else init_scale
        scales = [scale] * len(seeds) if isinstance(scale, (int, float)) else list(scale)
        if len(scales) != len(seeds):
            raise ValueError(f"init_scale={scales} must be one number, or one for each replica ({len(seeds)})")
        self.depth, self.activation, self.replicas, self.biased = depth, activation, len(seeds), biases
        sizes = [inputs.shape[2], *widths, num_outputs]
        shapes = [(out, into) for into, out in pairwise(sizes)]
        draws = [
            [
                x * fan_in_deviation(g, into)
                for x, (_, into) in zip(standard_normals(init_generator, seed, shapes), shapes, strict=True)
            ]
            for seed, g in zip(seeds, scales, strict=True)
        ]
        weights = [torch.stack(replicas).to(dtype) for replicas in zip(*draws, strict=True)]
        self.features = FixedFeatures(inputs.to(dtype), len(seeds))
        kinds = [first, *[activation] * (depth - 2), "linear"][-depth:]
        self.head = nn.Sequential(
            OrderedDict(
                (str(l), PerceptronLayer(W, kind, biased=biases, residual=residual and 1 < l < depth))
                for l, (W, kind) in enumerate(zip(weights, kinds, strict=True), 1)
            )
        )

    def forward(self, indices: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.features(indices))
        return outputs

    @property
    def layers(self) -> list[PerceptronLayer]:
        """Layers 1 ... L."""
        return list(self.head)  # type: ignore[arg-type]

    @property
    def weights(self) -> list[nn.Parameter]:
        """W_1 ... W_L, each (R, n_l, n_{l-1})."""
        return [layer.linear.weight for layer in self.layers]

    @property
    def biases(self) -> list[nn.Parameter | None]:
        """b_1 ... b_L, each (R, n_l), or None without biases."""
        return [layer.linear.bias for layer in self.layers]

    @property
    def linear_product(self) -> bool:
        """Whether the network is a product of matrices: no activation, no bias, no skip connection."""
        return not self.biased and all(layer.kind == "linear" and not layer.residual for layer in self.layers)

    def as_linear(self, replica: int = 0) -> nn.Sequential:
        """One network of the ensemble as ordinary modules: its inputs, then a head of nn.Linear."""
        inputs = self.features.value[replica if len(self.features.value) > 1 else 0]
        head = nn.Sequential(OrderedDict((str(l), _plain(layer, replica)) for l, layer in enumerate(self.layers, 1)))
        return nn.Sequential(OrderedDict(features=_Rows(inputs.clone()), head=head))


class _Rows(nn.Module):
    """The inputs (N, d) of one network, by sample index."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, indices: Tensor) -> Tensor:
        return self.value[indices]


class _Skip(nn.Module):
    """z + inner(z)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.inner(inputs)
        return outputs


def _plain(layer: PerceptronLayer, replica: int) -> nn.Module:
    weight, bias = layer.linear.weight.detach()[replica], layer.linear.bias
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    linear.weight.data.copy_(weight)
    if bias is not None:
        linear.bias.data.copy_(bias.detach()[replica])
    activation = {} if layer.kind == "linear" else {"activation": ACTIVATIONS[layer.kind]()}
    inner = nn.Sequential(OrderedDict(linear=linear, **activation))
    return _Skip(inner) if layer.residual else inner
