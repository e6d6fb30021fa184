"""The head whose collapse is studied: L bias-free linear layers on the features H_1 of a backbone.

Letters: K classes, L depth (number of weight matrices), H_1 the output of the backbone. Submodules are named
so that layer names are those of the records: `features` is H_1, `head.l` the l-th layer, `head.l.linear` its
pre-activation, `head.l` (or `head.l.activation`) its post-activation.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.models.initial_values import check_generator, fan_in_deviation, orthonormal_matrix, standard_normals
from ncbench.models.whole import seeded
from ncbench.models.widths import layer_widths

__all__ = ["BackboneWithHead", "mlp_head"]

ACTIVATIONS = ("relu", "linear")


def mlp_head(
    in_width: int, width: int | Sequence[int], num_classes: int, depth: int, activation: str = "relu"
) -> nn.Sequential:
    """W_L s(W_{L-1} ... s(W_1 h)): bias-free, s the ReLU or, for "linear", nothing (arXiv 2405.14468, eq. 1).

    Shapes: (B, in_width) -> (B, num_classes), (B, width) in between, or one width for each of the L - 1
    layers there. The children are "1" ... "L"; child l < L has `linear` and (not for "linear") `activation`,
    child L has `linear` only. Initialised as nn.Linear is.

    Raises ValueError for depth < 1, width < num_classes (K class means cannot be independent there; of
    several widths the last counts) or another activation.

    >>> [name for name, _ in mlp_head(8, 8, 3, depth=2).named_modules()][1:]
    ['1', '1.linear', '1.activation', '2', '2.linear']
    """
    if depth < 1:
        raise ValueError(f"depth={depth} must be at least 1, the number of layers of the head")
    hidden = layer_widths(width, depth - 1)
    last = width if isinstance(width, int) else [in_width, *hidden][-1]
    if last < num_classes:
        raise ValueError(f"width={width} must be at least the number of classes ({num_classes})")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation} must be one of {', '.join(ACTIVATIONS)}")
    widths = [in_width, *hidden, num_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        layer: OrderedDict[str, nn.Module] = OrderedDict()
        layer["linear"] = nn.Linear(widths[number - 1], widths[number], bias=False)
        if number < depth and activation == "relu":
            layer["activation"] = nn.ReLU()
        layers[str(number)] = nn.Sequential(layer)
    return nn.Sequential(layers)


class BackboneWithHead(nn.Module):
    """head(features(x)): a backbone that ends in H_1 (B, width), then `mlp_head`, to (B, num_classes).

    Args:
        depth, width, activation: of the head; `width` is also the width of H_1, or a list of those of H_1 ... H_L.
        backbone: called as `backbone(input_shape=..., output_width=width)`, e.g. a functools.partial of
            `ResNet20`.
        init_scale: g of N(0, g^2/fan_in), the draw of each matrix of the head. None keeps nn.Linear's own,
            uniform with the standard deviation of g = 1/sqrt(3).
        init_rule: "fan_in" as above, or "orthogonal": g times a matrix with orthonormal rows or columns (Saxe et al.
            2014), so that every direction of H_1 enters the head alike; the largest singular value is then g and not
            about 2 g, which is what bounds the rate.
        init_generator: of the head's matrices, as of `standard_normals` (W_l is parameter l - 1): "philox" gives them
            the same bits on every machine. The backbone is initialised as its own class does it.
        input_shape, num_classes: of the data, known at run time.
        seed: of the initialisation, which neither depends on torch's global generator nor changes it, and is
            the same for every device (the weights are made on the CPU).

    Raises ValueError as `mlp_head`, for an init_scale that is not positive, or None with the rule orthogonal or the
    generator philox, for another rule or generator, and for a backbone that is not called or gives no nn.Module.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int | Sequence[int],
        activation: str = "relu",
        backbone: Callable[..., nn.Module],
        init_scale: float | None = None,
        init_rule: str = "fan_in",
        init_generator: str = "torch",
        input_shape: tuple[int, ...],
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__()
        if init_scale is not None and not init_scale > 0:
            raise ValueError(f"init_scale={init_scale} must be positive")
        if init_rule not in ("fan_in", "orthogonal"):
            raise ValueError(f"init_rule={init_rule} must be fan_in or orthogonal")
        if init_rule == "orthogonal" and init_scale is None:
            raise ValueError("init_scale=None must be a number with init_rule=orthogonal")
        if isinstance(backbone, nn.Module) or not callable(backbone):
            raise ValueError("backbone: must be made when it is called; add _partial_: true to it")
        check_generator(init_generator)
        if init_generator == "philox" and init_scale is None:
            raise ValueError("init_scale=None must be a number with init_generator=philox")
        with seeded(seed):
            first, hidden = (width, width) if isinstance(width, int) else (width[0], layer_widths(width, depth)[1:])
            features: Any = backbone(input_shape=tuple(input_shape), output_width=first)
            if not isinstance(features, nn.Module):
                given = "None" if features is None else f"a value of type {type(features).__name__}"
                raise ValueError(f"backbone: gives {given}, and not a torch.nn.Module")
            self.features = features
            self.head = mlp_head(first, hidden, num_classes, depth, activation)
            weights = list(self.head.parameters())
            if init_generator == "philox":
                assert init_scale is not None
                _from_counters(weights, seed, init_scale, init_rule)
            elif init_scale is not None:
                for weight in weights:
                    if init_rule == "orthogonal":
                        nn.init.orthogonal_(weight, gain=init_scale)
                    else:
                        nn.init.normal_(weight, std=init_scale / weight.shape[1] ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


@torch.no_grad()
def _from_counters(weights: Sequence[Tensor], seed: int, scale: float, rule: str) -> None:
    """The initial values of the head's matrices, from the counter-based generator."""
    shapes = [(len(weight), weight.shape[1]) for weight in weights]
    if rule == "orthogonal":
        drawn = [scale * orthonormal_matrix(seed, number, *shape) for number, shape in enumerate(shapes)]
    else:
        values = standard_normals("philox", seed, shapes)
        drawn = [x * fan_in_deviation(scale, into) for x, (_, into) in zip(values, shapes, strict=True)]
    for weight, value in zip(weights, drawn, strict=True):
        weight.copy_(value)
