"""Where the searches of the atlas start: structures, neighbouring cells, random factors, trained networks.

A start is a list of factors [H (d_1, K), W_1 (d_2, d_1), ..., W_L (K, d_L)] with widths of its own in every layer;
`stacked` fills them with zeros to one width, which descent leaves zero.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from atlas_search import Cell, Factors, Objective
from torch import Tensor

from ncbench.models.replica import DUFM, FullBatchDescent
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.dufm_ce.named import structures

Named = tuple[str, Factors]


def stacked(starts: Sequence[Factors], width: int) -> Tensor:
    """(R, P): the factors of every start, filled with zeros to `width`, as rows."""
    rows = []
    for factors in starts:
        padded = []
        for l, F in enumerate(factors):
            rows_to = F.shape[0] if l == len(factors) - 1 else width
            columns_to = F.shape[1] if l == 0 else width
            padded.append(torch.nn.functional.pad(F, (0, columns_to - F.shape[1], 0, rows_to - F.shape[0])))
        rows.append(torch.cat([F.flatten() for F in padded]))
    return torch.stack(rows)


def perturbed(factors: Factors, noise: float, seed: int) -> Factors:
    """The factors with Gaussian noise, relative to the root mean square of each, in their own widths."""
    generator = torch.Generator().manual_seed(seed)
    return [
        F + noise * F.square().mean().sqrt() * torch.randn(F.shape, generator=generator, dtype=F.dtype) for F in factors
    ]


def pruned(factors: Factors, cut: float = 1e-5) -> Factors:
    """Without hidden neurons whose incoming or outgoing weights are below `cut` of the largest of their layer."""
    kept = list(factors)
    for l in range(len(kept) - 1):
        into, out = kept[l].norm(dim=1), kept[l + 1].norm(dim=0)
        alive = (into > cut * into.max()) & (out > cut * out.max())
        kept[l], kept[l + 1] = kept[l][alive], kept[l + 1][:, alive]
    return kept


def balanced(M: Tensor, depth: int) -> Factors:
    """Balanced factors of logits M at the width of their rank."""
    H, Ws = dufm_ce.balanced_factors(M, depth, int(torch.linalg.matrix_rank(M, rtol=1e-9)))
    return [H, *Ws]


def logit_structures(cell: Cell, most: int = 24) -> list[Named]:
    """Cross-entropy: DNC and the structures of least loss along their rays, each at its best scale."""
    K, L, lam = cell.num_classes, cell.depth, cell.decay
    rays = [(dufm_ce.ray_optimum(M, L, lam), name, M) for name, M in structures(K)]
    rays = sorted((ray for ray in rays if ray[0][0] > 0), key=lambda ray: ray[0][1])
    chosen = [ray for i, ray in enumerate(rays) if i < most or ray[1] == str([K])]
    return [(name, balanced(scale * M, L)) for (scale, _), name, M in chosen]


def spherical_codes(cell: Cell, count: int, seed: int) -> list[Factors]:
    """Cross-entropy: Gram matrices of K random unit vectors in 2 to 5 dimensions; none where the problem is convex."""
    K, L = cell.num_classes, cell.depth
    rng, starts = np.random.default_rng(seed), []
    for i in range(count if K > 2 and L > 1 else 0):
        directions = rng.standard_normal((2 + i % min(4, K - 1), K))
        code = torch.from_numpy(directions / np.linalg.norm(directions, axis=0))
        starts.append(balanced(4 * max(1.0, -math.log(cell.decay)) * code.mT @ code, L))
    return starts


def rescaled_logits(cell: Cell, found: Iterable[Tensor]) -> list[Factors]:
    """Cross-entropy: logits of other cells with the same classes, at their best scales here."""
    starts = []
    for M in found:
        scale = dufm_ce.ray_optimum(M, cell.depth, cell.decay)[0] if bool(M.any()) else 0.0
        if scale > 0:
            starts.append(balanced(scale * M, cell.depth))
    return starts


def solutions(cell: Cell) -> Iterator[Named]:
    """Mean squared error: the paper's solutions, DNC and SRG by both variants of Definition 11."""
    K, L, lam = cell.num_classes, cell.depth, cell.decay
    H, Ws = dufm_mse.dnc_solution(K, L, 1, lam, lam)
    yield "dnc", [H, *Ws]
    for variant, least in ((1, 6), (2, 4)):
        if L >= 3 and least <= K:
            H, Ws = dufm_mse.srg_solution(K, L, 1, lam, lam, variant)
            yield f"srg, variant {variant}", [H, *Ws]


