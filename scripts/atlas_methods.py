"""The two searches of the atlas, which know nothing of each other's answers.

reduced   in narrow factors: from closed forms, spherical codes, random factors of low rank, and what this method found
          in neighbouring cells.
training  from random initial values of the whole network, wider than K, by gradient descent or L-BFGS.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from atlas_search import WIDTHS, Cell, Factors, Objective, descend, largest_slope, settle
from atlas_starts import (
    Named,
    balanced,
    logit_structures,
    narrow_factors,
    perturbed,
    pruned,
    random_factors,
    rescaled_logits,
    solutions,
    spherical_codes,
    stacked,
    trained,
)
from torch import Tensor

from ncbench.theory import dufm_ce, dufm_mse

# Roundings of the ReLU, see `WIDTHS`, for starts far from any minimum and for comparing ends.
COARSE, MIDDLE = (0.03, 1e-2), (1e-2, 1e-3)
NOISES = (0.05, 0.1, 0.2)
KEPT = 8
ROUNDS = 1500  # of L-BFGS on cross-entropy, which has no kinks
RANK = 1e-3  # singular values above this share of the largest count


class End(NamedTuple):
    """Where a search ended: the loss of `matrices` (M, or H, W_1, ..., W_L), the start, and ends of named starts."""

    loss: float
    matrices: Factors
    start: str
    gradient: float
    named: list[tuple[str, Tensor]]


class Effort(NamedTuple):
    """How much is tried: random starts, steps of gradient descent, rounds of L-BFGS, rounds of restarts."""

    starts: int = 64
    steps: int = 6000
    rounds: int = 250
    hops: int = 1


FIRST = Effort(starts=24, steps=4000, rounds=100, hops=0)  # of the first pass
QUICK = Effort(starts=12, steps=1500, rounds=60, hops=0)


def reduced(cell: Cell, neighbours: Sequence[Named], effort: Effort, first_seed: int = 0) -> End:
    """The lowest end from structures and neighbours; `neighbours` are the factors (for "ce" [M]) of other cells."""
    if cell.loss == "ce":
        return _reduced_logits(cell, neighbours, effort, first_seed)
    starts = [*solutions(cell), *neighbours]
    width = max(max(F.shape[0] for F in factors[:-1]) for _, factors in starts)
    starts += [
        (name, perturbed(factors, noise, first_seed + seed))
        for seed, (name, factors) in enumerate(starts)
        for noise in (0.03, 0.15)
    ]
    starts += [("narrow factors", factors) for factors in narrow_factors(cell, effort.starts, first_seed)]
    return _polished(cell, width, starts, effort, (*COARSE, *MIDDLE[1:]))


def training(cell: Cell, earlier: Sequence[Named], effort: Effort, first_seed: int = 0) -> End:
    """The lowest end from random initial values, wider than the number of classes, and from its own `earlier` ends."""
    if cell.loss == "ce":
        return _trained_logits(cell, effort, first_seed)
    seeds = range(first_seed, first_seed + effort.starts)
    width, scales = cell.num_classes + 2, (0.7, 1.0, 1.3, 1.6)
    starts = [("random values", f) for f in random_factors(cell, width, scales, seeds)]
    ends = _descended(cell, width, starts, effort.steps)
    if effort.hops:
        rows = stacked([f for _, f in starts], width)
        _, rows, _ = settle(cell, width, rows, effort.rounds, KEPT, COARSE)
        ends += [("random values, rounded ReLU", factors) for factors in _unstacked(cell, width, rows)]
    return _polished(cell, width, [*earlier, *ends], effort, MIDDLE)


def _descended(cell: Cell, width: int, starts: Sequence[Named], steps: int) -> list[Named]:
    """Where gradient descent on the objective itself ends from the starts, the lowest few."""
    ends = trained(cell, width, [factors for _, factors in starts], steps)
    return [(starts[place][0], factors) for place, factors in ends[:KEPT]]


def _polished(cell: Cell, width: int, starts: Sequence[Named], effort: Effort, widths: Sequence[float]) -> End:
    """Mean squared error: the lowest end of L-BFGS along the rounded ReLUs, and of restarts near the lowest."""
    rows = stacked([factors for _, factors in starts], width)
    _, rows, places = settle(cell, width, rows, effort.rounds, 4, widths)
    for hop in range(effort.hops):
        own = _unstacked(cell, width, rows)
        again = [perturbed(own[i], noise, 100 * hop + i) for noise in NOISES for i in range(len(own))]
        rows, places = torch.cat([rows, stacked(again, width)]), places.repeat(1 + len(NOISES))
        _, rows, kept = settle(cell, width, rows, effort.rounds, 4, MIDDLE)
        places = places[kept]
    _, rows, kept = settle(cell, width, rows, effort.rounds, 1, WIDTHS[2:])
    (factors,) = _unstacked(cell, width, rows)
    matrices = pruned(factors)
    loss = float(dufm_mse.loss(matrices[0], matrices[1:], 1, cell.decay, cell.decay))
    return End(loss, matrices, starts[int(places[kept[0]])][0], largest_slope(cell, width, rows), [])


def _unstacked(cell: Cell, width: int, rows: Tensor) -> list[Factors]:
    split = Objective(cell, width, torch.ones(len(rows), dtype=torch.float64)).split(rows)
    return [[F[i] for F in split] for i in range(len(rows))]


def _reduced_logits(cell: Cell, neighbours: Sequence[Named], effort: Effort, first_seed: int) -> End:
    K = cell.num_classes
    known = logit_structures(cell)
    starts = [*known, *((name, perturbed(factors, 0.02, seed)) for seed, (name, factors) in enumerate(known))]
    starts += [("spherical code", factors) for factors in spherical_codes(cell, effort.starts // 4, first_seed)]
    for name, (M,) in neighbours:
        starts += [(name, perturbed(factors, 0.01, 0)) for factors in rescaled_logits(cell, [M])]
    return _logits_end(cell, K, starts, effort, len(known))


def _trained_logits(cell: Cell, effort: Effort, first_seed: int) -> End:
    """Cross-entropy: L-BFGS on the whole network, from half of the starts at three times the decay first."""
    ends = []
    for width in (cell.num_classes, cell.num_classes + 2):
        half = effort.starts // 8
        seeds = [first_seed + 1000 * width + i for i in range(2 * half)]
        rows = stacked(random_factors(cell, width, (0.5, 1.0, 1.5), seeds), width)
        more = torch.full((half,), 3 * cell.decay, dtype=torch.float64)
        rows[half:] = descend(Objective(cell, width, more), rows[half:], effort.rounds, 1e-7)
        starts = [("random values", factors) for factors in _unstacked(cell, width, rows)]
        ends.append(_logits_end(cell, width, starts, effort, 0))
    return min(ends, key=lambda end: end.loss)


def _logits_end(cell: Cell, width: int, starts: Sequence[Named], effort: Effort, named: int) -> End:
    """The lowest end as logits of their numerical rank, and the logits that the first `named` starts end at."""
    K, L, lam = cell.num_classes, cell.depth, cell.decay
    zero = End(math.log(K), [torch.zeros(K, K, dtype=torch.float64)], "zero", 0.0, [])
    if not starts:
        return zero
    rows = stacked([factors for _, factors in starts], width)
    _, rows, places = settle(cell, width, rows, ROUNDS, len(rows))
    split = Objective(cell, width, torch.ones(len(rows), dtype=torch.float64)).split(rows)
    logits = split[0]
    for W in split[1:]:
        logits = W @ logits
    # The lowest end once more in factors of its rank: what L-BFGS leaves of other directions costs a small power.
    U, s, Vh = torch.linalg.svd(logits[0])
    rank = max(1, int((s > RANK * s[0]).sum()))
    factors = balanced((U[:, :rank] * s[:rank]) @ Vh[:rank], L)
    narrow = Objective(cell, rank, torch.full((1,), lam, dtype=torch.float64))
    row = descend(narrow, stacked([factors], rank), ROUNDS, 1e-12)
    M = torch.linalg.multi_dot([F[0] for F in narrow.split(row)][::-1])
    loss = float(dufm_ce.reduced_objective(M, L, lam))
    if loss >= zero.loss:
        return zero
    ends = [(starts[p][0], logits[i]) for i, p in enumerate(places.tolist()) if p < named]
    return End(loss, [M], starts[int(places[0])][0], largest_slope(cell, rank, row), ends)
