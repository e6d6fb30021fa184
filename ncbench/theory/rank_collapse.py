"""Neural rank collapse as lines on a run's axes: closed forms whose arguments a run supplies.

Source: arXiv 2402.03991. The variation of the inputs is that of Gaussian blobs (Proposition 4.1). The deep linear lines
are derived for autoencoders without biases on K isotropic Gaussian blobs of standard deviation sigma (`noise`) in R^d;
the singular values for N samples with orthonormal inputs, K balanced classes and one-hot targets, whose singular values
are all sqrt(n). lam is the decay of the loss with 1/N, and delta weighs that of the first layer: lam delta.
"""

import math

from ncbench.theory.arguments import at_least, positive
from ncbench.theory.deep_linear import autoencoder_gap_law
from ncbench.theory.factor_decay import factor_decay_thresholds
from ncbench.theory.mixture import cluster_variation_tail_bound
from ncbench.theory.representation_cost import (
    ResidualSingularValues,
    feedforward_singular_values_delta,
    residual_singular_values,
)

__all__ = [
    "FORMULAS",
    "feedforward_singular_value",
    "mixture_tcv",
    "mixture_tcv_upper",
    "noise_exists",
    "noise_global",
    "residual_norm_first",
    "residual_norm_intermediate",
    "residual_norm_last",
    "ridge_gap",
]

# How many neurons every layer needs where the solution is to exist: K equal singular values in each.
NARROWEST = dict.fromkeys(
    ("feedforward_singular_value", "residual_norm_first", "residual_norm_intermediate", "residual_norm_last"),
    lambda of: of["num_classes"],
)

FORMULAS = {
    "ridge_gap": "√(d-K) σ²/(σ²+λδ)",
    "noise_exists": "σ²(1+√(d/N))² = λ δ^(1/L) / ((1-w)w^(1-2/L)),  w = (L-2)/(2(L-1))",
    "noise_global": "σ²(1+√(d/N))² = λ δ^(1/L) (L-1) w^(2/L-1),  w = (L-2)/(L-1)",
    "mixture_tcv": "E TCV = σ² d (1-K/N), by labels, of the inputs alone",
    "mixture_tcv_upper": "σ² (f + 2√(ft) + 2t)/N,  f = d(N-K),  t = log(1/p)",
    "feedforward_singular_value": "s = (√(K/(n₁N)) √n / tanh u)^(1/m),  m = L-1,  u = argmin m K s² + δ N n₁ u²",
    "residual_norm_first": "‖W_1‖_F = √(K w(1+w)/δ),  w(1+w)^(L-1) = √(nδ)",
    "residual_norm_intermediate": "‖W_l‖_F = √K w,  w(1+w)^(L-1) = √(nδ)",
    "residual_norm_last": "‖W_L‖_F = √(K w(1+w)),  w(1+w)^(L-1) = √(nδ)",
}


def ridge_gap(
    num_classes: int, dimension: int, noise: float, weight_decay: float, depth: int, delta: float = 1.0
) -> float:
    """||W* - Wc||_F of plain ridge on the product, L = 1: `autoencoder_gap_law`, to leading order.

    With the decay on L >= 2 factors the distance has another law (`factor_decay_mode`): for modes below threshold it is
    quadratic in sigma as well, but nearly independent of the decay. So ValueError unless depth = 1. The one matrix has
    the decay lam delta.
    """
    if depth != 1:
        raise ValueError(f"depth must be 1 for ridge on the product (one matrix), got {depth}")
    return float(autoencoder_gap_law(num_classes, dimension, noise, _decay(weight_decay, depth, delta)))


def noise_exists(num_samples: int, dimension: int, weight_decay: float, depth: int, delta: float = 1.0) -> float:
    """The sigma above which the first noise mode of a deep linear autoencoder can be kept: a minimum exists.

    There the largest eigenvalue of the noise, sigma^2 (1 + sqrt(d/N))^2 for large N (the edge of Marchenko and Pastur),
    reaches `factor_decay_thresholds(depth).exists` times lam: sigma = 1.61 sqrt(lam) / (1 + sqrt(d/N)) for L = 4. Below
    it the product has rank <= K. 0 for L = 1, where ridge keeps every mode. A first layer of decay lam delta makes lam
    delta^(1/L) of lam: the product alone of the L decays counts, as scale moves between the layers.
    """
    lam = _decay(weight_decay, depth, delta)
    return _noise(num_samples, dimension, lam, factor_decay_thresholds(depth).exists)


