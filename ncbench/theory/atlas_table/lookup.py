"""Best known values: the table's where it has the cell, at other decays relaxed from its neighbours there."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ncbench.core import frames
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.arguments import Array, positive
from ncbench.theory.atlas_table.entries import AtlasEntry, Loss, entries
from ncbench.theory.dufm_ce.named import structures

__all__ = ["atlas"]

SAME = 1e-9  # relative difference within which two decays are one
TRIED = 4  # structures of cross-entropy that are relaxed, those which are lowest before
CELLS = {"ce": "K <= 12, L <= 6", "mse": "K <= 21, 2 <= L <= 7"}


def atlas(loss: Loss, num_classes: int, depth: int, decay: float) -> AtlasEntry:
    """The best known value of a deep unconstrained features model, with its matrices and its source.

    Args:
        loss: "ce" (linear, arXiv 2410.23169) or "mse" (ReLU, arXiv 2405.14468).
        num_classes: K, at most 12 for "ce" and 21 for "mse".
        depth: L, the number of weight matrices, at most 6 for "ce", 2 to 7 for "mse".
        decay: lam of all L + 1 factors at one sample per class. For other decays and n samples per class that is
            Lam = (n lam_H lam_1 ... lam_L)^(1/(L+1)), `dufm_ce.effective_decay`, for both losses.

    Returns:
        The table's entry at a decay of the table. At another decay the table's entries of the same K and L, the nearest
        on either side, the closed forms and the lowest known structures are relaxed at that decay, the SRG solutions
        taken as they are, and the lowest end is returned: `method` is then "relaxed" and `source` says from where. No
        value is proven to be a global minimum.

    Raises:
        ValueError: a cell that the table does not have, a decay that is not positive.

    >>> entry = atlas("ce", 6, 2, 0.01)
    >>> round(entry.loss, 8), entry.rank
    (0.23546343, 3)
    """
    lam = float(positive("decay", decay))
    own = _column(loss, num_classes, depth)
    if not own:
        raise ValueError(f"num_classes and depth must lie in the atlas ({CELLS[loss]}), got {num_classes}, {depth}")
    for entry in own:
        if abs(entry.decay - lam) <= SAME * lam:
            return entry
    return _between(loss, num_classes, depth, lam)


def _column(loss: Loss, num_classes: int, depth: int) -> list[AtlasEntry]:
    """The entries of one K and L, the decays ascending."""
    own = (e for e in entries(loss).values() if (e.num_classes, e.depth) == (num_classes, depth))
    return sorted(own, key=lambda entry: entry.decay)


@cache
def _between(loss: Loss, num_classes: int, depth: int, lam: float) -> AtlasEntry:
    own = _column(loss, num_classes, depth)
    above = next((i for i, entry in enumerate(own) if entry.decay > lam), len(own))
    near = own[max(0, above - 1) : above + 1]
    return _relaxed_logits(near, lam) if loss == "ce" else _relaxed_factors(near, lam)


def _relaxed_logits(near: list[AtlasEntry], lam: float) -> AtlasEntry:
    """The lowest of what cross-entropy's entries and closed forms relax to, or the zero solution."""
    K, L = near[0].num_classes, near[0].depth
    zero = torch.zeros(K, K, dtype=torch.float64)
    ends = [("zero", "zero", math.log(K), zero)]
    for label, geometry, M in [*_starts(near), *_closed_forms(K), *_best_structures(K, L, lam)]:
        scale, _ = dufm_ce.ray_optimum(M, L, lam) if bool(M.any()) else (0.0, 0.0)
        if scale > 0:
            H, Ws = dufm_ce.balanced_factors(scale * M, L, int(torch.linalg.matrix_rank(M, rtol=1e-9)))
            H, *Ws = _descended([H, *Ws], "ce", lam)[1]
            for W in Ws:
                H = W @ H
            ends.append((label, geometry, float(dufm_ce.reduced_objective(H, L, lam)), H))
    label, geometry, value, M = min(ends, key=lambda end: end[2])
    s = torch.linalg.svdvals(M)
    rank = int((s > 1e-3 * s[0]).sum()) if bool(M.any()) else 0
    return _at_another_decay(near[0], lam, value, geometry, label, (M,), (rank,), float(dufm_ce.dnc_loss(K, L, lam)))


