"""How far a weight matrix can be from rank K, measured on a given network.

Source: arXiv 2402.03991, Proposition 3.1, Lemma 3.3, Theorem 3.4. Letters: layers 1..L, z^0 = x, z^j the output of
layer j (N, n_j); W_l the weight matrix of layer l; ell the loss of one sample; clusters C_1..C_K of sizes N_k with
centroids zbar_k of z^j and ybar_k of the targets; f^{>j} the layers above j. The regularised loss is

    (1/N) sum_i ell(f(x_i), y_i) + lam ||Theta||_F^2

(lam, not lam/2: an optimiser's weight decay wd is lam = wd/2), stationary where 2 lam W_l = -grad_{W_l}. Since the
gradient at the K centroids has rank <= K, dist(W_l, rank <= K) <= gap / (2 lam) at a stationary point, and
+ residual anywhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ncbench.core import singular_values

__all__ = [
    "RankBound",
    "centroid_gradient_gap",
    "gradient_batch_rank",
    "last_layer_curvature",
    "rank_distance_bound",
    "stationarity_residual",
]

Loss = Callable[[Tensor, Tensor], Tensor]
Network = Sequence[nn.Module] | nn.Sequential


class RankBound(NamedTuple):
    """distance <= centroid + residual, and centroid <= remainder <= curvature (all in units of W_l).

    distance: sqrt(sum_{i>K} s_i(W_l)^2), the Frobenius distance to rank K (Eckart-Young).
    centroid: (i) ||grad L - grad L_centroids||_F / (2 lam).
    remainder: (ii) (1/N) sum_i ||R_i||_F / (2 lam), R_i the second-order Taylor remainder of sample i's gradient
        around its centroid.
    curvature: (iii) (Mhat/2) WCSS_j / (2 lam), Mhat = max_i 2 ||R_i|| / ||(z_i, y_i) - centroid||^2: the form of
        Theorem 3.4 with the least constant that these samples allow.
    residual: ||grad_{W_l} L + 2 lam W_l||_F / (2 lam), 0 at a stationary point.
    """

    distance: float
    centroid: float
    remainder: float
    curvature: float
    residual: float


def centroid_gradient_gap(
    network: Network, loss: Loss, x: Tensor, y: Tensor, labels: Tensor, layer: int, source_layer: int
) -> float:
    """||grad_{W_l} L - grad_{W_l} L_centroids||_F, L_centroids = sum_k (N_k/N) ell(f^{>j}(zbar_k), ybar_k) (Lemma 3.3).

    Args:
        network: layers 1..L in order (an nn.Sequential will do); layer l holds one parameter of two dimensions, W_l.
            No layer may mix samples (batch normalisation).
        loss: loss(outputs (N, c), targets (N, ...)) -> (N,), one value per sample, not their mean.
        x: (N, n_0). y: (N, ...) targets; integer targets must be constant within each cluster.
        labels: (N,) integers, the partition; every bound holds for any partition.
        layer: l, 1..L. source_layer: j, 0 <= j < l, the layer whose collapse is used; 0 is the input.

    Raises:
        ValueError: layers out of range, no unique weight matrix, shapes that do not fit.
    """
    weight, tail, z = _tail(network, loss, x, layer, source_layer)
    centroids, targets, cluster = _clusters(z, y, labels)
    return float(_gap(weight, tail, z, y, centroids, targets, cluster).norm())


def stationarity_residual(network: Network, loss: Loss, x: Tensor, y: Tensor, layer: int, weight_decay: float) -> float:
    """||grad_{W_l} L + 2 lam W_l||_F / (2 lam), lam = `weight_decay`; arguments as `centroid_gradient_gap`.

    Raises:
        ValueError: as `centroid_gradient_gap`, or weight_decay is not positive.
    """
    lam = _positive(weight_decay)
    weight, tail, z = _tail(network, loss, x, layer, layer - 1)
    return float((_mean_gradient(weight, tail, z, y) + 2 * lam * weight).norm() / (2 * lam))


def rank_distance_bound(
    network: Network,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    labels: Tensor,
    layer: int,
    source_layer: int,
    weight_decay: float,
) -> RankBound:
    """Theorem 3.4 for layer l from the collapse at layer j, with its two weaker forms; see `RankBound`.

    K is the number of different labels. The distance is 0 for K >= min(n_l, n_{l-1}). Needs a loss that is twice
    differentiable along the way (tanh, not ReLU) for (ii) and (iii) to be meaningful; (i) needs one derivative.

    Raises:
        ValueError: as `centroid_gradient_gap`, whose arguments these are, or weight_decay is not positive.
    """
    lam = _positive(weight_decay)
    weight, tail, z = _tail(network, loss, x, layer, source_layer)
    centroids, targets, cluster = _clusters(z, y, labels)
    gap = _gap(weight, tail, z, y, centroids, targets, cluster)
    R = _remainders(weight, tail, z, y, centroids[cluster], targets[cluster])
    norms = R.flatten(1).norm(dim=1)
    squares = (z - centroids[cluster]).square().flatten(1).sum(1)
    if y.is_floating_point():
        squares = squares + (y - targets[cluster]).square().flatten(1).sum(1)
    ratios = torch.where(squares > 0, norms / squares, 0.0)
    return RankBound(
        distance=float(singular_values(weight)[len(centroids) :].norm()),
        centroid=float(gap.norm()) / (2 * lam),
        remainder=float(norms.mean()) / (2 * lam),
        curvature=float(ratios.max() * squares.mean()) / (2 * lam),
        residual=stationarity_residual(network, loss, x, y, layer, lam),
    )


def gradient_batch_rank(network: Network, loss: Loss, x: Tensor, y: Tensor, layer: int, rtol: float = 1e-10) -> int:
    """Rank of grad_{W_l} of the batch's mean loss: at most the number of samples, in every layer (Proposition 3.1).

    Arguments and errors as `centroid_gradient_gap`; singular values above rtol times the largest count.
    """
    weight, tail, z = _tail(network, loss, x, layer, layer - 1)
    s = singular_values(_mean_gradient(weight, tail, z, y))
    return int((s > rtol * s[0]).sum())


def last_layer_curvature(W: Tensor) -> float:
    """M of Lemma 3.3 for the squared loss ||W z - y||^2, l = L, j = L - 1: 2 (||W||_2 + sqrt(1 + ||W||_2^2)).

    There gap <= (M/2) WCSS_{L-1}, WCSS the joint variation of features and targets.

    Raises:
        ValueError: W is not a matrix (n_L, n_{L-1}).
    """
    norm = float(singular_values(W)[0])
    return float(2 * (norm + (1 + norm**2) ** 0.5))


Tail = Callable[[Tensor, Tensor, Tensor], Tensor]


def _tail(network: Network, loss: Loss, x: Tensor, layer: int, source: int) -> tuple[Tensor, Tail, Tensor]:
    """W_l; the loss of one sample as a function of (W_l, z^j, y); and z^j (N, n_j)."""
    layers = list(network)
    if not 1 <= layer <= len(layers):
        raise ValueError(f"layer must lie between 1 and the number of layers ({len(layers)}), got {layer}")
    if not 0 <= source < layer:
        raise ValueError(f"source_layer must be at least 0 and below layer={layer}, got {source}")
    matrices = [(name, p) for name, p in layers[layer - 1].named_parameters() if p.ndim == 2]
    if len(matrices) != 1:
        raise ValueError(f"network must have exactly one weight matrix in layer {layer}, got {len(matrices)}")
    name, weight = matrices[0]
    with torch.no_grad():
        z = x
        for module in layers[:source]:
            z = module(z)

    def tail(W: Tensor, z: Tensor, y: Tensor) -> Tensor:
        out = z[None]
        for index, module in enumerate(layers[source:], source + 1):
            out = functional_call(module, {name: W}, (out,)) if index == layer else module(out)
        return loss(out, y[None])[0]

    return weight.detach(), tail, z


def _clusters(z: Tensor, y: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centroids of z and of y (K, ...), and the cluster 0..K-1 of every sample."""
    if labels.shape != z.shape[:1] or y.shape[:1] != z.shape[:1]:
        raise ValueError(
            f"labels and y must have one entry per sample of x ({len(z)}), "
            f"got shapes {tuple(labels.shape)} and {tuple(y.shape)}"
        )
    cluster = torch.unique(labels, return_inverse=True)[1]
    member = torch.nn.functional.one_hot(cluster).to(z.dtype)
    means = (member / member.sum(0)).mT
    first = member.argmax(0)
    if not y.is_floating_point():
        if not torch.equal(y, y[first][cluster]):
            raise ValueError(
                "y must be constant within each cluster of labels where it holds integers, got a mixed cluster"
            )
        return (means @ z.flatten(1)).view(-1, *z.shape[1:]), y[first], cluster
    return (means @ z.flatten(1)).view(-1, *z.shape[1:]), (means @ y.flatten(1)).view(-1, *y.shape[1:]), cluster


