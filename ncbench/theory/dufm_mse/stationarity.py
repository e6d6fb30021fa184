"""Whether the SRG solution is a stationary point, and where descent can leave it: closed forms, without Hessians.

The SRG matrices of K = r(r-1)/2 classes lie on the kink of the ReLU: the zeros of T in layers 2..L-1, and in layer L
the zeros of S T (pairs of edges that share one vertex) are zeros of pre-activations. There the objective has
one-sided derivatives only. A point is stationary if all of them are >= 0. Where raising a pre-activation off the kink
costs g >= 0, that is so if (and for the directions of `srg_escape` only if) multipliers mu = share * g with
0 <= share <= 1 exist for which backpropagation with the gate `share` gives a zero gradient: max(v, 0) >= share * v.

By the symmetry of the vertices there is one multiplier per layer, and the stationarity of one weight matrix fixes it.
Letters as in `losses`; c and b: W_{L-1} = c S, and b < 0 is the gradient at the pre-activations of layer L for two
edges without a common vertex. Not in arXiv 2405.14468, which says nothing about local minima.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ncbench.core import frames
from ncbench.theory.arguments import Decays, at_least, positive, scalar_decays
from ncbench.theory.dufm_mse.losses import decay_product, srg_scale, srg_vertices
from ncbench.theory.dufm_mse.solutions import srg_scales, srg_solution

__all__ = ["SrgEscape", "new_neuron_gain", "srg_escape", "srg_is_stationary", "srg_kink_shares"]


class SrgEscape(NamedTuple):
    """A direction from the SRG solution along which the loss falls: loss(t) - loss(0) = rate t^order + higher order.

    `features` (d, N) and `weights` have the shapes of `srg_solution`; the direction has norm 1 over all of them.
    """

    features: Tensor
    weights: list[Tensor]
    order: int
    rate: float


def srg_kink_shares(
    num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays
) -> list[float]:
    """mu / g in the layers 2..L (L - 1 numbers), for K = r(r-1)/2: the SRG is stationary if all lie in [0, 1].

        layer 2 (L >= 4)    2(1-h)(r-2)/(r-2+2h), h = sqrt((r-2)/(2(r-1)))   from W_1, H_1 (nuclear norm)
        layers 3..L-2       1                                                from W_l = s I
        layer L-1 (L >= 4)  r/((8-r)(r-2))                                   from W_{L-2} = s I
        layer 2 (L = 3)     2(1-h) r/((8-r)(r-2+2h))
        layer L             -b (r-3)/(r g), g the gradient for two edges with a common vertex; from W_{L-1} = c S

    Only the last depends on the decays. It is infinite for r = 4, where g = 0: the features are an orthogonal frame,
    so the loss does not change to first order where one of its zeros grows. Infinite also at r = 8 in layer L-1, where
    g = 0, and negative beyond, where g < 0. Raises ValueError where K is not r(r-1)/2 with r >= 4, or depth < 3.

    >>> [round(s, 4) for s in srg_kink_shares(10, 4, 5, 2e-3, 2e-3)]
    [0.5505, 0.5556, 0.4802]
    """
    r, L = _vertices(num_classes, depth), depth
    h = math.sqrt((r - 2) / (2 * (r - 1)))
    nuclear = 2 * (1 - h) / (r - 2 + 2 * h)  # mu over minus the gradient at the entries of T that are not zero
    below = math.inf if r == 8 else r / (8 - r)  # minus that gradient over g, in layer L-1
    b, g = _last_gradient(
        num_classes, r, *_y(num_classes, r, per_class, feature_decay, scalar_decays(weight_decays, L))
    )
    last = -b * (r - 3) / (r * g) if r > 4 else math.inf
    if L == 3:
        return [nuclear * below, last]
    return [nuclear * (r - 2), *[1.0] * (L - 4), below / (r - 2), last]


def srg_is_stationary(
    num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays
) -> bool:
    """Whether every one-sided derivative of the loss at the SRG solution is >= 0: all shares in [0, 1].

    True for K = 10 and 15, and for K = 21 with L = 3; False for K = 6, for K = 21 with L >= 4, and for K >= 28.
    A stationary point need not be a minimum: see `new_neuron_gain`. Arguments and errors as `srg_kink_shares`.
    """
    shares = srg_kink_shares(num_classes, depth, per_class, feature_decay, weight_decays)
    return all(0 <= share <= 1 for share in shares)


def new_neuron_gain(
    num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays, plus: int
) -> float:
    """What an additional neuron of the last hidden layer gains over what it costs, in second order: > 1 is descent.

    Its weights are t w, w a sign vector over the r vertices with `plus` entries +1, normed, and its weights into the
    outputs are t u, u the best unit vector. Then exactly, with lam = sqrt(lam_{L-1} lam_L) and t balanced,

        loss(t) - loss(0) = lam (1 - gain) t^2 + O(t^4),   gain = sqrt(Q(plus) / Q(r-2)),
        Q(p) = sum_i |E_i 1_p|^2 / (1 + s_i y)^2,

    1_p the indicator of the edges among p vertices, E_i the projections on the eigenspaces of the triangular graph
    and s_i the squared singular values of Lemma 16. The neurons of the solution have plus = r - 2 and the gain 1.

    Raises:
        ValueError: K is not r(r-1)/2 >= 6, L is below 3, `plus` lies outside 2..r, or the decays are not positive
            numbers or so large that the solution is zero.

    >>> round(new_neuron_gain(15, 4, 5, 2e-3, 2e-3, 3), 4), new_neuron_gain(10, 4, 5, 2e-3, 2e-3, 2) < 1
    (1.1969, True)
    """
    r = _vertices(num_classes, depth)
    p = at_least("plus", plus, 2, "an edge among them")
    if p > r:
        raise ValueError(f"plus must be at most the {r} vertices, got {plus}")
    y, _ = _y(num_classes, r, per_class, feature_decay, scalar_decays(weight_decays, depth))

    def squares(p: int) -> float:
        """Q(p): squared length of the residual times the indicator of the C(p, 2) edges among p vertices."""
        edges, K = math.comb(p, 2), math.comb(r, 2)
        constant = edges**2 / K
        vertices = (p - 1) ** 2 * (p / (r - 2) - p**2 / ((r - 2) * (2 * r - 2)))  # on the row space of T
        parts = [constant, vertices - constant, edges - vertices]
        return sum(part / (1 + d * d * y) ** 2 for part, d in zip(parts, _eigenvalues(r), strict=True))

    return math.sqrt(squares(p) / squares(r - 2))


def srg_escape(
    num_classes: int,
    depth: int,
    per_class: int,
    feature_decay: float,
    weight_decays: Decays,
    width: int | None = None,
) -> SrgEscape | None:
    """A direction in which the loss falls from the SRG solution, or None where none is known (K = 10).

        r = 4         W_{L-1} + t 11^T: S 1 = 0 makes it orthogonal to W_{L-1}, so decay does not see it to first order,
                      while every pre-activation of layer L grows, those of the own class among them. Order 1.
        r >= 7, or 8  (I + t (11^T - I)) W_{L-2} and c (S - t (r-4) 11^T): the zeros of M_{L-1} rise, those of layer L
        where L = 3   stay. Order 1, where layer L-1 of `srg_kink_shares` is not in [0, 1].
        other r >= 6  a neuron more in the last hidden layer (`new_neuron_gain` at its best `plus`). Order 2; needs a
                      width of at least K + 1.

    Arguments and errors as `srg_solution`; K = r(r-1)/2 only.
    """
    r = _vertices(num_classes, depth)
    lams = scalar_decays(weight_decays, depth)
    numbers = (num_classes, depth, per_class, feature_decay, lams)
    H, Ws = srg_solution(*numbers, width=width)
    steps = [torch.zeros_like(W) for W in Ws]
    if r == 4:
        order, rate = 1, _raise_last_layer(steps, r, *numbers)
    elif not 0 <= srg_kink_shares(*numbers)[-2] <= 1:
        order, rate = 1, _raise_layer_before(steps, Ws, r, *numbers)
    else:
        plus = max(range(2, r), key=lambda p: new_neuron_gain(*numbers, p))
        gain = new_neuron_gain(*numbers, plus)
        if gain <= 1 + 1e-9 or len(Ws[-2]) <= num_classes:
            return None
        _add_neuron(steps, H[:, ::per_class], Ws, r, plus, lams)
        order, rate = 2, math.sqrt(lams[-2] * lams[-1]) * (1 - gain)
    norm = math.sqrt(float(sum(step.square().sum() for step in steps)))
    return SrgEscape(torch.zeros_like(H), [step / norm for step in steps], order, rate / norm**order)


def _raise_last_layer(steps: list[Tensor], r: int, K: int, L: int, n: float, lam_H: float, lams: list[float]) -> float:
    """r = 4: write the direction into `steps` and return the slope along it."""
    steps[-2][:K, :r] = 1
    y, unit = _y(K, r, n, lam_H, lams)
    # Residual -1/(1 + y) on the diagonal alone, W_L = sqrt(y / (K lam)) / (1 + y); column sums of M are 2 entries.
    return -2 * _entry(r, n, lam_H, lams) * math.sqrt(y / unit) / (1 + y) ** 2


def _raise_layer_before(
    steps: list[Tensor], Ws: list[Tensor], r: int, K: int, L: int, n: float, lam_H: float, lams: list[float]
) -> float:
    """r >= 7: write the direction into `steps` and return the slope along it."""
    _, first, scales = srg_scales(r, n, lam_H, lams)
    c = math.sqrt(r - 1) / (2 * math.sqrt(1 + math.comb(r - 2, 2))) * scales[-1]
    steps[-3][:r] = (torch.ones(r, r, dtype=Ws[0].dtype) - torch.eye(r, dtype=Ws[0].dtype)) @ Ws[-3][:r]
    steps[-2][:K, :r] = -c * (r - 4)
    b = _last_gradient(K, r, *_y(K, r, n, lam_H, lams))[0]
    # 2K entries of M_{L-1} grow by one unit and (r-2) K zeros by two.
    rate = -c * b * _entry(r, n, lam_H, lams) * K * (r - 2) * (r - 3) * ((r - 2) * (8 - r) / r - 1)
    if L == 3:  # the decay of W_1: sqrt(n lam_H lam_1) times the trace of (11^T - I) (M M^T)^(1/2)
        rate += math.sqrt(n * lam_H * lams[0]) * first * (r - 1) * (math.sqrt(2) - math.sqrt((r - 2) / (r - 1)))
    return rate


def _add_neuron(steps: list[Tensor], means: Tensor, Ws: list[Tensor], r: int, plus: int, lams: list[float]) -> None:
    """Write into `steps` the neuron of `new_neuron_gain`, balanced: lam_{L-1} |w|^2 = lam_L |u|^2."""
    K = means.shape[1]
    signs = torch.ones(r, dtype=means.dtype)
    signs[plus:] = -1
    features = means
    for W in Ws[:-1]:
        features = (W @ features).relu()
    residual = Ws[-1] @ features - torch.eye(K, dtype=means.dtype)
    u = -residual @ (signs @ frames.triangular_incidence(r)).relu()
    ratio = (lams[-2] / lams[-1]) ** 0.25
    steps[-2][K, :r], steps[-1][:, K] = signs / math.sqrt(r) / ratio, u / u.norm() * ratio


def _entry(r: int, n: float, lam_H: float, lams: list[float]) -> float:
    """The entries of M_{L-1} that are not zero, sqrt(alpha_{L-1} / (r-1))."""
    _, first, scales = srg_scales(r, n, lam_H, lams)
    return first * math.prod(scales[:-1]) / math.sqrt(r - 1)


def _last_gradient(K: int, r: int, y: float, decay: float) -> tuple[float, float]:
    """Gradient at the pre-activations of layer L, W_L^T (W_L H_L - I)/K: (edges apart, edges that share a vertex)."""
    degree, apart = 2 * (r - 2), math.comb(r - 2, 2)
    multiplicities = [1, r - 1, r * (r - 3) // 2]
    adjacent_cosines = [1, (r - 4) / degree, -2 / degree]
    apart_cosines = [1, (3 - r) / apart, 1 / apart]
    values = [
        -math.sqrt(y / decay) / K * k / K * d / (1 + d * d * y) ** 2
        for k, d in zip(multiplicities, _eigenvalues(r), strict=True)
    ]
    b = sum(value * cosine for value, cosine in zip(values, apart_cosines, strict=True))
    return b, sum(value * cosine for value, cosine in zip(values, adjacent_cosines, strict=True))


def _eigenvalues(r: int) -> list[float]:
    """Eigenvalues of H_L in units of sqrt(alpha_L / m): 1 for edges without a common vertex, 0 otherwise."""
    return [float(math.comb(r - 2, 2)), 3.0 - r, 1.0]


def _y(K: int, r: int, n: float, feature_decay: float, lams: list[float]) -> tuple[float, float]:
    """(y, K lam_L): the squared scale of the last features, alpha_L / (m K lam_L), and its unit."""
    lam = decay_product(K, len(lams), n, float(positive("feature_decay", feature_decay)), lams)
    y = float(srg_scale(r, len(lams), np.asarray(lam))[1])
    if y == 0:
        raise ValueError(f"weight_decays must be small enough for a non-zero solution, got {lams}")
    return y, K * lams[-1]


def _vertices(num_classes: int, depth: int) -> int:
    r = srg_vertices(num_classes, depth, 1)
    if math.comb(r, 2) != num_classes:
        raise ValueError(f"num_classes must be r(r-1)/2 (6, 10, 15, 21, ...), got {num_classes}")
    return r
