"""Singular values of every layer of the DNC and the SRG solution, in closed form.

Legend as in `losses`. Stages have the names of the records: `features.post` is H_1, `head.l.pre` W_l H_l, `head.l.post`
its ReLU, `head.l.weight` W_l. Source: arXiv 2405.14468, Definitions 9-11 and Lemmas 12-18.
"""

import math

import numpy as np

from ncbench.theory.arguments import Array, Decays, positive, scalar_decays
from ncbench.theory.dufm_mse.losses import srg_vertices
from ncbench.theory.dufm_mse.solutions import dnc_scales, srg_scales

__all__ = ["dnc_spectra", "srg_spectra"]

Spectra = dict[str, list[float]]
Values = dict[str, Array]


def dnc_spectra(num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays) -> Spectra:
    """sigma_i / sigma_1 of every stage of the DNC solution (Definition 10): K ones, for class means and weights alike.

    Arguments as `dnc_loss`, one number per decay. Raises ValueError where that does, and at and beyond the
    triviality threshold, where the solution is zero and has no direction.

    >>> dnc_spectra(3, 2, 5, 2e-3, 2e-3)["head.1.pre"]
    [1.0, 1.0, 1.0]
    """
    n, lam_H, lams = _numbers(per_class, feature_decay, weight_decays, depth)
    return _relative([_dnc_values(num_classes, num_classes, n, lam_H, lams)], weight_decays)


def srg_spectra(
    num_classes: int, depth: int, per_class: float, feature_decay: float, weight_decays: Decays, variant: int = 1
) -> Spectra:
    """sigma_i / sigma_1 of every stage of the SRG solution (Definition 9; any K by Definition 11, variant 1).

    For K = K_r, in descending order and filled with zeros to K values, with multiplicities 1, r-1 and r(r-3)/2:

        T                    sqrt 2,           sqrt((r-2)/(r-1))   head.l.pre = head.l.post, l <= L-2 (Lemma 15)
        H_1, W_1             the square roots of those (Lemma 18)
        W_l, 2 <= l <= L-2   1 and 1 (Lemma 13)
        head.(L-1).pre       (r-1)(r-4)/2,     r-2                 J - A - 2I; for r = 5 the second is the larger
        W_(L-1)              head.(L-1).pre divided by T (Lemma 14)
        head.(L-1).post      e = C(r-2, 2), r-3 and 1 (Lemma 16)
        W_L and its output   e/(1 + y e^2) and y e^2/(1 + y e^2) (Lemma 17), the only ones that depend on the decays

    Other K: the values of the SRG block of K_r classes and of the DNC block of the rest, each at its own scale, so that
    all depend on the decays. Raises ValueError where `srg_loss` does, for variant 2 and for the zero solution.

    >>> [round(s, 4) for s in srg_spectra(10, 4, 5, 2e-3, 2e-3)["head.1.pre"]]
    [1.0, 0.6124, 0.6124, 0.6124, 0.6124, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    if variant != 1:
        raise ValueError(f"variant must be 1 (the spectra of variant 2 have no closed form here), got {variant}")
    r = srg_vertices(num_classes, depth, variant)
    n, lam_H, lams = _numbers(per_class, feature_decay, weight_decays, depth)
    rest = num_classes - math.comb(r, 2)
    blocks = [_srg_values(num_classes, r, n, lam_H, lams)]
    if rest:
        blocks.append(_dnc_values(num_classes, rest, n, lam_H, lams))
    return _relative(blocks, weight_decays)


def _dnc_values(K: int, part: int, n: float, lam_H: float, lams: list[float]) -> Values:
    """Singular values of `part` of the K classes: every matrix is a multiple of the identity."""
    scales = dnc_scales(K, n, lam_H, lams)
    means = np.cumprod(scales)  # H_1, W_1 H_1, ..., W_(L-1) ... W_1 H_1
    values = {"features.post": means[0]}
    for l, (scale, mean) in enumerate(zip(scales[1:], means[1:], strict=True), 1):
        values |= {f"head.{l}.weight": scale, f"head.{l}.pre": mean, f"head.{l}.post": mean}
    values |= _last_matrix(means[-1], K, lams)
    return {stage: np.full(part, value) for stage, value in values.items()}


def _srg_values(K: int, r: int, n: float, lam_H: float, lams: list[float]) -> Values:
    """Singular values of the block of K_r of the K classes: the K_r-problem with all decays times K/K_r."""
    L, K_r = len(lams), math.comb(r, 2)
    m, ratio = 1 + math.comb(r - 2, 2), K / K_r
    block_lam_H, block_lams = ratio * lam_H, [ratio * lam for lam in lams]
    alpha, first, steps = srg_scales(r, n, block_lam_H, block_lams)
    T = _spectrum(r, math.sqrt(2), math.sqrt((r - 2) / (r - 1)), 0.0)
    # Lemma 18 splits the layer-2 means sqrt(alpha_2) T into H_1 and W_1 with singular values in the ratio 1 : g^2.
    g = (n * block_lam_H / block_lams[0]) ** 0.25
    values = {"features.post": np.sqrt(first * T) / g, "head.1.weight": np.sqrt(first * T) * g}
    # Layers 2..L-1 are multiples of T; the W_l between them are multiples of a projection.
    scale = first
    for l in range(1, L - 1):
        values |= {f"head.{l}.pre": scale * T, f"head.{l}.post": scale * T}
        if l < L - 2:
            values[f"head.{l + 1}.weight"] = steps[l - 1] * _spectrum(r, 1.0, 1.0, 0.0)
            scale *= steps[l - 1]
    # The means before and after the last ReLU (Lemma 16), and W_(L-1), which leads from T to the former (Lemma 14).
    last = _spectrum(r, (r - 1) * (r - 4) / 2, r - 2, 0.0) / math.sqrt(m)
    post = math.sqrt(alpha / m) * _spectrum(r, math.comb(r - 2, 2), r - 3, 1.0)
    values[f"head.{L - 1}.weight"] = steps[-1] * np.divide(last, T, out=np.zeros(K_r), where=T > 0)
    values |= {f"head.{L - 1}.pre": math.sqrt(alpha) * last, f"head.{L - 1}.post": post}
    return values | _last_matrix(post, K, lams)


def _last_matrix(features: Array, K: int, lams: list[float]) -> Values:
    """W_L and its output (Lemma 17) at the singular values of the class means H_L; K lam_L is the same in a block."""
    weight = features / (features**2 + K * lams[-1])
    return {f"head.{len(lams)}.weight": weight, f"head.{len(lams)}.pre": weight * features}


def _spectrum(r: int, constant: float, vertices: float, rest: float) -> Array:
    """K_r values on the eigenvectors of the triangular graph: the constant one, those of eigenvalue r - 4, the rest."""
    return np.repeat([float(constant), float(vertices), float(rest)], [1, r - 1, r * (r - 3) // 2])


def _relative(blocks: list[Values], weight_decays: Decays) -> Spectra:
    """The blocks' values together, descending and divided by the largest."""
    joined = {stage: np.sort(np.concatenate([block[stage] for block in blocks]))[::-1] for stage in blocks[0]}
    if not joined["features.post"][0] > 0:
        raise ValueError(f"weight_decays must be small enough for a non-zero solution, got {weight_decays}")
    return {stage: [float(s) for s in values / values[0]] for stage, values in joined.items()}


def _numbers(
    per_class: float, feature_decay: float, weight_decays: Decays, depth: int
) -> tuple[float, float, list[float]]:
    n, lam_H = float(positive("per_class", per_class)), float(positive("feature_decay", feature_decay))
    return n, lam_H, scalar_decays(weight_decays, depth)
