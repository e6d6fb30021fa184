"""The objective of the deep unconstrained features model with mean squared error, and its two inner minimisations.

Letters: H (d_1, N) free features, columns sorted by class, n per class, N = nK; W_l (d_{l+1}, d_l), l = 1..L;
Y = I_K kron 1_n^T. Source: arXiv 2405.14468, equations 1 and 2, Lemmas 17 and 18.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ncbench.theory.arguments import Decays, geometric_mean, positive, scalar_decays

__all__ = ["last_layer_ridge", "loss", "nuclear_factorisation", "simplified_objective"]


def loss(H: Tensor, Ws: Sequence[Tensor], per_class: int, feature_decay: float, weight_decays: Decays) -> Tensor:
    """Equation 1, with 1/(2N), lam/2, no ReLU on H_1 and none on the output, no biases:

        1/(2N) ||W_L relu(W_{L-1} ... relu(W_1 H_1)) - Y||_F^2 + sum_l lam_l/2 ||W_l||_F^2 + lam_H/2 ||H_1||_F^2.

    Returns a 0-dimensional tensor, differentiable in H and Ws. Raises ValueError where shapes do not fit.
    """
    lams = scalar_decays(weight_decays, len(Ws))
    features = H
    for W in Ws[:-1]:
        features = (W @ features).relu()
    fit = (Ws[-1] @ features - _targets(Ws[-1].shape[0], per_class, H)).square().sum() / (2 * H.shape[1])
    penalty = float(positive("feature_decay", feature_decay)) / 2 * H.square().sum()
    for lam, W in zip(lams, Ws, strict=True):
        penalty = penalty + lam / 2 * W.square().sum()
    return fit + penalty


def simplified_objective(
    pre_features: Tensor, W: Tensor, per_class: int, feature_decay: float, weight_decays: Decays, depth: int
) -> Tensor:
    """Equation 2 with its linear factors minimised out: one ReLU, before the last matrix W = W_L (K, d).

        1/(2N) ||W relu(X) - Y||_F^2 + lam_L/2 ||W||_F^2 + (L/2)(lam_H lam_1 ... lam_{L-1})^(1/L) ||X||_S^{2/L},

    X = `pre_features` (d, N) = W_{L-1} ... W_1 H_1, and ||X||_S^{2/L} = sum_i s_i(X)^(2/L) the Schatten quasi-norm
    to its own power: the least weight decay of L factors with product X.

    Raises:
        ValueError: the columns are not per_class for each of the K rows of W, or a decay is not one positive
            number.
    """
    *lams, last = scalar_decays(weight_decays, depth)
    lams.append(float(positive("feature_decay", feature_decay)))
    fit = (W @ pre_features.relu() - _targets(W.shape[0], per_class, pre_features)).square().sum()
    schatten: Tensor = torch.linalg.svdvals(pre_features).pow(2 / depth).sum()
    penalty = depth / 2 * geometric_mean(lams) * schatten
    return fit / (2 * pre_features.shape[1]) + last / 2 * W.square().sum() + penalty


def last_layer_ridge(features: Tensor, per_class: int, decay: float) -> tuple[Tensor, Tensor]:
    """Lemma 17: (W, value) of min_W 1/(2N) ||W H - Y||_F^2 + lam/2 ||W||_F^2, W = Y H^T (H H^T + N lam I)^{-1}.

    `features` H (d, N), columns sorted by class. For collapsed features H = M kron 1_n^T the value is
    (lam/2) sum_{i<=K} 1 / (s_i(M)^2 + K lam), zero singular values included.

    Raises:
        ValueError: N is no multiple of per_class, or the decay is not positive.
    """
    lam = float(positive("decay", decay))
    N = features.shape[1]
    Y = _targets(N // per_class, per_class, features)
    U, s, Vh = torch.linalg.svd(features, full_matrices=False)
    W = (Y @ Vh.mT) * (s / (s.square() + N * lam)) @ U.mT
    return W, (W @ features - Y).square().sum() / (2 * N) + lam / 2 * W.square().sum()


def nuclear_factorisation(X: Tensor, left_decay: float, right_decay: float) -> tuple[Tensor, Tensor]:
    """Lemma 18: (W, H) with W H = X that minimise lam_W/2 ||W||^2 + lam_H/2 ||H||^2; X (a, b), W (a, p), H (p, b).

    W = g U S^(1/2), H = S^(1/2) V^T / g, g = (lam_H/lam_W)^(1/4), p = min(a, b); the minimum is
    sqrt(lam_W lam_H) ||X||_*.

    Raises:
        ValueError: a decay is not positive.
    """
    g = (float(positive("right_decay", right_decay)) / float(positive("left_decay", left_decay))) ** 0.25
    U, s, Vh = torch.linalg.svd(X, full_matrices=False)
    return g * U * s.sqrt(), s.sqrt()[:, None] * Vh / g


def _targets(num_classes: int, per_class: int, like: Tensor) -> Tensor:
    """Y = I_K kron 1_n^T (K, N), checked against the number of columns of `like`."""
    if num_classes * per_class != like.shape[1]:
        raise ValueError(
            f"per_class times the {num_classes} classes must be the number of columns ({like.shape[1]}), "
            f"got per_class={per_class}"
        )
    eye = torch.eye(num_classes, dtype=like.dtype, device=like.device)
    return eye.repeat_interleave(per_class, 1)
