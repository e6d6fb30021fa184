"""The objective of the deep linear unconstrained features model with cross-entropy, and its reduction to logits.

Source: arXiv 2410.23169. Letters: H (d, N) free features, columns in class order, n per class, N = nK; W_l, l = 1..L,
so that L + 1 factors are decayed; Z = W_L ... W_1 H (K, N) logits, no biases; M (K, K) class-mean logits, Z = M kron
1_n^T, column c the logits of class c; Lam the effective decay.

    (1/N) sum_i -log softmax(z_i)_{c(i)} + lam_H/2 ||H||_F^2 + sum_l lam_l/2 ||W_l||_F^2
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ncbench.theory.arguments import (
    Array,
    Decay,
    Decays,
    at_least,
    geometric_mean,
    layer_decays,
    plain,
    positive,
    scalar_decays,
)

__all__ = [
    "balanced_factors",
    "effective_decay",
    "loss",
    "minimum_margin",
    "reduced_objective",
    "schatten_power",
    "softmax_code_cost",
]


def loss(
    H: Tensor,
    Ws: Sequence[Tensor],
    per_class: int,
    feature_decay: float,
    weight_decays: Decays,
    activation: Literal["linear", "relu"] = "linear",
) -> Tensor:
    """The objective above; with "relu" a ReLU follows every W_l but the last (none on H itself).

    Natural logarithm, mean over samples, lam/2. Returns a 0-dimensional tensor, differentiable in H and Ws. Raises
    ValueError where the columns are not `per_class` for each of the K rows of W_L, or for another activation.
    """
    if activation not in ("linear", "relu"):
        raise ValueError(f'activation must be "linear" or "relu", got {activation!r}')
    K, N = Ws[-1].shape[0], H.shape[1]
    if K * per_class != N:
        raise ValueError(
            f"per_class times the {K} classes must be the number of columns ({N}), got per_class={per_class}"
        )
    Z = H
    for W in Ws[:-1]:
        Z = W @ Z
        Z = Z.relu() if activation == "relu" else Z
    labels = torch.arange(K, device=H.device).repeat_interleave(per_class)
    total = torch.nn.functional.cross_entropy((Ws[-1] @ Z).mT, labels)
    lams = [float(positive("feature_decay", feature_decay)), *scalar_decays(weight_decays, len(Ws))]
    for lam, factor in zip(lams, [H, *Ws], strict=True):
        total = total + lam / 2 * factor.square().sum()
    return total


def effective_decay(
    weight_decays: Decays, feature_decay: Decay, per_class: Decay, depth: int | None = None
) -> float | Array:
    """Lam = (n lam_H lam_1 ... lam_L)^(1/(L+1)), through which alone n and the decays enter; arrays broadcast.

    `weight_decays` is a list of L decays, or one decay for all of L = `depth` matrices.

    Raises:
        ValueError: decays that are not positive, a list that is not of L, or one decay without depth.

    >>> round(effective_decay([5e-3] * 3, 1e-6, 5000), 12)
    0.005
    """
    if depth is None:
        if not isinstance(weight_decays, list | tuple):
            raise ValueError(f"depth must be given with one decay for all matrices, got weight_decays={weight_decays}")
        depth = len(weight_decays)
    lams = layer_decays(weight_decays, at_least("depth", depth, 1))
    logs = np.log(positive("feature_decay", feature_decay)) + np.log(positive("per_class", per_class))
    for lam in lams:
        logs = logs + np.log(lam)
    return plain(np.exp(logs / (depth + 1)))


def reduced_objective(M: Tensor, depth: int, decay: float) -> Tensor:
    """The least loss of factors whose logits are M kron 1_n^T; M (K, K).

        J(M) = (1/K) sum_c -log softmax(m_c)_c + ((L+1)/2) Lam sum_j s_j(M)^(2/(L+1)),

    the Schatten quasi-norm of exponent 2/(L+1) (nuclear norm for L = 1). Lam = `decay`, see `effective_decay`.

    Raises:
        ValueError: L is below 1, or the decay not positive.
    """
    L, lam = at_least("depth", depth, 1), float(positive("decay", decay))
    fit = torch.nn.functional.cross_entropy(M.mT, torch.arange(len(M), device=M.device))
    return fit + (L + 1) / 2 * lam * schatten_power(M, L)


def schatten_power(M: Tensor, depth: int) -> Tensor:
    """sum_j s_j(M)^(2/(L+1)) over singular values above 1e-12 s_1.

    What lies below is rounding, which the small exponent would blow up: (1e-15)^(2/7) is 5e-5.
    """
    s = torch.linalg.svdvals(M)
    total: Tensor = torch.where(s > 1e-12 * s[0], s, 0.0).pow(2 / (depth + 1)).sum()
    return total


def balanced_factors(
    M: Tensor,
    depth: int,
    width: int,
    per_class: int = 1,
    feature_decay: float = 1.0,
    weight_decays: Decays = 1.0,
    generator: torch.Generator | Callable[[int, int, int], Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """(H, Ws) with W_L ... W_1 H = M kron 1_n^T and the least decay, sum_i lam_i |F_i|^2 / 2 (Lemma 1).

    W_L = U S Q_L^T, W_l = Q_{l+1} S Q_l^T, H = Q_1 S V^T with S^(L+1) the singular values of M kron 1_n^T; factor i
    is multiplied by sqrt(geometric mean of decays / lam_i).

    Args:
        M: class-mean logits (K, K), of rank r.
        depth: L.
        width: d >= r of every hidden layer.
        per_class: n.
        feature_decay, weight_decays: as in `loss`; equal by default.
        generator: draws the frames Q_l (d, r), by QR of Gaussian matrices, or is a function of l, d and r that returns
            Q_l; by default the first r axes.

    Raises:
        ValueError: width below the rank of M, bad numbers.
    """
    L, n = at_least("depth", depth, 1), at_least("per_class", per_class, 1)
    lams = [float(positive("feature_decay", feature_decay)), *scalar_decays(weight_decays, L)]
    U, s, Vh = torch.linalg.svd(M.to(torch.float64))
    r = int((s > 1e-12 * s[0]).sum()) if s[0] > 0 else 0
    at_least("width", width, r, "the rank of M")
    S = (s[:r] * math.sqrt(n)) ** (1 / (L + 1))
    Qs = [torch.eye(width, r, dtype=S.dtype) for _ in range(L)]
    if isinstance(generator, torch.Generator):
        Qs = [torch.linalg.qr(torch.randn(width, r, dtype=S.dtype, generator=generator))[0] for _ in range(L)]
    elif generator is not None:
        Qs = [generator(l, width, r) for l in range(1, L + 1)]
    H = (Qs[0] * S) @ Vh[:r].repeat_interleave(n, 1) / math.sqrt(n)
    Ws = [(Q_next * S) @ Q.mT for Q, Q_next in zip(Qs, [*Qs[1:], U[:, :r]], strict=True)]
    scales = [math.sqrt(geometric_mean(lams) / lam) for lam in lams]
    return scales[0] * H, [scale * W for scale, W in zip(scales[1:], Ws, strict=True)]


def minimum_margin(M: Tensor) -> float:
    """min over columns c and rows j != c of M_cc - M_jc, M (K, K): positive iff M is diagonally superior."""
    margins = M.diagonal() - M
    return float(margins[~torch.eye(len(M), dtype=torch.bool)].min())


def softmax_code_cost(M: Tensor, depth: int) -> float:
    """rho_L(M) = sum_j (s_j(M) / minimum margin)^(2/(L+1)) of M (K, K): a structure's cost as the decay goes to zero.

    There the fit depends on the minimum margin alone, so structure A has the lower loss iff rho_L(A) < rho_L(B);
    K - 1 for DNC. Raises ValueError where M is not diagonally superior.
    """
    L, margin = at_least("depth", depth, 1), minimum_margin(M)
    if margin <= 0:
        raise ValueError(
            f"M must be diagonally superior (each column's largest entry its own class's), got margin {margin}"
        )
    return float(schatten_power(M / margin, L))
