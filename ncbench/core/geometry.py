"""The arrangement of class means or classifier rows: NC2 / DNC2, simplex ETF and orthogonal frame.

Legend: M (..., K, D) one row mu_c per class; mu_G the mean of the rows. Results are float64 of shape (...).
"""

from typing import Literal

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64, svdvals


def gram_cosines(means: Tensor, *, centre: bool = False) -> Tensor:
    """Cosines <mu_c, mu_k> / (||mu_c|| ||mu_k||) of all pairs of class means, (..., K, K).

    Args:
        means: (..., K, D).
        centre: subtract mu_G first (Papyan, Han & Donoho 2020); not so by default, as in arXiv 2405.14468.

    Returns:
        (..., K, K); NaN in the row and column of a class mean that is 0.

    Raises:
        ValueError: means are not (..., K, D) with K, D >= 1.
    """
    M = class_rows(means, centre)
    unit: Tensor = M / torch.linalg.vector_norm(M, dim=-1, keepdim=True)
    return unit @ unit.mT


def class_mean_condition_number(means: Tensor) -> Tensor:
    """DNC2 metric s_1 / s_K of the UNCENTRED class-mean matrix: 1 for an orthogonal frame.

    arXiv 2405.14468, Section 6.

    Args:
        means: (..., K, D).

    Returns:
        (...); 1 for K = 1; inf when s_K = 0, so whenever D < K (rounding can leave a huge finite number
        where K <= D); NaN for the zero matrix.

    Raises:
        ValueError: means are not (..., K, D) with K, D >= 1.
    """
    M = class_rows(means, centre=False)
    s = svdvals(M)
    K, D = M.shape[-2:]
    return s[..., 0] / (s[..., -1] if K <= D else torch.zeros_like(s[..., -1]))


def etf_error(means: Tensor, *, centre: bool = True) -> Tensor:
    """Distance to the simplex ETF: || G / ||G||_F - (I - 11^T/K) / sqrt(K - 1) ||_F, G = M M^T.

    rhubarbwu/neural-collapse takes centred class means, as this function does; tding1/Neural-Collapse the rows of the
    classifier, uncentred: `etf_error(W, centre=False)`.

    Args:
        means: (..., K, D).
        centre: subtract mu_G first.

    Returns:
        (...), in [0, 2]; NaN for K = 1 and when G is 0 (coinciding means).

    Raises:
        ValueError: means are not (..., K, D) with K, D >= 1.
    """
    return product_distance(_gram(class_rows(means, centre)), simplex=True)


def orthogonal_frame_error(means: Tensor) -> Tensor:
    """Distance to an orthogonal frame: || G / ||G||_F - I / sqrt(K) ||_F, G = M M^T, uncentred.

    DNC2 of arXiv 2405.14468, Definition 1, as a distance (kvignesh1420/gnn_collapse): 0 iff the class means
    are orthogonal and of one norm.

    Returns:
        (...), in [0, 2]; 0 for K = 1; NaN when G is 0.

    Raises:
        ValueError: means are not (..., K, D) with K, D >= 1.
    """
    return product_distance(_gram(class_rows(means, centre=False)), simplex=False)


def equinorm(means: Tensor, *, centre: bool = True) -> Tensor:
    """Coefficient of variation of the class-mean norms, std_c ||mu_c - mu_G|| / mean_c ||mu_c - mu_G||.

    The standard deviation is the unbiased one (K - 1), as in the notebook of Papyan, Han & Donoho and in
    Parker et al.; centre=False for orthogonal frames or classifier rows.

    Returns:
        (...); NaN for K = 1 and when all norms are 0.

    Raises:
        ValueError: means are not (..., K, D) with K, D >= 1.
    """
    norms: Tensor = torch.linalg.vector_norm(class_rows(means, centre), dim=-1)
    mean = norms.mean(-1)
    deviation = (norms - mean[..., None]).square().sum(-1) / (norms.shape[-1] - 1.0 or torch.nan)
    return deviation.sqrt() / mean


def equiangularity(
    means: Tensor,
    *,
    centre: bool = True,
    target: float | None = None,
    reduction: Literal["mean", "max"] = "mean",
) -> Tensor:
    """Deviation of the angles from a common one: mean (or max) over c != k of |cos(mu_c, mu_k) - target|.

    Papyan, Han & Donoho (2020), Figure 4, with absolute values: signed means, as in felixsh/nc-toolbox,
    cancel.

    Args:
        means: (..., K, D).
        centre: subtract mu_G first.
        target: None is the simplex ETF's -1/(K - 1); 0 (with centre=False) is the orthogonal frame's.
        reduction: "mean" or "max".

    Returns:
        (...); NaN for K = 1 and when a (centred) class mean is 0.

    Raises:
        ValueError: another reduction, or means that are not (..., K, D) with K, D >= 1.
    """
    if reduction not in ("mean", "max"):
        raise ValueError(f'reduction must be "mean" or "max", got {reduction!r}')
    cosines = gram_cosines(means, centre=centre)
    K = cosines.shape[-1]
    if K == 1:
        return torch.full_like(cosines[..., 0, 0], torch.nan)
    i, j = torch.triu_indices(K, K, 1, device=cosines.device)
    deviation = (cosines[..., i, j] - (-1 / (K - 1) if target is None else target)).abs()
    return deviation.mean(-1) if reduction == "mean" else deviation.amax(-1)


def product_distance(G: Tensor, simplex: bool) -> Tensor:
    """|| G / ||G||_F - T ||_F for (..., K, K) G; T = (I - 11^T/K) / sqrt(K - 1), or I / sqrt(K)."""
    K = G.shape[-1]
    target = torch.eye(K, dtype=G.dtype, device=G.device)
    target = (target - 1 / K) if simplex else target
    # K = 1 leaves 0 / 0 = NaN in the simplex: one class has no ETF.
    target = target / torch.linalg.matrix_norm(target)
    distance: Tensor = torch.linalg.matrix_norm(G / torch.linalg.matrix_norm(G, keepdim=True) - target)
    return distance


def class_rows(means: Tensor, centre: bool) -> Tensor:
    """Rows in float64, checked to be (..., K, D), with the mean row subtracted when centre is True."""
    if means.ndim < 2 or 0 in means.shape[-2:]:
        raise ValueError(f"means must have shape (..., K, D) with K, D >= 1, got {tuple(means.shape)}")
    M = as_float64(means)
    return centred_rows(M) if centre else M


def centred_rows(M: Tensor, shares: Tensor | None = None) -> Tensor:
    """Rows minus their mean, or minus their average weighted by shares (K,) that sum to 1.

    From differences to the first row, so that rows that coincide are centred to exactly 0.
    """
    M = M - M[..., :1, :]
    return M - (M.mean(-2, keepdim=True) if shares is None else (shares[:, None] * M).sum(-2, keepdim=True))


def _gram(M: Tensor) -> Tensor:
    return M @ M.mT