def noise_global(num_samples: int, dimension: int, weight_decay: float, depth: int, delta: float = 1.0) -> float:
    """As `noise_exists` for `is_global`, above which keeping that mode is best: 1.92 in place of 1.61 for L = 4.

    Between the two, and above, the start decides whether training keeps it.
    """
    lam = _decay(weight_decay, depth, delta)
    return _noise(num_samples, dimension, lam, factor_decay_thresholds(depth).is_global)


def mixture_tcv(num_samples: int, num_classes: int, dimension: int, noise: float) -> float:
    """Proposition 4.1: the mean of `tcv` of the inputs, sigma^2 d (1 - K/N), over draws of isotropic Gaussian blobs.

    `tcv` as it is recorded of the layer `features`: by labels as partition, around empirical means, of the inputs
    alone. The paper's TCV is the least over partitions, so at most that, and joint with the targets: by one partition
    it is exactly twice as much for an autoencoder, y = x, and the same where the targets are labels. A line for
    `measure: tcv, layers: [features]`.

    The inputs are one draw, which all replicas share up to the factor sigma: so many noises are one test of the mean,
    and another seed of the data is another.

    Raises:
        ValueError: K or d is below 1, N below K, or the noise not positive.
    """
    at_least("num_classes", num_classes, 1)
    at_least("num_samples", num_samples, num_classes, "the number of classes")
    sigma = float(positive("noise", noise))
    return sigma**2 * at_least("dimension", dimension, 1) * (1 - num_classes / num_samples)


def mixture_tcv_upper(
    num_samples: int, num_classes: int, dimension: int, noise: float, probability: float = 0.01
) -> float:
    """What `tcv` of the inputs, as in `mixture_tcv`, exceeds with at most this probability over draws.

    `cluster_variation_tail_bound` at t = log(1 / probability): explicit, where Proposition 4.1 has a constant that it
    does not give. So is the least over partitions, which is smaller. ValueError for a probability outside (0, 1).
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie in (0, 1), got {probability}")
    return cluster_variation_tail_bound(noise, dimension, num_samples, num_classes, math.log(1 / probability))


def feedforward_singular_value(
    num_classes: int, per_class: float, num_samples: int, depth: int, first_width: int, delta: float
) -> float:
    """The common value of the K nonzero singular values of W_2 .. W_L: `feedforward_singular_values_delta`.

    y_i = sqrt(n), m = L - 1; a tanh first layer of width n_1.
    """
    y = _targets(num_classes, per_class)
    return float(feedforward_singular_values_delta(y, depth - 1, delta, first_width, num_samples)[0])


def residual_norm_first(num_classes: int, per_class: float, depth: int, delta: float) -> float:
    """||W_1||_F of the residual network of least cost: `residual_singular_values`, K equal values for y_i = sqrt(n)."""
    return float(_residual(num_classes, per_class, depth, delta).first.norm())


def residual_norm_intermediate(num_classes: int, per_class: float, depth: int, delta: float) -> float:
    """||W_l||_F, 2 <= l <= L-1, as `residual_norm_first`; vanishes as delta -> 0. L >= 3, or there is none.

    ValueError for depth < 3 (there are no intermediate layers).
    """
    at_least("depth", depth, 3)
    return float(_residual(num_classes, per_class, depth, delta).intermediate.norm())


def residual_norm_last(num_classes: int, per_class: float, depth: int, delta: float) -> float:
    """||W_L||_F, as `residual_norm_first`."""
    return float(_residual(num_classes, per_class, depth, delta).last.norm())


def _decay(weight_decay: float, depth: int, delta: float) -> float:
    """lam delta^(1/L): the decay that all L layers would have for the same cost of a product."""
    at_least("depth", depth, 1)
    return float(positive("weight_decay", weight_decay) * positive("delta", delta) ** (1 / depth))


def _noise(num_samples: int, dimension: int, weight_decay: float, threshold: float) -> float:
    at_least("num_samples", num_samples, 1)
    at_least("dimension", dimension, 1)
    lam = float(positive("weight_decay", weight_decay))
    return math.sqrt(threshold * lam) / (1 + math.sqrt(dimension / num_samples))


def _targets(num_classes: int, per_class: float) -> list[float]:
    n = float(positive("per_class", per_class))
    return [math.sqrt(n)] * at_least("num_classes", num_classes, 1)


def _residual(num_classes: int, per_class: float, depth: int, delta: float) -> ResidualSingularValues:
    return residual_singular_values(_targets(num_classes, per_class), depth, delta)
