"""The DNC and SRG solutions as explicit matrices, at their optimal scales.

Both are returned as (H, Ws), H (d, N) with columns sorted by class, Ws[l-1] = W_l, float64, all hidden widths equal
to `width` (rows and columns beyond what the solution needs are zero). Source: arXiv 2405.14468, Definitions 9-11.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ncbench.core import frames
from ncbench.theory.arguments import Array, Decays, at_least, positive, scalar_decays
from ncbench.theory.dufm_mse.losses import decay_product, dnc_scale, srg_scale, srg_vertices
from ncbench.theory.dufm_mse.objective import last_layer_ridge, nuclear_factorisation

__all__ = ["dnc_solution", "srg_solution"]

Solution = tuple[Tensor, list[Tensor]]


def dnc_solution(
    num_classes: int,
    depth: int,
    per_class: int,
    feature_decay: float,
    weight_decays: Decays,
    width: int | None = None,
) -> Solution:
    """Definition 10 with orthogonal frames [I_K; 0] in every layer; its `loss` is `dnc_loss`.

    H_1 = s_1 I kron 1_n^T, W_l = a_l I, with n lam_H s_1^2 = lam_l a_l^2 for l < L (balanced), and W_L by ridge
    regression. All zero at and beyond the triviality threshold. `width` is at least K, and K by default.

    Raises:
        ValueError: n is below 1, the width below K, or the decays are not positive numbers, one for all matrices
            or a list of L.
    """
    K, n = num_classes, at_least("per_class", per_class, 1)
    lams = scalar_decays(weight_decays, depth)
    d = _width(width, K)
    first, *others = dnc_scales(K, n, feature_decay, lams)
    eye = frames.orthogonal_frame(K, d).mT
    H = first * eye
    Ws = [scale * eye @ eye.mT for scale in others]
    return _with_last_layer(H, Ws, n, lams[-1])


def srg_solution(
    num_classes: int,
    depth: int,
    per_class: int,
    feature_decay: float,
    weight_decays: Decays,
    variant: int = 1,
    width: int | None = None,
) -> Solution:
    """Definitions 9 and 11; its `loss` is `srg_loss` of the same variant.

    Class means sqrt(alpha_l) T for 2 <= l <= L-1 (rank r), sqrt(alpha_L) times the row-normalised S T before the
    last ReLU, with the interpolating W_l of least norm. The point lies on the ReLU's kink (exact zeros of S T), so
    automatic derivatives there are not zero. `width` is at least K (for variant 2 K_r), and that by default.

    Raises:
        ValueError: as `dnc_solution`, another variant, L below 3, or K below 6 (variant 2: 4).
    """
    K, n = num_classes, at_least("per_class", per_class, 1)
    lams = scalar_decays(weight_decays, depth)
    r = srg_vertices(K, depth, variant)
    K_r = math.comb(r, 2)
    d = _width(width, max(K, K_r))
    if variant == 2:
        H, Ws = _srg_block(r, n, feature_decay, lams, d)
        return H[:, : K * n], [*Ws[:-1], Ws[-1][:K]]
    scale = K / K_r  # a block is the optimum of its own problem with all decays times K / K_r
    H, Ws = _srg_block(r, n, scale * feature_decay, [scale * lam for lam in lams], d if K_r == K else K_r)
    if K_r == K:
        return H, Ws
    rest = K - K_r  # classes do not interact in a DNC solution: any part of one is a block
    H_dnc, Ws_dnc = dnc_solution(K, depth, n, feature_decay, lams)
    other = H_dnc[:rest, : rest * n], [W[:rest, :rest] for W in Ws_dnc]
    hidden = [_blocks(a, b, d, d) for a, b in zip(Ws[:-1], other[1][:-1], strict=True)]
    return _blocks(H, other[0], d, K * n), [*hidden, _blocks(Ws[-1], other[1][-1], K, d)]


def dnc_scales(K: int, n: float, feature_decay: float, lams: list[float]) -> list[float]:
    """[s_1, a_1, ..., a_{L-1}] of H_1 = s_1 I and W_l = a_l I; zeros at and beyond the triviality threshold."""
    y = float(dnc_scale(K, len(lams), _product(K, n, feature_decay, lams))[1])
    scales = [n * feature_decay, *lams[:-1]]
    q = (math.prod(scales) * y * K * lams[-1]) ** (1 / len(lams))
    return [math.sqrt(q / scale) for scale in scales]


def srg_scales(r: int, n: float, feature_decay: float, lams: list[float]) -> tuple[float, float, list[float]]:
    """(alpha_L, sqrt(alpha_2), sqrt(alpha_{l+1} / alpha_l) for 2 <= l < L) of the SRG solution of K_r classes."""
    K, L, m = math.comb(r, 2), len(lams), 1 + math.comb(r - 2, 2)
    y = float(srg_scale(r, L, _product(K, n, feature_decay, lams))[1])
    alpha = y * m * K * lams[-1]
    # Equation 6: A sqrt(alpha_2) = 2 mu and B_l alpha_{l+1} / alpha_l = mu for 2 <= l < L.
    A = (math.sqrt(2) + math.sqrt((r - 1) * (r - 2))) * math.sqrt(n * feature_decay * lams[0])
    B = [r * lam / 2 for lam in lams[1:-2]] + [lams[-2] * K**2 / (4 * m)]
    mu = (alpha * A**2 * math.prod(B) / 4) ** (1 / L)
    return alpha, 2 * mu / A, [math.sqrt(mu / b) for b in B]


def _srg_block(r: int, n: int, feature_decay: float, lams: list[float], d: int) -> Solution:
    _, first, steps = srg_scales(r, n, feature_decay, lams)
    T, last = frames.triangular_incidence(r), frames.triangular_last_layer(r)
    W1, H = nuclear_factorisation(first * T, lams[0], n * feature_decay)
    interpolating = [scale * torch.eye(r, dtype=T.dtype) for scale in steps[:-1]]
    interpolating.append(steps[-1] * last @ torch.linalg.pinv(T))
    return _with_last_layer(_pad(H, d, math.comb(r, 2)), [_pad(W, d, d) for W in (W1, *interpolating)], n, lams[-1])


def _with_last_layer(H: Tensor, Ws: list[Tensor], n: int, decay: float) -> Solution:
    """(H kron 1_n^T, Ws and the ridge regression of the targets on the last features), from class means H (d, K)."""
    features = H
    for W in Ws:
        features = (W @ features).relu()
    return H.repeat_interleave(n, 1), [*Ws, last_layer_ridge(features, 1, decay)[0]]


def _product(K: int, n: float, feature_decay: float, lams: list[float]) -> Array:
    return np.asarray(decay_product(K, len(lams), n, float(positive("feature_decay", feature_decay)), lams))


def _width(width: int | None, least: int) -> int:
    return least if width is None else at_least("width", width, least)


def _pad(A: Tensor, rows: int, columns: int) -> Tensor:
    return torch.nn.functional.pad(A, (0, columns - A.shape[1], 0, rows - A.shape[0]))


def _blocks(A: Tensor, B: Tensor, rows: int, columns: int) -> Tensor:
    """The block diagonal of A and B, padded with zeros."""
    blocks = _pad(A, rows, columns)
    blocks[len(A) : len(A) + len(B), A.shape[1] : A.shape[1] + B.shape[1]] = B
    return blocks
