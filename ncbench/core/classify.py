"""Which of the papers' geometries do the class means form?

Legend: M (K, D) class means, G = M M^T their Gram matrix, divided by its mean diagonal in a residual.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ncbench.core import frames
from ncbench.core._linalg import eigh
from ncbench.core.geometry import class_rows
from ncbench.core.moments import ClassMoments

GeometryName = Literal["orthogonal_frame", "simplex_etf", "triangular_graph", "pair_blocks", "polygon"]


class Geometry(NamedTuple):
    """A recognised arrangement: its name, max |G - template|, and whether M had to be centred."""

    name: GeometryName
    residual: float
    centred: bool


def classify_geometry(class_means: Tensor, tolerance: float = 0.05) -> Geometry | None:
    """Name the geometry whose Gram matrix is nearest to that of the class means, in any order of the classes.

    Candidates, up to rotation, permutation and one scale: `frames.orthogonal_frame` (DNC2), `simplex_etf`
    (NC2), `triangular_graph` (the SRG of arXiv 2405.14468: cosines 1/2 and 0; or its centred form),
    `pair_blocks` and `polygon` (arXiv 2410.23169). The residual is the largest entry of |G - template|, so
    it sees angles and norms. The raw means are tried first, the centred ones only if no raw candidate lies
    within the tolerance. Where two geometries are one (K = 2; polygon of 3 or 4; the centred triangular
    graph of 6) the name is the first of: orthogonal_frame, simplex_etf, pair_blocks, triangular_graph,
    polygon. For K = 28 the Chang graphs, which share all parameters of the triangular graph, go by its
    name.

    Args:
        class_means: (K, D), K >= 2, one replica; pre-activation class means show the SRG.
        tolerance: largest residual accepted. 0.05 is the test by which a trained network was found to be
            the SRG.

    Returns:
        A Geometry, or None when no candidate is within the tolerance (means that are all 0 included).

    Raises:
        ValueError: not a finite (K, D) matrix with K >= 2.
    """
    if class_means.ndim != 2 or len(class_means) < 2:
        raise ValueError(f"class_means must have shape (K, D) with K >= 2, got {tuple(class_means.shape)}")
    raw = class_rows(class_means.cpu(), centre=False)
    if not raw.isfinite().all():
        raise ValueError("class_means must be finite, got NaN or infinite entries")
    for centred in (False, True):
        M = class_rows(raw, centre=centred)
        if M.square().sum() <= 1e-24 * raw.square().sum():
            continue  # nothing but rounding is left
        best = None
        for name, template in _CANDIDATES.items():
            if centred and name == "orthogonal_frame":
                continue  # centred it is a simplex ETF
            for residual in template(M @ M.mT):
                # Geometries that coincide differ by rounding: the first one keeps the name.
                if residual <= tolerance and (best is None or residual < best.residual - 1e-9):
                    best = Geometry(name, residual, centred)
        if best is not None:
            return best
    return None


def triangular_gram_error(moments: ClassMoments) -> Tensor:
    """How far the cosines of the class means are from those of the SRG solution: 0 for the triangular graph T_r.

    `graph_gram_error` with 2(r-2) neighbours, the classes that share a vertex, (...,). arXiv 2405.14468, Definition 9:
    the Gram matrix of M_l is (A + 2I)/(r-1), with A the adjacency matrix of T_r. A value below 0.05 is taken for the
    SRG; an orthogonal frame gives 1/2. NaN where a class mean is zero. ValueError unless K = r(r-1)/2 with r >= 4.
    """
    K = moments.means.shape[-2]
    r = (1 + math.isqrt(1 + 8 * K)) // 2
    if r < 4 or r * (r - 1) // 2 != K:
        raise ValueError(f"moments must be of r(r-1)/2 classes with r >= 4, got {K} classes")
    return graph_gram_error(moments, neighbours=2 * (r - 2))


def graph_gram_error(moments: ClassMoments, neighbours: int) -> Tensor:
    """How far the cosines of the class means are from I + A/2, with A the adjacency matrix of a regular graph.

    The cosines of every class with all classes, sorted, against 1, then 1/2 for its `neighbours`, then 0; the largest
    difference over classes and places, (...,). With two neighbours and K = 4 only the square has these cosines: the
    solution for four classes of arXiv 2405.14468, Figure 5. Sorting sees the degrees, not which classes are adjacent:
    with two neighbours and K = 6 two triangles pass as well as the hexagon. NaN where a class mean is zero.
    ValueError unless 0 <= neighbours < K.
    """
    M = moments.means.double()
    K = M.shape[-2]
    if not 0 <= neighbours < K:
        raise ValueError(f"neighbours must be at least 0 and less than the number of classes {K}, got {neighbours}")
    unit = M / torch.linalg.vector_norm(M, dim=-1, keepdim=True)
    cosines = (unit @ unit.mT).sort(dim=-1, descending=True).values
    template = torch.tensor([1.0] + [0.5] * neighbours + [0.0] * (K - 1 - neighbours), dtype=M.dtype, device=M.device)
    error: Tensor = (cosines - template).abs().amax(dim=(-2, -1))
    return error


def _orthogonal_frame(G: Tensor) -> Iterator[float]:
    yield _residual(G, torch.eye(len(G), dtype=G.dtype))


def _simplex_etf(G: Tensor) -> Iterator[float]:
    E = frames.simplex_etf(len(G))
    yield _residual(G, E @ E)


def _pair_blocks(G: Tensor) -> Iterator[float]:
    """Every class has one opposite, up to one class of free norm, orthogonal to the others, for odd K."""
    norms = G.diagonal().sqrt()
    opposite = norms[:, None] * norms * -0.5 > G
    paired = opposite.sum(1) == 1
    if opposite.sum(1).amax() > 1 or (~paired).sum() != len(G) % 2:
        return
    scale = G.diagonal()[paired].mean()
    template = torch.diag(torch.where(paired, 1.0, G.diagonal() / scale)) - opposite.to(G.dtype)
    yield (G / scale - template).abs().max().item()


def _triangular_graph(G: Tensor) -> Iterator[float]:
    """Two values off the diagonal; the larger one marks the edges of a graph with the parameters of T_r."""
    K = len(G)
    r = (1 + math.isqrt(1 + 8 * K)) // 2
    if r < 4 or r * (r - 1) // 2 != K:
        return
    I = torch.eye(K, dtype=G.dtype)
    for level in (0.0, 4 / r):  # Gram A + 2I, or A + 2I - (4/r) 11^T
        A = (G / G.diagonal().mean() * (2 - level) > 0.5 - level).to(G.dtype) * (1 - I)
        if torch.equal(A @ A, 2 * (r - 2) * I + (r - 2) * A + 4 * (1 - I - A)):
            yield _residual(G, (A + 2 * I - level) / (2 - level))


def _polygon(G: Tensor) -> Iterator[float]:
    """The order around the circle is that of the angles in the plane of the two leading eigenvectors."""
    if len(G) < 3:
        return
    plane = eigh(G)[1][:, -2:]
    position = torch.atan2(plane[:, 0], plane[:, 1]).argsort().argsort()
    yield _residual(G, frames.polygon(len(G))[position][:, position])


def _residual(G: Tensor, template: Tensor) -> float:
    return (G / G.diagonal().mean() - template).abs().max().item()


_CANDIDATES: dict[GeometryName, Callable[[Tensor], Iterator[float]]] = {
    "orthogonal_frame": _orthogonal_frame,
    "simplex_etf": _simplex_etf,
    "pair_blocks": _pair_blocks,
    "triangular_graph": _triangular_graph,
    "polygon": _polygon,
}