def _relaxed_factors(near: list[AtlasEntry], lam: float) -> AtlasEntry:
    """The lowest of what mean squared error's entries, their factors scaled, relax to, DNC, SRG or the zero one."""
    K, L = near[0].num_classes, near[0].depth
    H, Ws = dufm_mse.dnc_solution(K, L, 1, lam, lam)
    dnc = float(dufm_mse.dnc_loss(K, L, 1, lam, lam))
    ends = [("DNC", "dnc" if dnc < 0.5 else "zero", dnc, [H, *Ws])]
    for variant in (1, 2):  # not descended: they lie on the kink of the last ReLU, where a gradient leads nowhere
        try:
            H, Ws = dufm_mse.srg_solution(K, L, 1, lam, [lam] * L, variant)
        except ValueError:  # too few classes or layers
            continue
        ends.append((f"SRG, variant {variant}", "srg", float(dufm_mse.loss(H, Ws, 1, lam, lam)), [H, *Ws]))
    for label, geometry, entry in [(_label(entry), entry.geometry, entry) for entry in near]:
        value, factors = _descended(list(entry.matrices), "mse", lam)
        ends.append((label, geometry, value, factors))
    label, geometry, value, factors = min(ends, key=lambda end: end[2])
    ranks = []
    features = factors[0]
    for W in factors[1:-1]:
        s = torch.linalg.svdvals(W @ features)
        ranks.append(int((s > 1e-3 * s[0]).sum()) if float(s[0]) > 0 else 0)
        features = (W @ features).relu()
    return _at_another_decay(near[0], lam, value, geometry, label, tuple(factors), tuple(ranks), dnc)


def _starts(near: list[AtlasEntry]) -> Iterator[tuple[str, str, Tensor]]:
    for entry in near:
        yield _label(entry), entry.geometry, entry.matrices[0]


def _label(entry: AtlasEntry) -> str:
    return f"the entry at {entry.decay:g}"


def _closed_forms(K: int) -> Iterator[tuple[str, str, Tensor]]:
    yield "DNC", "dnc", frames.simplex_etf(K)
    yield "pair blocks", "pairs" if K % 2 == 0 else "pairs, relaxed", frames.pair_blocks(K)
    if K >= 3:
        yield "the polygon", "polygon", frames.polygon(K)


def _best_structures(K: int, L: int, lam: float) -> list[tuple[str, str, Tensor]]:
    """The known structures that are lowest at their best scale, beside those of `_closed_forms`."""
    there = {str([K]), str([2] * (K // 2) + [1] * (K % 2)), "polygon"}
    known = ((float(dufm_ce.ray_optimum(M, L, lam)[1]), name, M) for name, M in structures(K) if name not in there)
    lowest = sorted(known, key=lambda one: one[0])[:TRIED]
    return [(f"the structure {name}", name, M) for _, name, M in lowest]


def _descended(factors: list[Tensor], loss: Loss, lam: float) -> tuple[float, list[Tensor]]:
    """(objective, factors) at the end of L-BFGS on one sample per class with the decay lam of every factor."""
    ends = np.cumsum([F.numel() for F in factors])[:-1].tolist()

    def split(x: Tensor) -> list[Tensor]:
        return [part.view(F.shape) for part, F in zip(x.tensor_split(ends), factors, strict=True)]

    def objective(x: Array) -> tuple[float, Array]:
        flat = torch.from_numpy(x).requires_grad_()
        H, *Ws = split(flat)
        value = dufm_ce.loss(H, Ws, 1, lam, lam) if loss == "ce" else dufm_mse.loss(H, Ws, 1, lam, lam)
        (gradient,) = torch.autograd.grad(value, flat)
        return float(value.detach()), gradient.numpy().astype(np.float64)

    start = torch.cat([F.flatten() for F in factors]).numpy()
    options = {"gtol": 1e-10, "ftol": 1e-15, "maxiter": 3000, "maxfun": 4000, "maxcor": 20}
    end = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
    return float(end.fun), split(torch.from_numpy(end.x))


def _at_another_decay(
    near: AtlasEntry,
    lam: float,
    value: float,
    geometry: str,
    label: str,
    matrices: tuple[Tensor, ...],
    ranks: tuple[int, ...],
    dnc: float,
) -> AtlasEntry:
    nan = math.nan
    return replace(
        near,
        decay=lam,
        loss=value,
        rank=min(ranks, default=0),
        ranks=ranks,
        geometry=geometry,
        gradient=nan,
        method="relaxed",
        reduced=nan,
        training=nan,
        confirmed=False,
        dnc=dnc,
        closed=nan,
        closed_form="",
        tabulated=nan,
        seconds=nan,
        source=f"relaxed at decay {lam:g} from {label} of the atlas" if "entry" in label else f"relaxed from {label}",
        matrices=matrices,
    )
