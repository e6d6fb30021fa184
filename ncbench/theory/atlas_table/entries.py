"""The committed table: ce.csv and mse.csv, one row per cell, with the matrices of each in .npz files beside them.

Letters: K classes, L weight matrices, lam the decay of all L + 1 factors at one sample per class. Cross-entropy
depends on lam = Lam of `dufm_ce.effective_decay`, mean squared error on K lam^(L+1), Lam of `dufm_mse.decay_product`.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

__all__ = ["COLUMNS", "FOLDER", "AtlasEntry", "Loss", "cell_key", "entries", "matrices_file"]

Loss = Literal["ce", "mse"]
FOLDER = Path(__file__).resolve().parent
COLUMNS = (
    *("num_classes", "depth", "decay", "loss", "rank", "ranks", "geometry", "gradient", "method", "start"),
    *("reduced", "training", "confirmed", "dnc", "closed", "closed_form", "tabulated", "passes", "seconds"),
)


@dataclass(frozen=True)
class AtlasEntry:
    """The lowest loss known of one problem, with the matrices that attain it: an upper bound on the global minimum.

    `objective` "ce" or "mse"; `decay` as above; `loss` in float64, of the matrices. `matrices`: cross-entropy the
    class-mean logits M (K, K), whose `dufm_ce.reduced_objective` is the loss; mean squared error H (d_1, K), W_1, ...,
    W_L, whose `dufm_mse.loss` it is. `ranks` of the pre-activations W_l H_l, l < L (mean squared error), singular
    values above 1e-3 of the largest; `rank` the least of them, for cross-entropy that of M. `gradient`: largest entry,
    for mean squared error with the ReLU rounded off over 1e-7 of the largest pre-activation: minima lie on its kinks.
    `reduced`, `training`: what the two methods found (nan: not run), `confirmed` where both agree to 1e-6. `dnc`,
    `closed`: the closed form of deep neural collapse, and the lowest of all, which is `closed_form`; `tabulated` the
    best value known before (nan: none), `seconds` what the search took. `source`: how the entry was found.
    """

    objective: Loss
    num_classes: int
    depth: int
    decay: float
    loss: float
    rank: int
    ranks: tuple[int, ...]
    geometry: str
    gradient: float
    method: str
    reduced: float
    training: float
    confirmed: bool
    dnc: float
    closed: float
    closed_form: str
    tabulated: float
    seconds: float
    source: str
    matrices: tuple[Tensor, ...]

    @property
    def logits(self) -> Tensor:
        """M (K, K): column c the network's output for class c."""
        M = self.matrices[0]
        for W in self.matrices[1:-1]:
            M = (W @ M).relu()
        return self.matrices[-1] @ M if len(self.matrices) > 1 else M

    @property
    def beats_table(self) -> bool:
        """Whether it lies below the best value known before, which is printed to eight decimals."""
        return self.loss < self.tabulated - 1e-8

    @property
    def below_closed_forms(self) -> bool:
        """Whether it lies below every closed form, by more than 1e-6 of it."""
        return self.loss < self.closed * (1 - 1e-6)


@cache
def entries(loss: Loss) -> Mapping[tuple[int, int, float], AtlasEntry]:
    """All entries of "ce" or "mse" by (K, L, decay). Raises ValueError for another loss."""
    if loss not in get_args(Loss):
        raise ValueError(f'loss must be "ce" or "mse", got {loss!r}')
    with (FOLDER / f"{loss}.csv").open() as file:
        rows = list(csv.DictReader(file))
    arrays: dict[str, np.ndarray] = {}
    for name in sorted({matrices_file(loss, int(row["num_classes"]), int(row["depth"])) for row in rows}):
        with np.load(FOLDER / name) as archive:
            arrays |= dict(archive)
    found = [_entry(loss, row, arrays) for row in rows]
    return {(entry.num_classes, entry.depth, entry.decay): entry for entry in found}


def matrices_file(loss: str, num_classes: int, depth: int) -> str:
    """Name of the file of a cell's matrices: one per depth, K <= 12 and larger K apart, so that all are small."""
    return f"{loss}_L{depth}{'' if num_classes <= 12 else '_large'}.npz"


def cell_key(num_classes: int, depth: int, decay: float, index: int) -> str:
    """Name of the `index`-th matrix of a cell in the file of its depth."""
    return f"K{num_classes}_L{depth}_{decay:g}_{index}"


def _entry(loss: Loss, row: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> AtlasEntry:
    K, L, lam = int(row["num_classes"]), int(row["depth"]), float(row["decay"])
    count = 1 if loss == "ce" else L + 1
    confirmed = row["confirmed"] == "True"
    agreement = "both methods agree to 1e-6" if confirmed else "found by this method only"
    return AtlasEntry(
        objective=loss,
        num_classes=K,
        depth=L,
        decay=lam,
        loss=float(row["loss"]),
        rank=int(row["rank"]),
        ranks=tuple(map(int, row["ranks"].split())),
        geometry=row["geometry"],
        gradient=float(row["gradient"]),
        method=row["method"],
        reduced=float(row["reduced"]),
        training=float(row["training"]),
        confirmed=confirmed,
        dnc=float(row["dnc"]),
        closed=float(row["closed"]),
        closed_form=row["closed_form"],
        tabulated=float(row["tabulated"]),
        seconds=float(row["seconds"]),
        source=f"atlas, {row['method']} from {row['start']}: {agreement}",
        matrices=tuple(torch.from_numpy(arrays[cell_key(K, L, lam, i)]) for i in range(count)),
    )
