"""Alignment of weights with class means: NC3 (self-duality) in two published forms, and DNC3.

Legend: W (..., K, D) the classifier, or any layer's weight (..., m, D); M (..., K, D) class means mu_c of the
features that W receives, one row per class; mu_G their mean.
"""

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64
from ncbench.core.geometry import class_rows, product_distance


def self_duality_distance(weight: Tensor, means: Tensor) -> Tensor:
    """NC3 as a distance: || W / ||W||_F - M / ||M||_F ||_F with centred means M.

    Papyan, Han & Donoho (2020), Figure 5, in the unsquared form of felixsh/nc-toolbox; their notebook logs
    its square.

    Args:
        weight: (..., K, D).
        means: (..., K, D), centred by this function.

    Returns:
        (...), in [0, 2]: 0 for W proportional to M, sqrt(2) for W orthogonal to it. NaN when W or M is 0.

    Raises:
        ValueError: the shapes do not match.
    """
    W, M = _pair(weight, means)
    distance: Tensor = torch.linalg.matrix_norm(_unit(W) - _unit(M))
    return distance


def self_duality_product(weight: Tensor, means: Tensor) -> Tensor:
    """NC3 as the ETF error of a product: || W M^T / ||W M^T||_F - (I - 11^T/K) / sqrt(K - 1) ||_F.

    M is centred by this function. The form of tding1/Neural-Collapse and rhubarbwu/neural-collapse. It is 0 also when W
    differs from M outside the span of the means, and it mixes NC3 with NC2: W = M gives 0 only for a
    simplex ETF.

    Returns:
        (...), in [0, 2]; NaN for K = 1 and when W M^T is 0.

    Raises:
        ValueError: the shapes do not match.
    """
    W, M = _pair(weight, means)
    return product_distance(W @ M.mT, simplex=True)


def weight_mean_alignment(weight: Tensor, means: Tensor) -> Tensor:
    """DNC3 as a share: how much of ||W||_F^2 lies, row by row, along the best aligned class mean.

    sum_j max_c <w_j, mu_c>^2 / ||mu_c||^2 / ||W||_F^2 over the rows w_j of W, with uncentred means. It is 1
    iff each row of W is 0 or collinear with a class mean, which is DNC3 of arXiv 2405.14468, Definition 1
    (the paper defines it and measures nothing; the sign of the collinearity is free there and in this function).

    Args:
        weight: (..., m, D), the layer applied to the features; any m.
        means: (..., K, D), of those features.

    Returns:
        (...), in [0, 1]. A class mean that is 0 aligns with nothing; NaN when W or all means are 0.

    Raises:
        ValueError: the widths do not match.
    """
    W, M = as_float64(weight), class_rows(means, centre=False)
    if W.ndim < 2 or W.shape[-1] != M.shape[-1]:
        raise ValueError(f"weight (..., m, D) must share D with means {tuple(means.shape)}, got {tuple(weight.shape)}")
    squares = M.square().sum(-1)
    along = (W @ M.mT).square() / torch.where(squares == 0, torch.inf, squares)[..., None, :]
    share = along.amax(-1).sum(-1) / W.square().sum((-2, -1))
    return torch.where((squares == 0).all(-1), torch.nan, share)


def _pair(weight: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    if weight.shape[-2:] != means.shape[-2:]:
        raise ValueError(f"weight must have the (K, D) of means {tuple(means.shape)}, got {tuple(weight.shape)}")
    return as_float64(weight), class_rows(means, centre=True)


def _unit(A: Tensor) -> Tensor:
    unit: Tensor = A / torch.linalg.matrix_norm(A, keepdim=True)
    return unit
