"""What the Hessian says about a point: is it a minimum, and how large is the set of minima around it.

`objective(*parameters)` returns a 0-dimensional tensor; `parameters` are float64 tensors (rounding in float32 hides
zero eigenvalues). Dense Hessians up to `DENSE` parameters, beyond that Hessian-vector products by double backward
and scipy's Lanczos method.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

__all__ = [
    "HessianNorms",
    "HessianShape",
    "gradient_norm",
    "hessian_norms",
    "hessian_nullity",
    "hessian_shape",
    "is_local_minimum",
    "smallest_eigenvalues",
]

Objective = Callable[..., Tensor]
DENSE = 600


def gradient_norm(objective: Objective, parameters: Sequence[Tensor]) -> float:
    """Largest absolute entry of the gradient over all parameters.

    Arguments as `hessian_nullity`; ValueError for parameters that are not float64.
    """
    flat, gradient = _flat(objective, parameters)
    return float(gradient(flat).detach().abs().max())


class HessianNorms(NamedTuple):
    """Norms of the eigenvalues e of a Hessian: sqrt(sum e^2), max |e|, sum |e|."""

    frobenius: float
    spectral: float
    trace: float


def hessian_norms(objective: Objective, parameters: Sequence[Tensor], gradient_tol: float = 1e-9) -> HessianNorms:
    """Frobenius, spectral and trace norm of the Hessian at a critical point: how flat it is.

    Theorem 6 of arXiv 2410.23169 compares them at two solutions. Arguments and errors as `hessian_nullity`.
    """
    eigenvalues = np.abs(_spectrum(objective, parameters, gradient_tol, "the norms need")[0])
    return HessianNorms(float(np.sqrt((eigenvalues**2).sum())), float(eigenvalues.max()), float(eigenvalues.sum()))


def hessian_nullity(
    objective: Objective, parameters: Sequence[Tensor], rtol: float = 1e-9, gradient_tol: float = 1e-9
) -> int:
    """Number of eigenvalues of the Hessian within rtol times the largest absolute one of zero.

    At a minimum that is non-degenerate across its set of minima (Morse-Bott) it is the dimension of that set, e.g.
    `ncbench.theory.dufm_ce.fibre_dimension`. Meaningful at critical points only.

    Args:
        objective: function of the parameters.
        parameters: float64 tensors of any shapes, at most 4 * DENSE numbers in all (the Hessian is built).
        rtol: what counts as zero; 1e-9 suits points known to 1e-12.
        gradient_tol: largest entry of the gradient that is accepted.

    Raises:
        ValueError: not a critical point to that tolerance, too many parameters, not float64.
    """
    eigenvalues, _ = _spectrum(objective, parameters, gradient_tol, "the nullity needs")
    return int((np.abs(eigenvalues) <= rtol * np.abs(eigenvalues).max()).sum())


class HessianShape(NamedTuple):
    """The eigenvalues e of a Hessian in units of lam: how many are zero, how many negative, and the rest.

    `log_determinant` is the sum of log(e / lam) over those that are not zero, NaN where one is negative; `smallest` the
    least e / lam above zero, NaN without any.
    """

    nullity: int
    negative: int
    log_determinant: float
    smallest: float


def hessian_shape(
    objective: Objective, parameters: Sequence[Tensor], lam: float, rtol: float = 1e-6, gradient_tol: float = 1e-7
) -> HessianShape:
    """Zero, negative and remaining eigenvalues at the end of a training, where the gradient is small and not 0.

    An eigenvalue is zero up to rtol max |e| + 2 ||gradient||_2. The second term is what directions of symmetry need:
    with x -> exp(sA) x leaving a layered objective unchanged, the Hessian maps A x to A gradient, so that there are
    eigenvalues up to ||A gradient|| / ||A x||, the gradient over a singular value of the factors, and not 0. Near DNC
    and pair blocks (K = 6, L = 2, lam = 4e-3) they were at most 0.25 ||gradient||_2 at distances of 1e-8 to 1e-4 per
    entry, the others at least lam.

    Args:
        objective, parameters: as in `hessian_nullity`.
        lam: the unit; 1 for the eigenvalues themselves.
        rtol, gradient_tol: see above; the largest entry of the gradient that is accepted.

    Raises:
        ValueError: as `hessian_nullity`.
    """
    eigenvalues, gradient = _spectrum(objective, parameters, gradient_tol, "its shape needs")
    zero = rtol * np.abs(eigenvalues).max() + 2 * float(gradient.norm())
    positive = eigenvalues[eigenvalues > zero] / lam
    negative = int((eigenvalues < -zero).sum())
    return HessianShape(
        nullity=len(eigenvalues) - len(positive) - negative,
        negative=negative,
        log_determinant=math.nan if negative else float(np.log(positive).sum()),
        smallest=float(positive.min()) if len(positive) else math.nan,
    )


def smallest_eigenvalues(objective: Objective, parameters: Sequence[Tensor], count: int = 6) -> Tensor:
    """The `count` algebraically smallest eigenvalues of the Hessian, ascending, (count,) float64.

    Up to DENSE parameters from the whole Hessian, beyond by `scipy.sparse.linalg.eigsh(which="SA")` on
    Hessian-vector products, to a relative 1e-6 of the spectral radius (a fixed start makes it reproducible).

    Raises:
        ValueError: count below 1 or above the number of parameters, not float64.
    """
    flat, gradient = _flat(objective, parameters)
    n = flat.numel()
    if not 1 <= count <= n:
        raise ValueError(f"count must lie between 1 and the number of parameters ({n}), got {count}")
    if n <= DENSE or count > n // 4:
        return torch.from_numpy(np.linalg.eigvalsh(_dense_hessian(gradient, flat))[:count])
    return torch.from_numpy(_lanczos(gradient, flat, count, "SA"))


def is_local_minimum(
    objective: Objective, parameters: Sequence[Tensor], rtol: float = 1e-6, gradient_tol: float = 1e-9
) -> bool:
    """Whether the Hessian has no eigenvalue below -rtol times its largest one: False is a strict saddle or maximum.

    True is the second-order necessary condition; it proves a minimum where the nullity is explained by a set of
    minima through the point (`hessian_nullity`). Arguments and errors as `hessian_nullity`, without its size limit.
    """
    flat, gradient = _flat(objective, parameters)
    _critical(gradient(flat), gradient_tol)
    if flat.numel() <= DENSE:
        eigenvalues = np.linalg.eigvalsh(_dense_hessian(gradient, flat))
        return bool(eigenvalues[0] >= -rtol * np.abs(eigenvalues).max())
    return bool(_lanczos(gradient, flat, 1, "SA")[0] >= -rtol * _lanczos(gradient, flat, 1, "LM")[0])


Gradient = Callable[[Tensor], Tensor]


def _flat(objective: Objective, parameters: Sequence[Tensor]) -> tuple[Tensor, Gradient]:
    """The parameters as one vector that requires a gradient, and the (differentiable) gradient as a function of it."""
    if not parameters or any(p.dtype != torch.float64 for p in parameters):
        raise ValueError(f"parameters must be float64 tensors, got {[str(p.dtype) for p in parameters]}")
    shapes = [p.shape for p in parameters]
    ends = np.cumsum([shape.numel() for shape in shapes])[:-1].tolist()

    def gradient(x: Tensor) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(x.tensor_split(ends), shapes, strict=True)]
        return torch.autograd.grad(objective(*parts), x, create_graph=True)[0]

    return torch.cat([p.detach().flatten() for p in parameters]).requires_grad_(), gradient


def _critical(gradient: Tensor, tolerance: float) -> None:
    largest = float(gradient.detach().abs().max())
    if not largest <= tolerance:
        raise ValueError(
            f"parameters must be a critical point (no entry of the gradient above {tolerance:.1e}), got {largest:.1e}"
        )


def _spectrum(
    objective: Objective, parameters: Sequence[Tensor], gradient_tol: float, who: str
) -> tuple[NDArray[np.float64], Tensor]:
    """All eigenvalues at a critical point, ascending, and the gradient that is left there."""
    flat, gradient = _flat(objective, parameters)
    left = gradient(flat).detach()
    _critical(left, gradient_tol)
    if flat.numel() > 4 * DENSE:
        raise ValueError(
            f"parameters must hold at most {4 * DENSE} numbers, since {who} the whole Hessian, got {flat.numel()}"
        )
    return np.linalg.eigvalsh(_dense_hessian(gradient, flat)).astype(np.float64), left


def _dense_hessian(gradient: Gradient, x: Tensor) -> NDArray[np.float64]:
    g = gradient(x)
    rows = torch.autograd.grad(g, x, torch.eye(len(g), dtype=g.dtype, device=g.device), is_grads_batched=True)[0]
    symmetric: NDArray[np.float64] = (0.5 * (rows + rows.mT)).cpu().numpy()
    return symmetric


def _lanczos(gradient: Gradient, x: Tensor, count: int, which: str) -> NDArray[np.float64]:
    """Eigenvalues at one end of the spectrum, ascending."""
    g, n = gradient(x), x.numel()

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        v = torch.from_numpy(np.asarray(vector, dtype=np.float64)).to(x.device).view(n)
        image: NDArray[np.float64] = torch.autograd.grad(g, x, v, retain_graph=True)[0].cpu().numpy()
        return image

    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    ncv = min(n, max(60, 4 * count + 1))
    values: NDArray[np.float64] = eigsh(
        operator, k=count, which=which, v0=start, ncv=ncv, tol=1e-6, maxiter=50 * n, return_eigenvectors=False
    )
    return np.sort(values)
