"""The deep unconstrained features model (DUFM), as an ensemble of R independent networks.

Source: arXiv 2405.14468, equation 1 (MSE) and arXiv 2410.23169, Section 2 (cross-entropy). The features H_1 are
free parameters, one row per sample; there are no biases, no ReLU on H_1 and none on the output:

    f = W_L s(W_{L-1} ... s(W_1 H_1)),   s = ReLU or the identity,  L weight matrices, L - 1 activations.

Letters: R replicas, N samples, L depth. Rows are samples here (the papers' columns): H (R, N, d), W (R, d_out, d_in).
d_1 ... d_L are the widths of H_1 ... H_L, so W_l is d_{l+1} x d_l and W_L is K x d_L.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.models.initial_values import check_generator, fan_in_deviation, standard_normals
from ncbench.models.widths import layer_widths

__all__ = ["DUFM", "FreeFeatures", "ReplicaLinear"]


class FreeFeatures(nn.Module):
    """H_1 as a parameter (..., N, d): called with sample indices (B,), returns their rows (..., B, d)."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, indices: Tensor) -> Tensor:
        return self.value[..., indices, :]


class ReplicaLinear(nn.Module):
    """R linear maps without bias: weight (R, d_out, d_in), (R, B, d_in) -> (R, B, d_out)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.bmm(inputs, self.weight.transpose(1, 2))


class DUFM(nn.Module):
    """R deep unconstrained features models with the same shape and independent initial values.

    Submodules `features` (FreeFeatures) and `head` with children "1" ... "L", each a `linear` followed, except in
    the last, by an `activation`: the layer names of every other ncbench network.

    Initial values (arXiv 2405.14468 gives none; the scale is what decides between DNC and low rank in its Figure 3
    right): W_l ~ N(0, g^2 / fan_in), H_1 ~ N(0, g^2 / d_1), g = `init_scale`, one number or one per replica. With
    `init_rule` entry every entry is N(0, g^2) whatever the width: what decides in Figure 2 of arXiv 2410.23169.
    `width` is one number for all of d_1 ... d_L, or L numbers.
    Replica i draws from its own generator, seeded with `seeds[i]`, in float64, so that neither the number of
    replicas nor the dtype changes its start. `init_generator` is torch or philox (`standard_normals`; H_1 is parameter
    0, W_l parameter l).

    Raises ValueError for depth < 1, a width < 1, d_L < number of classes, an unknown activation, rule or generator, or
    no seeds.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int | Sequence[int],
        activation: str,
        init_scale: float | Sequence[float] | None,
        num_classes: int,
        num_samples: int,
        seeds: Sequence[int],
        dtype: torch.dtype = torch.float32,
        init_rule: str = "fan_in",
        init_generator: str = "torch",
    ) -> None:
        super().__init__()
        check_generator(init_generator)
        if init_rule not in ("fan_in", "entry"):
            raise ValueError(f"init_rule={init_rule} must be fan_in or entry")
        if depth < 1:
            raise ValueError(f"depth={depth} must be at least 1, the number of weight matrices of the head")
        widths = layer_widths(width, depth)
        if min(widths) < 1:
            raise ValueError(f"width={width} must be at least 1")
        if widths[-1] < num_classes and depth > 1:
            raise ValueError(f"width={width} must be at least the number of classes ({num_classes})")
        if activation not in ("relu", "linear"):
            raise ValueError(f"activation={activation} must be relu or linear")
        if not seeds:
            raise ValueError("seeds=[] must hold one seed for each replica, and at least one")
        scale = 1.0 if init_scale is None else init_scale
        scales = [scale] * len(seeds) if isinstance(scale, (int, float)) else list(scale)
        if len(scales) != len(seeds):
            raise ValueError(f"init_scale={scales} must be one number, or one for each replica ({len(seeds)})")
        self.depth, self.activation, self.num_classes = depth, activation, num_classes
        shapes = [(num_samples, widths[0]), *zip([*widths[1:], num_classes], widths, strict=True)]
        fan_ins = [shape[1] if init_rule == "fan_in" else 1 for shape in shapes]
        draws = [
            [
                x * fan_in_deviation(g, fan_in)
                for x, fan_in in zip(standard_normals(init_generator, seed, shapes), fan_ins, strict=True)
            ]
            for seed, g in zip(seeds, scales, strict=True)
        ]
        features, *weights = (torch.stack(replicas).to(dtype) for replicas in zip(*draws, strict=True))
        self.features = FreeFeatures(features)
        self.head = nn.Sequential(OrderedDict((str(l), self._layer(l, W)) for l, W in enumerate(weights, 1)))

    def _layer(self, index: int, weight: Tensor) -> nn.Sequential:
        parts: OrderedDict[str, nn.Module] = OrderedDict(linear=ReplicaLinear(weight))
        if self.activation == "relu" and index < self.depth:
            parts["activation"] = nn.ReLU()
        return nn.Sequential(parts)

    def forward(self, indices: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.features(indices))
        return outputs

    @property
    def replicas(self) -> int:
        """How many networks the ensemble holds."""
        return self.features.value.shape[0]

    @property
    def weights(self) -> list[nn.Parameter]:
        """W_1 ... W_L, each (R, d_out, d_in)."""
        layers: list[Any] = list(self.head)
        return [layer.linear.weight for layer in layers]

    def as_linear(self, replica: int = 0) -> nn.Sequential:
        """One network of the ensemble as ordinary modules: the features of its samples, then a head of nn.Linear."""
        features = self.features.value.detach()[replica]
        head: OrderedDict[str, nn.Module] = OrderedDict()
        layers: list[Any] = list(self.head)
        for number, layer in enumerate(layers, 1):
            weight = layer.linear.weight.detach()[replica]
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
            linear.weight.data.copy_(weight)
            activation = {"activation": layer.activation} if hasattr(layer, "activation") else {}
            head[str(number)] = nn.Sequential(OrderedDict(linear=linear, **activation))
        return nn.Sequential(OrderedDict(features=FreeFeatures(features.clone()), head=nn.Sequential(head)))
