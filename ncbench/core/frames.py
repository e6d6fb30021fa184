"""Target geometries of class means and logits, as explicit float64 matrices.

Legend: K classes; r vertices of the complete graph whose K = r(r-1)/2 edges are the classes; T the r x K
incidence matrix, A the K x K adjacency matrix of its line graph, the triangular graph srg(K, 2(r-2), r-2,
4). Edges are ordered lexicographically everywhere: (0, 1), (0, 2), ..., (r-2, r-1). Sources: arXiv
2405.14468, Definitions 4 and 9 (T, S); arXiv 2410.23169 (pair blocks, polygon).
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def simplex_etf(num_classes: int) -> Tensor:
    """Simplex equiangular tight frame sqrt(K/(K-1)) (I - 11^T/K), (K, K).

    Unit rows, cosines -1/(K-1), rank K - 1. S = I - 11^T/K of arXiv 2410.23169 is sqrt((K-1)/K) times it.
    """
    K = _at_least("num_classes", num_classes, 2)
    return math.sqrt(K / (K - 1)) * (_eye(K) - 1 / K)


def orthogonal_frame(num_classes: int, dim: int | None = None) -> Tensor:
    """Orthogonal frame [I_K, 0], (K, dim): unit orthogonal rows; dim = K by default, at least K."""
    K = _at_least("num_classes", num_classes, 1)
    return torch.eye(K, K if dim is None else _at_least("dim", dim, K), dtype=torch.float64)


def triangular_edges(vertices: int) -> list[tuple[int, int]]:
    """The K = r(r-1)/2 edges of the complete graph on r vertices, in lexicographic order."""
    return list(combinations(range(_at_least("vertices", vertices, 2)), 2))


def triangular_incidence(vertices: int) -> Tensor:
    """Normalised incidence matrix T, (r, K): T_ve = 1/sqrt(r-1) if v in e else 0, so rows have unit norm.

    Singular values sqrt(2) once and sqrt((r-2)/(r-1)) r - 1 times. Columns are the SRG class means of
    layers 2..L-1 of arXiv 2405.14468, up to scale.
    """
    return 0.5 * (1 - triangular_signs(vertices).mT) / math.sqrt(vertices - 1)


def triangular_adjacency(vertices: int) -> Tensor:
    """A, (K, K): 1 where two different edges share a vertex; eigenvalues 2(r-2), r-4 (r-1 times), -2."""
    B = 0.5 * (1 - triangular_signs(vertices))
    return B @ B.mT - 2 * _eye(len(B))


def triangular_gram(vertices: int) -> Tensor:
    """T^T T = (A + 2I)/(r-1), (K, K), rank r: cosines 1/2 for edges that share a vertex, else 0."""
    return (triangular_adjacency(vertices) + 2 * _eye(len(triangular_edges(vertices)))) / (vertices - 1)


def centred_triangular_gram(vertices: int) -> Tensor:
    """Gram matrix A + 2I - (4/r) 11^T of e_i + e_j - (2/r) 1, (K, K): rank r - 1, all singular values r - 2.

    The intermediate-rank cross-entropy structure; K = 6 (r = 4) is `pair_blocks(6)` up to order.
    """
    return (vertices - 1) * triangular_gram(vertices) - 4 / vertices


def triangular_signs(vertices: int) -> Tensor:
    """S, (K, r): row e has -1 at the two vertices of e and +1 elsewhere (arXiv 2405.14468, Definition 4)."""
    edges = torch.tensor(triangular_edges(vertices))
    S = torch.ones(len(edges), vertices, dtype=torch.float64)
    return S.scatter_(1, edges, -1.0)


def triangular_last_layer(vertices: int) -> Tensor:
    """S T with unit rows, (K, K): SRG pre-activation class means of layer L, one column per class.

    Rank r for r >= 5, 3 for r = 4 (S 1 = (r - 4) 1). Its ReLU has full rank K and condition number C(r-2,
    2). Rows: one entry -2, C(r-2, 2) entries +2, the rest 0, in units of 1 / (2 sqrt(m)), m = 1 + C(r-2,
    2). The zeros are exact. vertices >= 4.
    """
    _at_least("vertices", vertices, 4)
    S = triangular_signs(vertices)
    rows = S @ (0.5 * (1 - S)).mT
    return rows / rows.square().sum(1, keepdim=True).sqrt()


def polygon(num_classes: int) -> Tensor:
    """Regular polygon cos(2 pi (i - j)/K), (K, K): rank 2, both singular values K/2, for K >= 3."""
    K = _at_least("num_classes", num_classes, 3)
    index = torch.arange(K, dtype=torch.float64)
    return torch.cos(2 * torch.pi / K * (index[:, None] - index))


def simplex_blocks(sizes: Sequence[int]) -> Tensor:
    """Block diagonal of k/(k-1) (I - 11^T/k) per block of size k >= 2, and of 1 per block of size 1.

    (K, K) with K the sum of the sizes. Margins across blocks are 1; a block has k - 1 singular values
    k/(k-1).

    Raises:
        ValueError: no size, or one below 1.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must be positive, at least one of them, got {list(sizes)}")
    block = torch.repeat_interleave(torch.tensor(list(sizes)))  # the block of each class
    same = (block[:, None] == block).to(torch.float64)
    k = same.sum(0)
    return torch.where(k > 1, k / (k - 1) * (_eye(len(block)) - same / k), same)


def pair_blocks(num_classes: int) -> Tensor:
    """Block diagonal of [[1, -1], [-1, 1]], with a last 1 for odd K, (K, K), rank ceil(K/2).

    arXiv 2410.23169, equation (5): the logits that beat deep neural collapse.

    Raises:
        ValueError: num_classes is below 2.
    """
    pairs, single = divmod(_at_least("num_classes", num_classes, 2), 2)
    return simplex_blocks([2] * pairs + [1] * single)


def antiprism_blocks(num_classes: int) -> Tensor:
    """Pairs and one square antiprism of the last eight classes, (K, K) for even K >= 8, of rank K/2 - 1.

    The antiprism's block is the Gram matrix of the unit vectors along (cos(k pi/2), sin(k pi/2), z) and, turned by
    pi/4, (cos(k pi/2 + pi/4), sin(k pi/2 + pi/4), -z), k = 0 ... 3, with z = 0.62.
    """
    K = _at_least("num_classes", num_classes, 8)
    if K % 2:
        raise ValueError(f"num_classes must be even, got {K}")
    quarter = torch.arange(4, dtype=torch.float64) * math.pi / 2
    angles = torch.cat([quarter, quarter + math.pi / 4])
    heights = torch.tensor([0.62] * 4 + [-0.62] * 4, dtype=torch.float64)
    directions = torch.stack([angles.cos(), angles.sin(), heights])
    directions = directions / directions.norm(dim=0)
    pairs = [simplex_blocks([2])] * ((K - 8) // 2)
    blocks: Tensor = torch.block_diag(*pairs, directions.mT @ directions)  # type: ignore[no-untyped-call]
    return blocks


def _eye(K: int) -> Tensor:
    return torch.eye(K, dtype=torch.float64)


def _at_least(name: str, value: int, bound: int) -> int:
    if value < bound:
        raise ValueError(f"{name} must be at least {bound}, got {value}")
    return value
