"""Singular value decompositions in float64 that survive NaN in one replica and a failing GPU driver.

torch raises for a whole batch when one matrix holds NaN, and GPU drivers fail to converge on rank-deficient
input (pytorch issues 28293, 64237): one diverged replica must not end the measurement of the other 63.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def as_float64(A: Tensor) -> Tensor:
    """Detached, in float64, or complex128 for complex input."""
    return A.detach().to(torch.complex128 if A.is_complex() else torch.float64)


def svdvals(A: Tensor) -> Tensor:
    """Singular values (..., min(m, n)), descending, float64; NaN for a matrix with a non-finite entry."""
    A, finite = _mask(A if A.shape[-2] >= A.shape[-1] else A.mT)  # LAPACK is up to twice as fast on tall matrices
    s = with_cpu_fallback(lambda B: (torch.linalg.svdvals(B),), A)[0]
    return torch.where(finite[..., 0], s, torch.nan)


def thin_svd(A: Tensor) -> tuple[Tensor, Tensor]:
    """(s, Vh): singular values (..., p), descending, and right singular vectors (..., p, n)."""
    A, finite = _mask(A)
    s, Vh = with_cpu_fallback(lambda B: torch.linalg.svd(B, full_matrices=False)[1:], A)
    return torch.where(finite[..., 0], s, torch.nan), torch.where(finite, Vh, torch.nan)


def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """(w, Q) of symmetric matrices (..., n, n), ascending; NaN for a matrix with a non-finite entry."""
    A, finite = _mask(A)
    w, Q = with_cpu_fallback(lambda B: tuple(torch.linalg.eigh(B)), A)
    return torch.where(finite[..., 0], w, torch.nan), torch.where(finite, Q, torch.nan)


def with_cpu_fallback(function: Callable[[Tensor], tuple[Tensor, ...]], A: Tensor) -> tuple[Tensor, ...]:
    """function(A); where the driver gives up, function on the CPU, moved back. A second failure is raised."""
    try:
        return function(A)
    except RuntimeError:  # torch.linalg.LinAlgError, and cuSOLVER's own errors, are RuntimeErrors
        return tuple(result.to(A.device) for result in function(A.cpu()))


def _mask(A: Tensor) -> tuple[Tensor, Tensor]:
    A = as_float64(A)
    finite = A.flatten(-2).isfinite().all(-1)[..., None, None]
    return torch.where(finite, A, 0.0), finite
