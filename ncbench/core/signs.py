"""How much of a matrix is negative: what a ReLU behind it would take away.

Legend: M (..., m, n) class means (K, d), weights or features, with entries M_ij.
"""

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64


def negative_share(M: Tensor) -> Tensor:
    """||min(M, 0)||_F / ||M||_F: the negative part of a matrix relative to all of it, by norms (not squared).

    min(M, 0) is what a ReLU takes away, entry by entry; the squares of this share and of that of what it leaves sum
    to 1. arXiv 2405.14468, Section 6.1, finds the features before the activations of a deep unconstrained features
    model non-negative except before the last ReLU: there this is near 0, and 1/sqrt(2) for entries of random sign. Of
    class means it sees what the means of a class show; where DNC1 holds they are every sample's features.

    Args:
        M: (..., m, n), any real dtype.

    Returns:
        (...), in [0, 1], float64; 0 for a non-negative matrix, NaN for the zero matrix and for one with an entry that
        is not finite.

    Raises:
        ValueError: M is not a real matrix (..., m, n) with m, n >= 1.
    """
    if M.ndim < 2 or 0 in M.shape[-2:] or M.is_complex():
        raise ValueError(f"M must be a real matrix (..., m, n) with m, n >= 1, got {M.dtype} of shape {tuple(M.shape)}")
    M = as_float64(M)
    M = M / M.abs().amax((-2, -1), keepdim=True)  # squares of very small features would underflow
    share: Tensor = torch.linalg.matrix_norm(M.clamp(max=0.0)) / torch.linalg.matrix_norm(M)
    return share
