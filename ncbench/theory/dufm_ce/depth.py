"""From which depth on a structure of lower rank has the lower loss, at every decay: Theorem 2 of arXiv 2410.23169.

Letters as in `objective`: logits M, X (K, K), column c those of class c; the Schatten exponent 2/(L+1).
"""

import math

import torch
from torch import Tensor

from ncbench.theory.dufm_ce.objective import minimum_margin

__all__ = ["low_rank_depth"]

CUT = 1e-12


def low_rank_depth(M: Tensor, X: Tensor) -> int:
    """A depth L_0 (>= 0) such that for every L > L_0 and every decay min_b J(b M) <= min_a J(a X); Theorem 2.

    M is diagonally superior (every class has its own logit as the strictly largest) and has a lower rank than X. With
    b = a (largest margin of X) / (least margin of M) no margin of b M is below one of a X, so b M fits at least as
    well; it costs no more where b^p sum_j s_j(M)^p <= sum_j s_j(X)^p, p = 2/(L+1), at the b of a = 1. As L grows the
    two sums tend to the ranks. L_0 is the largest L at which this comparison fails: sufficient, and not the least depth
    at which M wins.

    >>> from ncbench.core.frames import pair_blocks, simplex_etf
    >>> [low_rank_depth(pair_blocks(K), simplex_etf(K)) for K in (4, 6)]
    [2, 1]

    Raises:
        ValueError: shapes differ, M is not diagonally superior, or its rank is not below that of X.
    """
    if M.shape != X.shape or M.ndim != 2 or M.shape[0] != M.shape[1]:
        raise ValueError(f"M and X must be (K, K) both, got {tuple(M.shape)} and {tuple(X.shape)}")
    least = float(minimum_margin(M))
    if not least > 0:
        raise ValueError(f"M must be diagonally superior, its least margin is {least}")
    margins = (X.diagonal() - X).to(torch.float64)
    largest = float(margins.masked_fill(torch.eye(len(X), dtype=torch.bool), -math.inf).max())
    if largest <= 0:
        return 0  # X fits no class better than no logits at all, and b = 0 costs nothing
    low, high = (_singular_values(A) for A in (largest / least * M, X))
    if len(low) >= len(high):
        raise ValueError(f"M must have a lower rank than X, got {len(low)} and {len(high)}")

    def costs_more(L: int) -> bool:
        p = 2 / (L + 1)
        return bool(low.pow(p).sum() > high.pow(p).sum() * (1 + 1e-12))

    # |s^p - 1| <= p |log s| max(1, s) for p <= 1: beyond this depth both sums are within half a rank of their limits.
    slope = sum(float((s.log().abs() * s.clamp(min=1)).sum()) for s in (low, high))
    enough = math.ceil(2 * slope / (len(high) - len(low)))
    return next((L for L in range(enough, 0, -1) if costs_more(L)), 0)


def _singular_values(A: Tensor) -> Tensor:
    s: Tensor = torch.linalg.svdvals(A.to(torch.float64))
    nonzero: Tensor = s[s > CUT * s[0]]
    return nonzero
