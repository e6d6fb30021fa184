"""Names of geometries: matrices compared with known ones up to a permutation of classes and a scale."""

from collections.abc import Iterable

import torch
from atlas_search import Factors
from atlas_starts import block_diagonal
from torch import Tensor

from ncbench.core import frames
from ncbench.theory.dufm_ce.named import structures

EXACT, RELAXED = 1e-4, 1e-3  # largest difference of two entries, relative to the largest entry
TRIES = 20000


def same_up_to_permutation(A: Tensor, B: Tensor, tolerance: float) -> bool:
    """Whether A_ij = B_p(i)p(j) for a permutation p of the classes, to `tolerance` times the largest entry of B."""
    if A.shape != B.shape:
        return False
    close = tolerance * float(B.abs().max())
    # Rows and columns have the same sorted entries where the permutation exists: few candidates are left per class.
    profiles = [torch.cat([X.sort(1).values, X.mT.sort(1).values], 1) for X in (A, B)]
    fits = ((profiles[0][:, None] - profiles[1][None]).abs().amax(-1) < close).tolist()
    rows_a, rows_b = A.tolist(), B.tolist()
    K, tries = len(A), 0
    image: list[int] = []

    def extends(j: int) -> bool:
        i = len(image)
        pairs = [*enumerate(image), (i, j)]
        return all(
            abs(rows_a[i][k] - rows_b[j][p]) < close and abs(rows_a[k][i] - rows_b[p][j]) < close for k, p in pairs
        )

    def assign() -> bool:
        nonlocal tries
        tries += 1
        if len(image) == K or tries > TRIES:
            return len(image) == K
        for j in range(K):
            if fits[len(image)][j] and j not in image and extends(j):
                image.append(j)
                if assign():
                    return True
                image.pop()
        return False

    return assign()


def name_logits(M: Tensor, relaxed: Iterable[tuple[str, Tensor]] = ()) -> str:
    """The structure that logits M (K, K) are a multiple of, or one of `relaxed` (name, logits), or what M is else."""
    if not bool(M.any()):
        return "zero"
    unit = M / M.norm()
    for name, X in [*structures(len(M)), ("icosahedron", _icosahedron())]:
        if same_up_to_permutation(unit, X / X.norm(), EXACT):
            return _short(name, len(M))
    for name, X in relaxed:
        if bool(X.norm() > 0) and same_up_to_permutation(unit, X / X.norm(), RELAXED):
            return f"{_short(name, len(M))}, relaxed"
    s = torch.linalg.svdvals(M)
    symmetric = float((unit - unit.mT).abs().max()) < RELAXED * float(unit.abs().max())
    if symmetric and float(torch.linalg.eigvalsh(M).min()) > -RELAXED * float(s[0]):
        return "spherical code"
    return "unnamed"


def name_features(factors: Factors) -> str:
    """The geometry of a ReLU network's class means: of the first features behind a ReLU, and of the last."""
    K, means = factors[0].shape[1], [factors[0]]
    if not all(bool(F.numel()) and bool(F.any()) for F in factors):
        return "zero"
    for W in factors[1:-1]:
        means.append((W @ means[-1]).relu())
    first, last = _cosines(means[1]), _cosines(means[-1])
    eye = torch.eye(K, dtype=torch.float64)
    if float((first - eye).abs().max()) < RELAXED and float((last - eye).abs().max()) < RELAXED:
        return "dnc"
    r = (1 + int((8 * K + 1) ** 0.5)) // 2
    block = frames.triangular_gram(r) if r >= 4 else None
    if block is not None:
        rest = K - len(block)
        target = _cosines_of_gram(block_diagonal(block, torch.eye(rest, dtype=torch.float64)))
        if same_up_to_permutation(first, target, 1e-2):
            return f"srg T_{r}" + (f" and {rest} dnc" if rest else "")
    halves = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    if float((first[..., None] - halves).abs().amin(-1).max()) < 1e-2:
        return "edges of a graph" if bool((first > 0.25).sum() > K) else "orthogonal, then merged"
    return "unnamed"


def _icosahedron() -> Tensor:
    """Gram matrix (12, 12) of its vertices, (0, +-1, +-phi) and their cyclic permutations."""
    signs = torch.tensor([[a, b] for a in (1, -1) for b in (1, -1)], dtype=torch.float64)
    vertices = torch.nn.functional.pad(signs * torch.tensor([1, (1 + 5**0.5) / 2], dtype=torch.float64), (1, 0))
    V = torch.cat([vertices.roll(shift, 1) for shift in range(3)])
    return V @ V.mT


def _cosines(means: Tensor) -> Tensor:
    return _cosines_of_gram(means.mT @ means)


def _cosines_of_gram(gram: Tensor) -> Tensor:
    norms = gram.diagonal().clamp(min=1e-300).sqrt()
    return gram / norms[:, None] / norms


def _short(name: str, K: int) -> str:
    """ "dnc" and "pairs" for the partitions that have a name."""
    return {str([2] * (K // 2)): "pairs", str([K]): "dnc"}.get(name, name)