def deeper(factors: Factors) -> Iterator[Factors]:
    """One layer more: the identity behind a ReLU, at every place; the same function."""
    for l in range(2, len(factors)):
        eye = torch.eye(factors[l].shape[1], dtype=torch.float64)
        yield [*factors[:l], eye, *factors[l:]]


def shallower(factors: Factors) -> Iterator[Factors]:
    """One layer less: two neighbouring matrices multiplied, the same function where the ReLU between is inactive."""
    for l in range(1, len(factors) - 1):
        yield [*factors[:l], factors[l + 1] @ factors[l], *factors[l + 2 :]]


def without_a_class(factors: Factors) -> Iterator[Factors]:
    """One class less: its column of H and its row of W_L left out, for every class."""
    K = factors[0].shape[1]
    for c in range(K):
        kept = [i for i in range(K) if i != c]
        yield [factors[0][:, kept], *factors[1:-1], factors[-1][kept]]


def side_by_side(first: Factors, second: Factors) -> Factors:
    """The block-diagonal factors of both problems' classes."""
    return [block_diagonal(A, B) for A, B in zip(first, second, strict=True)]


def random_factors(cell: Cell, width: int, scales: Sequence[float], seeds: Sequence[int]) -> list[Factors]:
    """Random initial values N(0, g^2 / fan-in) of the whole network, H: N(0, g^2 / d), g from `scales` in turn."""
    model = _network(cell, width, scales, seeds, torch.float64)
    return _replicas([model.features.value, *model.weights])


def narrow_factors(cell: Cell, count: int, seed: int) -> list[Factors]:
    """Mean squared error: random values N(0, 1 / fan-in) in layers of 2 to 7 neurons (at most K), the last of K."""
    K, L, starts = cell.num_classes, cell.depth, []
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        r = 2 + i % min(6, K - 1)
        widths = [K, *[r] * (L - 1), K, K]  # of the classes, H_1 ... H_(L-1), H_L and the outputs
        shapes = [(r if L > 1 else K, K), *zip(widths[2:], widths[1:-1], strict=True)]
        draws = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        starts.append([draws[0] / r**0.5, *(W / W.shape[1] ** 0.5 for W in draws[1:])])
    return starts


def trained(cell: Cell, width: int, starts: Sequence[Factors], steps: int) -> list[tuple[int, Factors]]:
    """Ends of gradient descent on the mean squared error (rate 0.5, heavy ball 0.9, float32), lowest first.

    Each with the place of its start; ends that are not finite are left out.
    """
    R, L = len(starts), cell.depth
    model = _network(cell, width, [1.0], range(R), torch.float32)
    rows = stacked(starts, width)
    split = Objective(cell, width, torch.ones(R, dtype=torch.float64)).split(rows)
    for parameter, values in zip([model.features.value, *model.weights], [split[0].mT, *split[1:]], strict=True):
        parameter.data.copy_(values)
    descent = FullBatchDescent(
        model,
        torch.arange(cell.num_classes),
        loss="mse",
        weight_decays=torch.full((R, L), cell.decay),
        feature_decays=torch.full((R,), cell.decay),
        rates=torch.full((R,), 0.5),
        momentum=0.9,
        threads=1,
    )
    momenta = [torch.zeros_like(parameter) for parameter in descent.parameters]
    descent.advance(steps, momenta, torch.arange(R))
    ends = _replicas([parameter.to(torch.float64) for parameter in descent.parameters])
    losses = [float(dufm_mse.loss(f[0], f[1:], 1, cell.decay, cell.decay)) for f in ends]
    order = sorted((loss, place) for place, loss in enumerate(losses) if math.isfinite(loss))
    return [(place, ends[place]) for _, place in order]


def _network(cell: Cell, width: int, scales: Sequence[float], seeds: Sequence[int], dtype: torch.dtype) -> DUFM:
    return DUFM(
        depth=cell.depth,
        width=width,
        activation="relu" if cell.loss == "mse" else "linear",
        init_scale=[scales[i % len(scales)] for i in range(len(seeds))],
        num_classes=cell.num_classes,
        num_samples=cell.num_classes,
        seeds=seeds,
        dtype=dtype,
    )


def _replicas(parameters: Sequence[Tensor]) -> list[Factors]:
    """One list of factors per replica, the features with samples as columns."""
    H, *Ws = (parameter.detach() for parameter in parameters)
    return [[H[i].mT.contiguous(), *(W[i] for W in Ws)] for i in range(len(H))]


def block_diagonal(A: Tensor, B: Tensor) -> Tensor:
    """torch.block_diag, which has no types."""
    return torch.cat(
        [
            torch.nn.functional.pad(A, (0, B.shape[1])),
            torch.nn.functional.pad(B, (A.shape[1], 0)),
        ]
    )
