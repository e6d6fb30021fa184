"""The path without a barrier from an interpolating network to one whose classes are collapsed in every layer.

Source: arXiv 2402.03991v3, whose abstract announces it; its proof was not available, so the construction is ours.
Layers l >= 2 stay as they are: z^l = act(W_l z^{l-1}), l = 2..L, with an invertible activation and matrices of full
row rank (widths that do not grow). Then every z^{l-1} that W_l and act map to a given z^l is

    z^{l-1} = W_l^+ act^{-1}(z^l) + (I - W_l^+ W_l) z^{l-1},

a free vector of the null space beside a part that z^l fixes. So {z^1 : z^L = y} is parametrised by one null-space
vector per layer, an affine space, and is connected. The path moves those of each sample on straight lines to those of
the representative of its class.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["BenignPath", "benign_path"]


class BenignPath(NamedTuple):
    """Along the path, (T,) or (T, L) float64 each, and the first features (T, n_1, N).

    times: t from 0 to 1.
    interpolation_errors: largest |z^L(t) - y| over samples and outputs, through the network.
    upper_costs: sum_{l>=2} ||W_l||_F^2, the same number at every t: nothing above layer 1 is touched.
    first_costs: least ||W_1||_F^2 with act(W_1 X) = z^1(t), NaN without inputs.
    variations: TCV of layers 1..L by labels, (1/N) sum_i ||z_i - mean of its class||^2.
    """

    times: Tensor
    interpolation_errors: Tensor
    upper_costs: Tensor
    first_costs: Tensor
    variations: Tensor
    features: Tensor


def benign_path(
    weights: Sequence[Tensor],
    features: Tensor,
    labels: Tensor,
    times: int = 11,
    slope: float = 1.0,
    inputs: Tensor | None = None,
) -> BenignPath:
    """The path from the features z^1 of an interpolating network to total collapse, at fixed layers 2..L.

    At t = 1 all samples of a class have the features of its first sample, in every layer, so that TCV is 0; the
    outputs, and with them any loss of theirs, and the cost of the layers l >= 2 are those of t = 0 throughout. The
    theorem's condition is that samples of a class have the same outputs at the start (they interpolate).

    Args:
        weights: W_2 .. W_L, W_l (n_l, n_{l-1}) of full row rank, float64; at least one.
        features: z^1 (n_1, N).
        labels: (N,) integers.
        times: T >= 2 equally spaced points from 0 to 1.
        slope: of the leaky ReLU for negative numbers, in (0, 1]; 1 is a linear network. The last layer is linear.
        inputs: X (d, N) of full column rank, to report what the first layer costs along the path.

    Raises:
        ValueError: shapes do not fit, not float64, slope outside (0, 1], a matrix or the inputs without full rank, or
            samples of a class whose outputs differ by more than 1e-8 of the largest output.
    """
    _check(weights, features, labels, times, slope, inputs)
    first = (labels[:, None] == labels).to(torch.int8).argmax(1)
    layers = _forward(weights, features, slope)
    targets = layers[-1][:, first]
    spread, scale = (layers[-1] - targets).abs().max(), layers[-1].abs().max()
    if spread > 1e-8 * scale:
        raise ValueError(f"features must give samples of a class the same outputs (to 1e-8), got {spread / scale:.1e}")
    inverses = [torch.linalg.pinv(W) for W in weights]
    null = [z - P @ (W @ z) for W, P, z in zip(weights, inverses, layers, strict=False)]
    left = None if inputs is None else torch.linalg.pinv(inputs)
    rows = []
    grid = torch.linspace(0, 1, times, dtype=torch.float64)
    for t in grid:
        z = targets
        for l in reversed(range(len(weights))):  # from the outputs down, one layer's null space at a time
            pre = z if l == len(weights) - 1 else _inverse(z, slope)
            z = inverses[l] @ pre + (1 - t) * null[l] + t * null[l][:, first]
        now = _forward(weights, z, slope)
        cost = torch.nan if left is None else float((_inverse(z, slope) @ left).square().sum())
        rows.append((z, (now[-1] - targets).abs().max(), cost, [_variation(a, labels) for a in now]))
    moved, errors, costs, variations = zip(*rows, strict=True)
    upper = torch.stack([W.square().sum() for W in weights]).sum()
    return BenignPath(
        grid,
        torch.stack(errors),
        upper.expand(times),
        torch.tensor(costs, dtype=torch.float64),
        torch.tensor(variations, dtype=torch.float64),
        torch.stack(moved),
    )


def _forward(weights: Sequence[Tensor], z: Tensor, slope: float) -> list[Tensor]:
    """z^1 .. z^L; the last layer is linear."""
    layers = [z]
    for l, W in enumerate(weights, 2):
        z = W @ z
        z = z if l == len(weights) + 1 else torch.where(z > 0, z, slope * z)
        layers.append(z)
    return layers


def _inverse(z: Tensor, slope: float) -> Tensor:
    return torch.where(z > 0, z, z / slope)


def _variation(z: Tensor, labels: Tensor) -> float:
    same = (labels[:, None] == labels).to(z.dtype)
    return float((z - z @ (same / same.sum(0))).square().sum() / z.shape[1])


def _check(
    weights: Sequence[Tensor], features: Tensor, labels: Tensor, times: int, slope: float, inputs: Tensor | None
) -> None:
    tensors = [*weights, features, *([] if inputs is None else [inputs])]
    if not weights or any(tensor.dtype != torch.float64 or tensor.ndim != 2 for tensor in tensors):
        raise ValueError("weights, features and inputs must be float64 matrices, and weights at least one")
    sizes = [features.shape[0], *(size for W in weights for size in (W.shape[1], W.shape[0]))][:-1]
    if sizes[0::2] != sizes[1::2] or labels.shape != features.shape[1:]:
        raise ValueError(
            "weights must be W_2 .. W_L of features (n_1, N) with labels (N,), got "
            f"{[tuple(W.shape) for W in weights]}, {tuple(features.shape)} and {tuple(labels.shape)}"
        )
    if times < 2 or not 0 < slope <= 1:
        raise ValueError(f"times must be at least 2 and slope in (0, 1], got times={times}, slope={slope}")
    for l, W in enumerate(weights, 2):
        if torch.linalg.matrix_rank(W) < len(W):
            raise ValueError(f"weights: W_{l} {tuple(W.shape)} must have full row rank")
    if inputs is not None and (
        inputs.shape[1] != features.shape[1] or torch.linalg.matrix_rank(inputs) < inputs.shape[1]
    ):
        raise ValueError(f"inputs must be (d, {features.shape[1]}) of full column rank, got {tuple(inputs.shape)}")
