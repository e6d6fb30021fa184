"""The curvature of the samples' gradients around their centroids, for an ensemble of R networks at once.

Source and letters as in `ncbench.analysis.ensemble_bounds` (arXiv 2402.03991, Lemma 3.3): z^j (R, N, n_j), g_i the
gradient of ||f(x_i) - y_i||^2 with respect to W_l as a function of xi_i = (z_i^j, y_i), c_i its cluster's centroid.

A layer applies its matrix as a_l = W_l zeta_l (+ b_l), so g_i = delta_i zeta_i^T has rank one, and with D for the
difference from the centroid and E for what it has beyond first order the second-order remainder

    R_i = g_i - g(c_i) - Dg(c_i)[xi_i - c_i] = delta_c Ezeta^T + Edelta zeta_c^T + Ddelta Dzeta^T

is never formed: its norm needs R N (n_l + n_{l-1}) numbers. First-order parts are derivatives of the backward pass,
and no small number is the difference of large ones but in Edelta and Ezeta themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Curvature", "curvatures", "module_of_weight", "signals"]

MOST_NUMBERS = 2**24  # of one kind at a time: more samples are taken in parts
RESOLVED = 1e-14  # of ||c||^2: a deviation below 1e-7 of its centroid has a remainder that is rounding


class Curvature(NamedTuple):
    """Of one layer l and source layer j, (R,) each.

    constant: Mhat = max_i 2 ||R_i||_F / ||xi_i - c_i||^2, over the samples that are not at their centroid up to
        rounding; 0 where all are. The least M of Lemma 3.3 that these samples allow: gap <= (Mhat/2) WCSS_j.
    rounding: (1/N) sum ||R_i||_F of the samples left out.
    """

    constant: Tensor
    rounding: Tensor


def curvatures(
    layers: Sequence[nn.Module], z: Tensor, y: Tensor, centroids: Tensor, targets: Tensor, squares: Tensor
) -> list[Curvature]:
    """Of every layer above the source layer, whose outputs are z.

    Args:
        layers: layers j+1..L, in float64, weights with gradients; each applies its weight in a module of its own.
        z: (R, N, n_j). y: (R or 1, N, c).
        centroids, targets: of every sample's cluster, of the same shapes.
        squares: (R, N), ||z_i - c_i||^2 + ||y_i - t_i||^2.
    """
    numbers = len(z) * sum(sum(W.shape[1:]) for layer in layers for W in layer.parameters() if W.ndim == 3)
    parts = torch.split(torch.arange(z.shape[1], device=z.device), max(1, MOST_NUMBERS // numbers))
    of_parts = [_remainders(layers, centroids[:, part], targets[:, part], z[:, part], y[:, part]) for part in parts]
    size = centroids.square().sum(-1) + targets.square().sum(-1)
    resolved = ~(squares <= RESOLVED * size)  # NaN stays in
    found = []
    for norms in (torch.cat(of_layer, -1) for of_layer in zip(*of_parts, strict=True)):
        ratios = torch.where(resolved, 2 * norms / squares, 0.0)
        found.append(Curvature(ratios.amax(-1), torch.where(resolved, 0.0, norms).mean(-1)))
    return found


def _remainders(layers: Sequence[nn.Module], centroids: Tensor, targets: Tensor, z: Tensor, y: Tensor) -> list[Tensor]:
    """||R_i||_F of every layer, (R, N)."""
    at_centroids = _with_first_order(layers, (centroids, targets), (z - centroids, y - targets))
    norms = []
    for (zeta_c, zeta_first), (delta_c, delta_first), zeta, delta in zip(
        *at_centroids, *signals(layers, z, y)[:2], strict=True
    ):
        D_zeta, D_delta = zeta - zeta_c, delta - delta_c
        products = [(delta_c, D_zeta - zeta_first), (D_delta - delta_first, zeta_c), (D_delta, D_zeta)]
        norms.append(_norm_of_sum(products))
    return norms


def signals(
    layers: Sequence[nn.Module], z: Tensor, y: Tensor, *, create_graph: bool = False
) -> tuple[list[Tensor], list[Tensor], bool]:
    """zeta_l (R, N, n_{l-1}) and delta_l (R, N, n_l) of every layer, and whether the last one ends with its product.

    delta_l is the gradient of sum_i ||f(z_i) - y_i||^2 with respect to W_l zeta_l + b_l.
    """
    inputs: list[Tensor] = []
    products: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], product: Tensor) -> None:
        inputs.append(arguments[0])
        products.append(product)

    handles = [module_of_weight(layer).register_forward_hook(keep) for layer in layers]
    try:
        for layer in layers:
            z = layer(z)
    finally:
        for handle in handles:
            handle.remove()
    slopes = list(torch.autograd.grad((z - y).square().sum(), products, create_graph=create_graph))
    if not create_graph:
        inputs, slopes = [value.detach() for value in inputs], [value.detach() for value in slopes]
    return inputs, slopes, torch.equal(z.nan_to_num(), products[-1].nan_to_num())


def module_of_weight(layer: nn.Module) -> nn.Module:
    """The module of a layer that has its parameter of three dimensions, W_l."""
    return next(module for module in layer.modules() if any(p.ndim == 3 for p in module.parameters(recurse=False)))


def _norm_of_sum(products: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """||sum_a u_a v_a^T||_F of pairs (u_a, v_a), by ||.||^2 = sum_ab <u_a, u_b> <v_a, v_b>."""
    square = torch.stack([(u * p).sum(-1) * (v * q).sum(-1) for u, v in products for p, q in products]).sum(0)
    return square.clamp(min=0).sqrt()


def _with_first_order(
    layers: Sequence[nn.Module], point: tuple[Tensor, Tensor], direction: tuple[Tensor, Tensor]
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """zeta_l and delta_l at a point (z, y), each with its derivative in the direction, sample by sample.

    The derivative J d by two backward passes: J^T v is linear in v, and the derivative of <d, J^T v> in v is J d.
    """
    leaves = [value.detach().clone().requires_grad_() for value in point]
    inputs, slopes, _ = signals(layers, *leaves, create_graph=True)
    values = [*inputs, *slopes]
    v = [torch.zeros_like(value).requires_grad_() for value in values]
    transposed = torch.autograd.grad(values, leaves, v, create_graph=True, materialize_grads=True)
    derivatives = torch.autograd.grad(transposed, v, direction, materialize_grads=True)
    pairs = [(value.detach(), derivative) for value, derivative in zip(values, derivatives, strict=True)]
    return pairs[: len(inputs)], pairs[len(inputs) :]
