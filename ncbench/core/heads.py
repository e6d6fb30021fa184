"""The classifier against the class means: NC4 (nearest class centre) and the decomposition of the MSE loss.

Legend: H (..., N, D) features; M (..., K, D) class means mu_c; W (..., K, D), b (..., K) the head with logits
W h + b.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64, eigh
from ncbench.core.geometry import class_rows
from ncbench.core.moments import ClassMoments


def ncc_labels(features: Tensor, means: Tensor) -> Tensor:
    """Class of the nearest class mean, argmin_c ||h - mu_c||, (..., N) int64; the first of equally near ones.

    Args:
        features: (..., N, D).
        means: (..., K, D).
    """
    return _ncc_scores(features, means).argmax(-1)


def ncc_agreement(features: Tensor, means: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """NC4: share of samples with argmax(W h + b) = argmin_c ||h - mu_c||.

    Papyan, Han & Donoho (2020), Figure 7, plots 1 minus this. The bias belongs to it: leaving it out
    counted 0.069 disagreements instead of 0.192 in one published code. For a hidden layer compare
    `ncc_labels` with the network's predictions.

    Args:
        features: (..., N, D), any samples, N >= 1.
        means: (..., K, D), usually of the training set.
        weight: (..., K, D).
        bias: (..., K) or None for a head without one.

    Returns:
        (...), in [0, 1]; ties go to the smaller class on both sides; NaN where an input is not finite.

    Raises:
        ValueError: features, means, weight and bias do not agree in K and D.
    """
    H, W = as_float64(features), as_float64(weight)
    if weight.shape[-2:] != means.shape[-2:] or features.shape[-1] != means.shape[-1]:
        raise ValueError(
            f"features (..., N, D), means and weight (..., K, D) must agree in K and D, got "
            f"{tuple(features.shape)}, {tuple(means.shape)}, {tuple(weight.shape)}"
        )
    logits = H @ W.mT
    if bias is not None:
        if bias.shape[-1] != W.shape[-2]:
            raise ValueError(f"bias must have shape (..., K) with K={W.shape[-2]}, got {tuple(bias.shape)}")
        logits = logits + as_float64(bias)[..., None, :]
    scores = _ncc_scores(features, means)
    agree = (logits.argmax(-1) == scores.argmax(-1)).to(torch.float64).mean(-1)
    return torch.where((logits + scores).isfinite().all(-1).all(-1), agree, torch.nan)


class MSEDecomposition(NamedTuple):
    """The three parts of the MSE loss, each (...); their sum is the loss."""

    nc1: Tensor
    nc23: Tensor
    perp: Tensor


def mse_decomposition(
    moments: ClassMoments, weight: Tensor, bias: Tensor | None = None, weight_decay: float = 0.0
) -> MSEDecomposition:
    """Split the MSE loss of a linear head into L_NC1 + L_NC2/3 + L_perp.

    Han, Papyan & Donoho (ICLR 2022), Section 2. The loss is 1/(2N) sum_i ||W h_i + b - e_{c(i)}||^2 +
    (weight_decay/2) (||W||_F^2 + ||b||^2). With the features extended by a 1 when there is a bias, p_c =
    n_c / N, A = Sigma_W + sum_c p_c mu_c mu_c^T + weight_decay I and the least-squares head W_LS = (sum_c
    p_c e_c mu_c^T) A^+:

    - L_NC1 = 1/2 tr(W_LS (Sigma_W + weight_decay I) W_LS^T),
    - L_NC2/3 = 1/2 sum_c p_c ||W_LS mu_c - e_c||^2 (1/(2K) sum_c for balanced classes, as in the paper),
    - L_perp = 1/2 tr((W - W_LS) A (W - W_LS)^T), 0 on the central path.

    The bias is decayed with the weights, as the paper's extended features imply.

    Args:
        moments: with scatter="full".
        weight: (..., K, D).
        bias: (..., K) or None.
        weight_decay: at least 0; 0 takes the least-squares head of smallest norm.

    Raises:
        ValueError: no full scatter, wrong shapes, negative decay.
    """
    scatter, W, M = moments.required_scatter(), as_float64(weight), moments.means
    if W.shape[-2:] != M.shape[-2:] or (bias is not None and bias.shape[-1] != M.shape[-2]):
        raise ValueError(
            f"weight (..., K, D) and bias (..., K) must match the means {tuple(M.shape)}, got "
            f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
        )
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    Sigma = scatter / moments.counts.sum()
    if bias is not None:
        W = torch.cat([W, as_float64(bias)[..., None]], -1)
        M = torch.cat([M, torch.ones_like(M[..., :1])], -1)
        Sigma = torch.nn.functional.pad(Sigma, (0, 1, 0, 1))
    p = (moments.counts.to(torch.float64) / moments.counts.sum())[:, None]
    decay = weight_decay * torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    A = Sigma + M.mT @ (p * M) + decay
    W_LS = p * M @ _pseudo_inverse(A)
    target = torch.eye(M.shape[-2], dtype=M.dtype, device=M.device)
    residual = M @ W_LS.mT - target  # row c: W_LS mu_c - e_c
    return MSEDecomposition(
        nc1=_half_trace(W_LS, Sigma + decay),
        nc23=0.5 * (p * residual.square()).sum((-2, -1)),
        perp=_half_trace(W - W_LS, A),
    )


def _half_trace(W: Tensor, A: Tensor) -> Tensor:
    return 0.5 * ((W @ A) * W).sum((-2, -1)).clamp(min=0)


def _pseudo_inverse(A: Tensor) -> Tensor:
    w, Q = eigh(A)
    cut = A.shape[-1] * torch.finfo(w.dtype).eps * w[..., -1:]
    return Q * torch.where(w > cut, 1 / w, torch.where(w.isnan(), torch.nan, 0.0))[..., None, :] @ Q.mT


def _ncc_scores(features: Tensor, means: Tensor) -> Tensor:
    """(h - mu_G).(mu_c - mu_G) - ||mu_c - mu_G||^2 / 2, (..., N, K): largest for the nearest mean."""
    M = class_rows(means, centre=False)
    centre = M.mean(-2, keepdim=True)
    return (as_float64(features) - centre) @ (M - centre).mT - (M - centre).square().sum(-1)[..., None, :] / 2
