"""How many dimensions the set of parameters with given critical logits has.

Source: derived, against Theorem 5 of arXiv 2410.23169. Given Z of rank r, with U S^(L+1) V^T its singular value
decomposition, the critical parameters are W_L = U S Q_L^T, W_l = Q_{l+1} S Q_l^T, H = Q_1 S V^T with U, S, V fixed and
(Q_1, ..., Q_L) free in St(r, d)^L: balance gives W_L W_L^T = (Z Z^T)^(1/(L+1)), which determines Q_L also where
singular values repeat; then W_{l+1}^T W_{l+1} = W_l W_l^T determines Q_{L-1}, ..., Q_1.
"""

from collections.abc import Sequence

from ncbench.theory.arguments import at_least

__all__ = [
    "dimension_ratio",
    "dnc_fibre_line",
    "fibre_dimension",
    "pair_fibre_line",
    "paper_dimension_ratio",
    "paper_dnc_fibre_line",
    "paper_fibre_dimension",
    "paper_pair_fibre_line",
]


def fibre_dimension(rank: int, width: int | Sequence[int], depth: int) -> int:
    """L (r d - r(r+1)/2), the dimension of St(r, d)^L, for every spectrum; K - 1 is the rank of DNC.

    Unequal widths d_1..d_L: sum_l (r d_l - r(r+1)/2). Equals the number of zero eigenvalues of the Hessian at a
    non-degenerate (Morse-Bott) minimum. Raises ValueError for a width below the rank.

    >>> fibre_dimension(3, 5, 2)
    18
    """
    return sum(rank * d - rank * (rank + 1) // 2 for d in _widths(rank, width, depth))


def paper_fibre_dimension(rank: int, width: int | Sequence[int], depth: int) -> int:
    """L r (d - r), the count of the paper's proof for equal singular values (a Grassmannian): too small.

    It misses the L r(r-1)/2 rotations inside the feature space, e.g. (W O^T, O H) for L = 1.

    Raises:
        ValueError: rank or depth is below 1, a width below the rank, or a list of widths not of L.

    >>> paper_fibre_dimension(3, 5, 2)
    12
    """
    return sum(rank * (d - rank) for d in _widths(rank, width, depth))


def dimension_ratio(num_classes: int, rank: int, width: int) -> float:
    """R(d) = D_DNC / D_Z = (K-1)(2d - K) / (r (2d - r - 1)): above 1 for every d >= K > r + 1, tends to (K-1)/r."""
    return fibre_dimension(num_classes - 1, width, 1) / fibre_dimension(rank, width, 1)


def paper_dimension_ratio(num_classes: int, rank: int, width: int) -> float:
    """The paper's R(d), (K-1)(d-K+1) / (r (d-r)) for a structure of equal singular values: below 1 for small d."""
    return paper_fibre_dimension(num_classes - 1, width, 1) / paper_fibre_dimension(rank, width, 1)


def dnc_fibre_line(num_classes: int, width: int, depth: int) -> int:
    """`fibre_dimension` of DNC, of rank K - 1: a line for the nullity of the Hessian there."""
    return fibre_dimension(num_classes - 1, width, depth)


def pair_fibre_line(num_classes: int, width: int, depth: int) -> int:
    """`fibre_dimension` of the pair blocks, of rank K/2 rounded up."""
    return fibre_dimension((num_classes + 1) // 2, width, depth)


def paper_dnc_fibre_line(num_classes: int, width: int, depth: int) -> int:
    """`paper_fibre_dimension` of DNC."""
    return paper_fibre_dimension(num_classes - 1, width, depth)


def paper_pair_fibre_line(num_classes: int, width: int, depth: int) -> int:
    """`paper_fibre_dimension` of the pair blocks."""
    return paper_fibre_dimension((num_classes + 1) // 2, width, depth)


def _widths(rank: int, width: int | Sequence[int], depth: int) -> list[int]:
    at_least("rank", rank, 1)
    at_least("depth", depth, 1)
    widths = [width] * depth if isinstance(width, int) else list(width)
    if len(widths) != depth:
        raise ValueError(f"width must be one number or one per weight matrix ({depth}), got {len(widths)} numbers")
    return [at_least("width", d, rank, "the rank") for d in widths]
