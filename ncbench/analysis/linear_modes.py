"""The product of a deep linear autoencoder in the eigenbasis of its data, against the modes that decay predicts.

Source: derived; see `ncbench.theory.factor_decay`. Letters: R replicas, L factors W_l, P = W_L ... W_1 (R, d, d); X
(R or 1, N, d) samples as rows; X^T X / N = U diag(c) U^T, uncentred, as the networks have no biases. Objective

    (1/N) ||X P^T - X||_F^2 + lam sum_l ||W_l||_F^2,

at whose minima U^T P U is diagonal and every w_i = u_i^T P u_i is 0 or the nonzero local minimiser for c_i. Where
eigenvalues coincide the basis U is arbitrary and P need not be diagonal in it: the measures are for simple ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ncbench.theory.arguments import Array, positive
from ncbench.theory.factor_decay import factor_decay_mode

__all__ = ["ModeValues", "end_to_end", "mode_error", "mode_values", "modes_alive"]

ALIVE = 1e-3  # between a mode that decay has switched off (rounding) and one at its local minimum (> 1/3 for L = 4)


class ModeValues(NamedTuple):
    """eigenvalues c_i of X^T X / N, descending, and w_i = u_i^T P u_i; (R, d) each."""

    eigenvalues: Tensor
    values: Tensor


def end_to_end(weights: Sequence[Tensor]) -> Tensor:
    """W_L ... W_1 of the factors (R, n_l, n_{l-1}) in the order 1..L: (R, n_L, n_0), float64.

    Raises:
        ValueError: no factors.
    """
    if not weights:
        raise ValueError("weights must hold at least one factor, got none")
    product, *rest = (W.detach().to(torch.float64) for W in weights)
    for W in rest:
        product = W @ product
    return product


def mode_values(P: Tensor, X: Tensor) -> ModeValues:
    """Eigenvalues c_i of X^T X / N and the diagonal w_i = u_i^T P u_i of P in its eigenbasis, (R, d) each, float64.

    Args:
        P: (R, d, d), the product `end_to_end`.
        X: (R or 1, N, d), samples as rows.

    Raises:
        ValueError: shapes that do not fit.
    """
    c, rotated = _rotated(P, X)
    return ModeValues(c, rotated.diagonal(dim1=-2, dim2=-1))


def mode_error(P: Tensor, X: Tensor, weight_decay: float | Tensor, depth: int) -> Tensor:
    """How far the product is from a stationary point of the objective whose modes decouple, (R,) float64.

    The larger of max_i min(|w_i|, |w_i - r_i|) and the largest absolute entry of U^T P U off the diagonal, r_i =
    `factor_decay_mode(c_i, lam, depth).local_minimiser`, which is 0 where a mode cannot live. One factor (plain ridge)
    must be at r_i = c_i / (c_i + lam): 0 is no minimum there. Which of the two minima a mode takes is left open.

    Args:
        P: (R, d, d). X: (R or 1, N, d).
        weight_decay: lam > 0, one number or (R,).
        depth: L >= 1 factors.

    Raises:
        ValueError: shapes that do not fit, a decay that is not positive.
    """
    c, rotated = _rotated(P, X)
    lam: Array = positive("weight_decay", weight_decay)
    if lam.shape not in ((), (len(P),)):
        raise ValueError(f"weight_decay must be one number or one per replica ({len(P)}), got shape {lam.shape}")
    lam = np.broadcast_to(lam, len(P))[:, None]
    # An empty mode has c = 0 up to rounding, where r is 0 too.
    root = factor_decay_mode(np.maximum(c.cpu().numpy(), 1e-15 * lam), lam, depth).local_minimiser
    w = rotated.diagonal(dim1=-2, dim2=-1)
    distance = (w - torch.as_tensor(root, device=w.device)).abs()
    if depth > 1:
        distance = torch.minimum(distance, w.abs())
    return torch.maximum(distance.amax(-1), (rotated - torch.diag_embed(w)).abs().amax((-2, -1)))


def modes_alive(P: Tensor, X: Tensor, threshold: float = ALIVE) -> Tensor:
    """#{i : w_i > threshold}, (R,) as a float64; NaN for a product that is not finite. Arguments as `mode_values`."""
    w = mode_values(P, X).values
    alive = (w > threshold).sum(-1).to(torch.float64)
    return torch.where(w.isfinite().all(-1), alive, torch.nan)


def _rotated(P: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """c (R, d), descending, and U^T P U (R, d, d)."""
    if P.ndim != 3 or P.shape[1] != P.shape[2]:
        raise ValueError(f"P must have shape (R, d, d), got {tuple(P.shape)}")
    if X.ndim != 3 or len(X) not in (1, len(P)) or X.shape[2] != P.shape[2]:
        raise ValueError(f"X must have shape (R or 1, N, d) for P {tuple(P.shape)}, got {tuple(X.shape)}")
    P, X = P.detach().to(torch.float64), X.detach().to(torch.float64)
    c, U = torch.linalg.eigh(X.mT @ X / X.shape[1])
    c, U = c.flip(-1).expand(len(P), -1), U.flip(-1)
    return c, U.mT @ P @ U
