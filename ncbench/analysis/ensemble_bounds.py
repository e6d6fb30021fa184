"""The rank bound for an ensemble of R networks at once: every layer from the collapse of every layer below it.

Source and letters as in `ncbench.analysis.rank_bound` (arXiv 2402.03991, Theorem 3.4), with R replicas in front: z^j
(R, N, n_j), W_l (R, n_l, n_{l-1}). The loss is the squared one, and each layer may have a decay of its own,

    (1/N) sum_i ||f(x_i) - y_i||^2 + sum_l lam_l ||Theta_l||_F^2,

so that for every l and every j < l

    dist(W_l, rank <= K) <= gap_{l,j} / (2 lam_l) + ||grad_{W_l} L + 2 lam_l W_l||_F / (2 lam_l),

gap_{l,j} = ||grad_{W_l} L - grad_{W_l} L_centroids,j||_F, where L_centroids,j replaces z^j and y by their class means;
and gap_{l,j} / (2 lam_l) <= M TCV_j / (4 lam_l), the form of the theorem itself, with

    TCV_j = (1/N) sum_i (||z_i^j - its class mean||^2 + ||y_i - its class mean||^2),

which for an autoencoder, y = x, and j = 0 is twice the variation of the inputs.

What is algebra. distance <= rank_bound + residual is a triangle inequality, and so it holds for every network, trained
or not. With Mhat, which is read from the same samples, distance <= tcv_bound + residual is algebra too: the first-order
terms cancel at centroids. With M of the last layer it is Lemma 3.3, proved for the squared loss. A violation of any of
the three is a fault of the code. What no algebra says is how large they are: whether tcv_bound is below ||W_l||_F, so
that the theorem says anything of this layer; whether Mhat is one moderate number over replicas, noise and decay, so
that TCV / lam governs the distance (the theorem's "const"); how close to 1 the tightness is.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ncbench.analysis.curvature import Curvature, curvatures, signals
from ncbench.analysis.rank_bound import Network
from ncbench.core import ClassMoments, rank_distance, singular_value
from ncbench.core.spectrum import DEAD_NORM_SQUARED

__all__ = ["EnsembleRankBounds", "ensemble_rank_bounds"]


Pairs = dict[tuple[int, int], Tensor]


class EnsembleRankBounds(NamedTuple):
    """distance[l-1] <= rank_bound[l, j] + residual[l-1] for each of the R networks; float64.

    distance: (L, R), sqrt(sum_{i>K} s_i(W_l)^2), 0 for K >= min(n_l, n_{l-1}).
    residual: (L, R), ||grad_{W_l} L + 2 lam_l W_l||_F / (2 lam_l), 0 at a stationary point.
    rank_bound: {(l, j): (R,)} for 0 <= j < l <= L, gap_{l,j} / (2 lam_l): bound (i) of `rank_distance_bound`.
    tightness: {(l, j): (R,)}, distance / (rank_bound + residual), at most 1 up to rounding; NaN for a dead layer,
        ||W_l||_F^2 < 1e-8.
    curvature: {(l, j): (R,)}, Mhat, see `Curvature`: the least M of Lemma 3.3 that these samples allow. Of a network
        with kinks (ReLU) no M exists, and Mhat grows as samples beyond a kink come near to their centroid.
    tcv_bound: {(l, j): (R,)}, Mhat TCV_j / (4 lam_l): bound (iii) of `rank_distance_bound`, at least rank_bound.
    tcv_tightness: {(l, j): (R,)}, distance / (tcv_bound + residual).
    tcv_bound_analytic, tcv_tightness_analytic: {(L, L-1): (R,)}, the same with M = 2 (||W_L||_2 +
        sqrt(1 + ||W_L||_2^2)) in place of Mhat; empty unless the last layer is linear.
    """

    distance: Tensor
    residual: Tensor
    rank_bound: Pairs
    tightness: Pairs
    curvature: Pairs
    tcv_bound: Pairs
    tcv_tightness: Pairs
    tcv_bound_analytic: Pairs
    tcv_tightness_analytic: Pairs


def ensemble_rank_bounds(layers: Network, x: Tensor, y: Tensor, labels: Tensor, decays: Tensor) -> EnsembleRankBounds:
    """Both sides of Theorem 3.4 for all layers l and all source layers j < l of R networks; see `EnsembleRankBounds`.

    Computed in float64 on a copy of the layers, in 3 L + 1 passes forward and backward. A replica that is not finite
    gives NaN and leaves the others alone.

    Args:
        layers: layers 1..L in order, modules (R, N, n_{l-1}) -> (R, N, n_l), each with exactly one parameter of three
            dimensions, W_l, in a module that applies it as W_l z (+ b_l). No layer may mix samples or replicas.
        x: (R or 1, N, n_0). y: (R or 1, N, c).
        labels: (N,) integers, the partition; K is the number of different ones. The bounds hold for any partition.
        decays: (R, L), lam_l >= 0. Without decay there is no bound: residual and every bound and tightness are NaN.

    Raises:
        ValueError: no unique weight matrix in a layer, or none with a module of its own; shapes that do not fit, a
            negative decay.
    """
    with torch.inference_mode(False), torch.enable_grad():
        ensemble = [copy.deepcopy(layer).double() for layer in layers]  # the caller's layers keep dtype and gradients
        weights = [_weight(layer, number) for number, layer in enumerate(ensemble, 1)]
        R, L = len(weights[0]), len(ensemble)
        x, y, twice = _checked(x, y, decays, R, L)
        cluster = torch.unique(labels, return_inverse=True)[1]
        K = int(cluster.max()) + 1
        targets = ClassMoments.from_batch(y, cluster, K, scatter="none")
        shares = targets.counts.to(torch.float64) / targets.counts.sum()
        # grad L, to which the gradients at the centroids of every source layer j are compared.
        full = _gradients(ensemble, weights, x, y, torch.full_like(x[0, :, 0], 1 / x.shape[1]))
        ends_linear = _checked_products(ensemble, x, y, full)
        z, gaps, variation = x, {}, []
        constants: dict[tuple[int, int], Curvature] = {}
        for j, layer in enumerate(ensemble):
            centroids = ClassMoments.from_batch(z, cluster, K, scatter="none").means
            of_centroids = _gradients(ensemble[j:], weights[j:], centroids, targets.means, shares)
            of_samples = (centroids[:, cluster], targets.means[:, cluster])
            squares = (z - of_samples[0]).square().sum(-1) + (y - of_samples[1]).square().sum(-1)
            variation.append(squares.mean(-1))
            of_layers = curvatures(ensemble[j:], z, y, *of_samples, squares)
            for l, (gradient, constant) in enumerate(zip(of_centroids, of_layers, strict=True), j + 1):
                gaps[l, j], constants[l, j] = _norm(full[l - 1] - gradient), constant
            with torch.no_grad():
                z = layer(z)
        W = [weight.detach() for weight in weights]
    residual = torch.stack([_norm(g + lam[:, None, None] * w) / lam for g, w, lam in zip(full, W, twice, strict=True)])
    rank_bound = {(l, j): gap / twice[l - 1] for (l, j), gap in sorted(gaps.items())}
    norm, last = singular_value(W[-1], 1), (L, L - 1)
    return _bounds(
        W,
        torch.stack([rank_distance(w, K) for w in W]),
        residual,
        rank_bound=rank_bound,
        curvature={pair: constants[pair].constant for pair in rank_bound},
        tcv_bound={
            (l, j): (constants[l, j].constant * variation[j] / 2 + constants[l, j].rounding) / twice[l - 1]
            for l, j in rank_bound
        },
        analytic={last: (norm + (1 + norm.square()).sqrt()) * variation[-1] / twice[-1]} if ends_linear else {},
    )


def _bounds(
    W: Sequence[Tensor],
    distance: Tensor,
    residual: Tensor,
    *,
    rank_bound: Pairs,
    curvature: Pairs,
    tcv_bound: Pairs,
    analytic: Pairs,
) -> EnsembleRankBounds:
    """The bounds with what they have to be compared with: NaN for dead layers."""
    dead = [_norm(w).square() < DEAD_NORM_SQUARED for w in W]

    def tightness(bounds: Pairs) -> Pairs:
        return {
            (l, j): (distance[l - 1] / (bound + residual[l - 1])).masked_fill(dead[l - 1], torch.nan)
            for (l, j), bound in bounds.items()
        }

    return EnsembleRankBounds(
        distance=distance,
        residual=residual,
        rank_bound=rank_bound,
        tightness=tightness(rank_bound),
        curvature=curvature,
        tcv_bound=tcv_bound,
        tcv_tightness=tightness(tcv_bound),
        tcv_bound_analytic=analytic,
        tcv_tightness_analytic=tightness(analytic),
    )


def _weight(layer: nn.Module, number: int) -> Tensor:
    """W_l, the only parameter of the copied layer that will have a gradient."""
    layer.requires_grad_(False)
    matrices = [p for p in layer.parameters() if p.ndim == 3]
    if len(matrices) != 1:
        raise ValueError(
            f"layers must have exactly one weight (R, n_l, n_(l-1)) each, got {len(matrices)} in layer {number}"
        )
    return matrices[0].requires_grad_()


def _checked(x: Tensor, y: Tensor, decays: Tensor, R: int, L: int) -> tuple[Tensor, Tensor, Tensor]:
    """x (R, N, n_0) and y in float64, and 2 lam_l (L, R) with NaN for no decay."""
    for name, value in (("x", x), ("y", y)):
        if value.ndim != 3 or len(value) not in (1, R) or value.shape[1] != x.shape[1]:
            raise ValueError(f"{name} must have shape (R or 1, N, features) with R={R}, got {tuple(value.shape)}")
    if decays.shape != (R, L) or not bool((decays >= 0).all()):
        raise ValueError(
            f"decays must be (R, L) = {R, L} numbers of at least 0, got shape {tuple(decays.shape)}, min {decays.min()}"
        )
    x, y, lam = (value.detach().to(torch.float64, copy=True) for value in (x, y, decays))  # no inference tensors
    return x.expand(R, -1, -1), y, 2 * torch.where(lam > 0, lam, torch.nan).to(x.device).mT


def _checked_products(layers: Sequence[nn.Module], x: Tensor, y: Tensor, full: Sequence[Tensor]) -> bool:
    """Whether the last layer is linear; ValueError unless the signals at the weights' modules give the gradients."""
    inputs, slopes, ends_linear = signals(layers, x, y)
    for number, (zeta, delta, gradient) in enumerate(zip(inputs, slopes, full, strict=True), 1):
        products = delta.mT @ zeta / x.shape[1]
        size = (delta.norm(dim=-1) * zeta.norm(dim=-1)).mean(-1)  # of its terms, which may cancel
        if bool((_norm(products - gradient) > 1e-6 * size).any()):  # not where a replica is NaN
            raise ValueError(f"layers must apply W_l as W_l z (+ b_l) in a module of its own, layer {number} does not")
    return ends_linear


def _gradients(
    layers: Sequence[nn.Module], weights: Sequence[Tensor], z: Tensor, y: Tensor, shares: Tensor
) -> Sequence[Tensor]:
    """Gradients of sum_i shares_i ||f(z_i) - y_i||^2 with respect to every weight, replica by replica."""
    for layer in layers:
        z = layer(z)
    # The sum over replicas: each term knows the weights of its own replica only.
    return torch.autograd.grad((shares * (z - y).square().sum(-1)).sum(), weights)


def _norm(A: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.matrix_norm(A)
    return norm
