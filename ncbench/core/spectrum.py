"""Singular values of a matrix and what the papers read from them: tails, distances to low rank, soft ranks.

Legend: W (..., m, n) a weight or class-mean matrix, p = min(m, n); s_1 >= ... >= s_p its singular values.

Every function accepts either W or its precomputed singular values `s` (..., p), exactly one of the two, so
that a caller who wants several measures of one matrix decomposes it once:

    s = singular_values(W)
    stable_rank(s=s), effective_rank(s=s), relative_tail(k=10, s=s)

Leading axes are independent matrices; results are float64 of shape (...). A matrix with a non-finite entry
gives NaN.
"""

import math

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64, svdvals

# Below this ||W||_F^2 the layer is dead: weight decay has switched it off, and its tail is rounding.
DEAD_NORM_SQUARED = 1e-8


def singular_values(W: Tensor) -> Tensor:
    """Singular values of W, (..., p) float64, descending.

    A GPU driver that fails is replaced by the CPU's; a matrix with a non-finite entry has NaN values.

    Raises:
        ValueError: W is not a matrix (..., m, n) with m, n >= 1.
    """
    if W.ndim < 2 or 0 in W.shape[-2:]:
        raise ValueError(f"W must be a matrix (..., m, n) with m, n >= 1, got shape {tuple(W.shape)}")
    return svdvals(W)


def relative_tail(W: Tensor | None = None, k: int | None = None, *, s: Tensor | None = None) -> Tensor:
    """Relative tail r_k(W) = sum_{j>k} s_j^2 / sum_j s_j^2: squared values, no root.

    Caption of Figure 1 of arXiv 2402.03991v3. 0 for k >= p. NaN, not 0, for a dead matrix, ||W||_F^2 <
    1e-8.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or k missing or negative.
    """
    s, k = given_values(W, s), _rank(k)
    return s[..., k:].square().sum(-1) / _living(s.square().sum(-1))


def tail_curve(W: Tensor | None = None, *, s: Tensor | None = None, root: bool = False) -> Tensor:
    """All relative tails r_0 = 1, r_1, ..., r_p = 0, shape (..., p + 1).

    r_k as in `relative_tail`; root=True takes the square root, which arXiv 2402.03991v1, equation (22), may
    have meant (the two differ by a factor 2 on a logarithmic axis). NaN for a dead matrix.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or an empty one.
    """
    s = given_values(W, s)
    tails = s.square().flip(-1).cumsum(-1).flip(-1)  # summed from the smallest: the far tail keeps its digits
    total = tails[..., :1]
    curve = torch.cat([tails, torch.zeros_like(total)], -1) / _living(total)
    return curve.sqrt() if root else curve


def rank_distance(W: Tensor | None = None, k: int | None = None, *, s: Tensor | None = None) -> Tensor:
    """Frobenius distance to the matrices of rank at most k: sqrt(sum_{j>k} s_j^2), 0 for k >= p.

    Eckart & Young. The left side of Theorem 3.4 of arXiv 2402.03991.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or k missing or negative.
    """
    s, k = given_values(W, s), _rank(k)
    return s[..., k:].square().sum(-1).sqrt()


def stable_rank(W: Tensor | None = None, *, s: Tensor | None = None) -> Tensor:
    """||W||_F^2 / ||W||_2^2 = sum_j s_j^2 / s_1^2, in [1, rank W]; NaN for the zero matrix.

    Rudelson & Vershynin (2007) call it the numerical rank.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or an empty one.
    """
    s = given_values(W, s)
    return (s / s[..., :1]).square().sum(-1)


def effective_rank(W: Tensor | None = None, *, s: Tensor | None = None) -> Tensor:
    """exp(-sum_j q_j log q_j), q = s / sum_j s_j (not squared), in [1, rank W]; NaN for the zero matrix.

    Roy & Vetterli, "The effective rank" (EUSIPCO 2007), natural logarithm.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or an empty one.
    """
    s = given_values(W, s)
    q = s / s.sum(-1, keepdim=True)
    return torch.exp(-torch.special.xlogy(q, q).sum(-1))


