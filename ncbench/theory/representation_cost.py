"""Least weight norm of an interpolating network, and the singular values it predicts for every layer.

Source: arXiv 2402.03991 (v3), Section 4; its displayed formulas were not available, so this file derives them
(docs/theory.md says under which assumptions). Cost of parameters that interpolate,

    R_delta = sum_{l >= 2} ||W_l||_F^2 + delta ||W_1||_F^2,

for L layers without biases, data X (d, N) with orthonormal columns, and targets Y with singular values y_i.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from ncbench.theory.arguments import Array, at_least, positive

__all__ = [
    "ResidualSingularValues",
    "collapse_by_copy",
    "feedforward_cost_delta",
    "feedforward_singular_values",
    "feedforward_singular_values_delta",
    "residual_singular_values",
]


class ResidualSingularValues(NamedTuple):
    """Singular values of each kind of layer, (K,) each, float64."""

    intermediate: Tensor
    last: Tensor
    first: Tensor


def feedforward_singular_values(y: Sequence[float], regularised_layers: int, feature_norm: float) -> Tensor:
    """Common singular values s_i of the m = L - 1 regularised layers W_2 .. W_L for a free first layer (delta = 0).

    Minimises sum_{l>=2} ||W_l||_F^2 over linear layers with W_L ... W_2 Z = Y and ||Z||_F <= rho:
    t_i = s_i(Z) proportional to y_i^(1/(m+1)) with sum_i t_i^2 = rho^2, and s_i = (y_i / t_i)^(1/m).

    Args:
        y: the K nonzero singular values of Y.
        regularised_layers: m >= 1.
        feature_norm: rho > 0; sqrt(n_1 N) for a first layer of width n_1 whose activation is bounded by 1.

    Returns:
        (K,), in the order of y; further singular values are 0.

    Raises:
        ValueError: a singular value or the norm is not positive, or m below 1.
    """
    values = positive("y", list(y))
    m = at_least("regularised_layers", regularised_layers, 1)
    t = values ** (1 / (m + 1))
    t *= float(positive("feature_norm", feature_norm)) / np.linalg.norm(t)
    return torch.from_numpy((values / t) ** (1 / m))


def feedforward_singular_values_delta(
    y: Sequence[float], regularised_layers: int, delta: float, first_width: int, num_samples: int
) -> Tensor:
    """Common singular values of W_2 .. W_L when the first layer, a tanh layer of width n_1, is decayed with delta.

    Z^1 = tanh(u) times K orthogonal sign vectors, one per class: minimises over u > 0

        m K s(u)^2 + delta N n_1 u^2,   s(u) = (sqrt(K/(n_1 N)) y / tanh u)^(1/m).

    delta = 0 is the limit u -> infinity, where no minimiser exists at finite W_1. With hidden layers that are not
    linear, training can find a first hidden map of lower rank and cost: compare layers >= 3 there.

    Args:
        y: the K singular values of Y, all equal (balanced classes).
        regularised_layers: m = L - 1.
        delta: >= 0.
        first_width: n_1 >= K.
        num_samples: N.

    Returns:
        (K,), all equal. Raises ValueError for singular values that differ.
    """
    s, _ = _tanh_family(y, regularised_layers, delta, first_width, num_samples)
    return torch.full((len(y),), s, dtype=torch.float64)


def feedforward_cost_delta(
    y: Sequence[float], regularised_layers: int, delta: float, first_width: int, num_samples: int
) -> tuple[float, float]:
    """(R_delta, R_{>=2}) of the network of `feedforward_singular_values_delta`: its cost with and without layer 1.

    R_delta = m K s^2 + delta N n_1 u^2 at the minimising u, and R_{>=2} = m K s^2. As delta falls to 0 both fall to

        R_0 = m K (sqrt(K/(n_1 N)) y)^(2/m)

    without reaching it: R_delta decreases pointwise in delta, so its Gamma-limit is the lower semicontinuous envelope
    of R_0, and its minima converge to that of R_0 over features bounded by 1. Arguments and errors
    as `feedforward_singular_values_delta`.

    >>> [round(feedforward_cost_delta([5**0.5] * 4, 4, delta, 16, 20)[1], 3) for delta in (1e-3, 1e-5, 0)]
    [8.451, 8.011, 8.0]
    """
    s, u = _tanh_family(y, regularised_layers, delta, first_width, num_samples)
    upper = regularised_layers * len(y) * s**2
    return upper + (delta * num_samples * first_width * u**2 if delta else 0.0), upper


def _tanh_family(
    y: Sequence[float], regularised_layers: int, delta: float, first_width: int, num_samples: int
) -> tuple[float, float]:
    """(s, u) at the least m K s(u)^2 + delta N n_1 u^2; u is infinite for delta = 0."""
    values = positive("y", list(y))
    if np.ptp(values) > 1e-12 * values.max():
        raise ValueError(f"y must hold equal singular values (balanced classes), got {list(y)}")
    K, m = len(values), at_least("regularised_layers", regularised_layers, 1)
    n_1 = at_least("first_width", first_width, K, "one sign vector per class")
    N = at_least("num_samples", num_samples, K, "one per class")
    limit = (np.sqrt(K / (n_1 * N)) * values[0]) ** (1 / m)
    if delta == 0:
        return float(limit), math.inf
    weight = float(positive("delta", delta)) * N * n_1

    def slope(t: float) -> float:
        """Logarithm of the ratio of the two terms of d/du, u = e^t: increasing, so its root is the only minimum."""
        u = np.exp(t)
        # d s^2/du = -(2/m) s^2 / (sinh u cosh u); log(sinh u cosh u) = 2u - log 4 + log(1 - e^(-4u)).
        fall = np.log(K * limit**2) - (2 / m) * np.log(np.tanh(u)) - (2 * u - np.log(4) + np.log(-np.expm1(-4 * u)))
        return float(np.log(weight) + t - fall)

    u = float(np.exp(brentq(slope, -60.0, 6.0, xtol=1e-14)))
    return float(limit * np.tanh(u) ** (-1 / m)), u


def residual_singular_values(y: Sequence[float], depth: int, delta: float) -> ResidualSingularValues:
    """Least R_delta of a residual network z^l = z^{l-1} + W_l z^{l-1}, 2 <= l < L, with linear first and last layer.

    Per singular value y of Y: w (1 + w)^(L-1) = y sqrt(delta) for the intermediate layers, sqrt(w (1 + w)) for the
    last and that over sqrt(delta) for the first. As delta -> 0 the intermediate layers vanish, w ~ y sqrt(delta).

    Args:
        y: singular values of Y.
        depth: L >= 2 layers, L - 2 of them residual (L = 2: `intermediate` is what such a layer would have).
        delta: > 0.

    Raises:
        ValueError: a singular value or delta is not positive, or L below 2.
    """
    values = positive("y", list(y))
    L = at_least("depth", depth, 2)
    root = np.sqrt(float(positive("delta", delta)))

    def width(target: float) -> float:
        t = brentq(
            lambda t: t + (L - 1) * np.log1p(np.exp(t)) - np.log(target), np.log(target) - 40 * L, np.log(target) + 1
        )
        return float(np.exp(t))

    w: Array = np.array([width(value * root) for value in values])
    last = np.sqrt(w * (1 + w))
    return ResidualSingularValues(torch.from_numpy(w), torch.from_numpy(last), torch.from_numpy(last / root))


def collapse_by_copy(W: Tensor, X: Tensor, labels: Tensor) -> Tensor:
    """W' (n_1, d) with W' x_i = W x_rep(i), rep(i) the first sample of the class of i: total collapse for free.

    Behind the optimality of collapse for delta = 0: the layers above, hence their norms and the interpolation of
    class targets, are unchanged, while every layer l >= 1 has within-class variation 0. Any architecture.

    Args:
        W: first weight matrix (n_1, d).
        X: (d, N), of full column rank (N <= d).
        labels: (N,) integers.

    Raises:
        ValueError: shapes do not fit, or X has no full column rank.
    """
    if labels.shape != X.shape[1:] or W.shape[1:] != X.shape[:1]:
        raise ValueError(
            f"W (n_1, d) and labels (N,) must fit X (d, N) = {tuple(X.shape)}, "
            f"got {tuple(W.shape)} and {tuple(labels.shape)}"
        )
    rank = int(torch.linalg.matrix_rank(X))
    if rank < X.shape[1]:
        raise ValueError(f"X must have full column rank {X.shape[1]}, got rank {rank}")
    first = (labels[:, None] == labels).to(torch.int8).argmax(1)
    copied: Tensor = (W @ X)[:, first] @ torch.linalg.pinv(X)
    return copied