def _mean_gradient(weight: Tensor, tail: Tail, z: Tensor, y: Tensor) -> Tensor:
    gradient: Tensor = grad(lambda W: vmap(tail, (None, 0, 0))(W, z, y).mean())(weight)
    return gradient.detach()


def _gap(
    weight: Tensor, tail: Tail, z: Tensor, y: Tensor, centroids: Tensor, targets: Tensor, cluster: Tensor
) -> Tensor:
    """grad L - grad L_centroids, every sample replaced by its centroid in the second."""
    return _mean_gradient(weight, tail, z, y) - _mean_gradient(weight, tail, centroids[cluster], targets[cluster])


def _remainders(weight: Tensor, tail: Tail, z: Tensor, y: Tensor, centroids: Tensor, targets: Tensor) -> Tensor:
    """R_i = g(z_i, y_i) - g(c_i) - Dg(c_i)[(z_i, y_i) - c_i], (N, *W.shape), g = grad_W of the tail.

    Mixed derivatives commute: Dg(c)[d] = grad_W <grad_{(z, y)} tail(W, c), d>.
    """
    real = y.is_floating_point()

    def directional(W: Tensor, c: Tensor, t: Tensor, dz: Tensor, dy: Tensor) -> Tensor:
        slope: Tensor = (grad(tail, 1)(W, c, t) * dz).sum()
        return slope + (grad(tail, 2)(W, c, t) * dy).sum() if real else slope

    gradient = vmap(grad(tail), (None, 0, 0))
    linear = vmap(grad(directional), (None, 0, 0, 0, 0))
    exact: Tensor = gradient(weight, z, y) - gradient(weight, centroids, targets)
    first_order: Tensor = linear(weight, centroids, targets, z - centroids, (y - targets).to(z.dtype))
    return (exact - first_order).detach()


def _positive(weight_decay: float) -> float:
    if not weight_decay > 0:
        raise ValueError(f"weight_decay must be positive, got {weight_decay}")
    return float(weight_decay)