def numerical_rank(W: Tensor | None = None, rtol: float = 1e-2, *, s: Tensor | None = None) -> Tensor:
    """#{j : s_j > rtol s_1} as a float64; 0 for the zero matrix, NaN for a non-finite one.

    rtol = 1e-2 is the cut at which the ranks of arXiv 2405.14468, Section 6, were recovered: there the
    trailing values lay below 3e-4 s_1 and the leading ones above 0.24 s_1.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or rtol outside [0, 1).
    """
    if not 0 <= rtol < 1:
        raise ValueError(f"rtol must lie in [0, 1), got {rtol}")
    s = given_values(W, s)
    rank = (s > rtol * s[..., :1]).sum(-1).to(torch.float64)
    return torch.where(s.isnan().any(-1), torch.nan, rank)


def soft_rank(W: Tensor, *, s: Tensor | None = None) -> Tensor:
    """Marchenko-Pastur soft rank lambda_plus / lambda_max: about 1 when no value leaves the bulk.

    lambda_plus = n mean(W_ij^2) (1 + sqrt(m / n))^2 is the upper edge of the bulk of W W^T for m x n
    entries of that variance, lambda_max = s_1^2; so it equals stable_rank (1 + sqrt(m / n))^2 / m, the same
    for W and W^T. Martin & Mahoney (JMLR 22, 2021), with the variance estimated by the mean square of all
    entries. W gives the shape and is always needed; `s` saves its decomposition. NaN for the zero matrix.

    Raises:
        ValueError: W is not a matrix (..., m, n) with m, n >= 1.
    """
    m, n = W.shape[-2:]
    return stable_rank(s=singular_values(W) if s is None else s) * (1 + math.sqrt(m / n)) ** 2 / m


def schatten(W: Tensor | None = None, p: float | None = None, *, s: Tensor | None = None) -> Tensor:
    """sum_j s_j^p = ||W||_{S_p}^p, the p-th POWER of the Schatten (quasi-)norm, for p > 0.

    0 for the zero matrix. p = 1 is the nuclear norm, p = 2 the squared Frobenius norm, p = 2/L what L
    decayed factors regularise.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or p missing or not positive.
    """
    if p is None or not p > 0:
        raise ValueError(f"p must be given and positive, got {p}")
    return given_values(W, s).pow(p).sum(-1)


def conv_matrix(kernel: Tensor) -> Tensor:
    """A convolution kernel (..., out, in, kh, kw) as the matrix (..., out, in kh kw).

    Its singular values are those of the layer applied to one patch, not of the layer applied to an image:
    see `conv_operator_singular_values`. A view where possible, in the kernel's dtype.

    Raises:
        ValueError: kernel has fewer than four axes.
    """
    if kernel.ndim < 4:
        raise ValueError(f"kernel must have shape (..., out, in, kh, kw), got {tuple(kernel.shape)}")
    return kernel.flatten(-3)


def conv_operator_singular_values(kernel: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Singular values of the convolution as a linear map on images, (..., h w min(out, in)), descending.

    The map is the circular convolution with stride 1 on images of size (h, w): one out x in matrix per
    frequency, the 2-d Fourier transform of the zero-padded kernel (Sedghi, Gupta & Long, ICLR 2019, Theorem
    6). Zero padding, strides and groups are not represented.

    Raises:
        ValueError: kernel is not (..., out, in, kh, kw), or larger than the image.
    """
    if kernel.ndim < 4 or any(k > size for k, size in zip(kernel.shape[-2:], image_size, strict=True)):
        raise ValueError(
            f"kernel must have shape (..., out, in, kh, kw) with (kh, kw) <= image_size={image_size}, "
            f"got {tuple(kernel.shape)}"
        )
    transfer = torch.fft.fft2(as_float64(kernel), s=image_size)
    values = svdvals(transfer.movedim((-2, -1), (-4, -3)))
    return values.flatten(-3).sort(-1, descending=True).values


def given_values(W: Tensor | None, s: Tensor | None) -> Tensor:
    """The singular values of W, or s in float64: exactly one of the two is given (ValueError)."""
    if (W is None) == (s is None):
        raise ValueError("exactly one of W and s must be given, got " + ("neither" if W is None else "both"))
    if W is not None:
        return singular_values(W)
    assert s is not None
    if s.ndim < 1 or s.shape[-1] == 0:
        raise ValueError(f"s must hold at least one singular value, (..., p), got shape {tuple(s.shape)}")
    return as_float64(s)


def _rank(k: int | None) -> int:
    if k is None or k < 0:
        raise ValueError(f"k must be given and at least 0, got {k}")
    return k


def _living(norm_squared: Tensor) -> Tensor:
    return torch.where(norm_squared < DEAD_NORM_SQUARED, torch.nan, norm_squared)
