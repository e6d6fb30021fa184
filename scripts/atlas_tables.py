"""From the files of the search to the package's table: names, ranks, closed forms and what was known before."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from atlas_files import cells, read_cell
from atlas_methods import RANK
from atlas_names import name_features, name_logits
from atlas_search import Cell, Factors, largest_slope
from atlas_starts import solutions, stacked
from torch import Tensor

from ncbench.core import frames
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.atlas_table.entries import COLUMNS, cell_key, matrices_file

REFERENCES = Path(__file__).resolve().parent.parent / "tests" / "theory" / "dufm_ce_reference.csv"
AGREE = 1e-6  # relative difference of the two methods' losses within which an entry counts as confirmed


def tabulate(out: Path, folder: Path) -> None:
    """Write <loss>.csv and the .npz files of the matrices into `folder` from the files in `out`."""
    with REFERENCES.open() as file:
        known = {
            (int(row["classes"]), int(row["depth"]), float(row["decay"])): float(row["best"])
            for row in csv.DictReader(file)
            if row["per_class"] == "1"
        }
    if not any((out / f"{cell.name}.npz").exists() for cell in cells()):
        raise ValueError(f"--out must hold cells of the search, {out} has none")
    for loss in ("ce", "mse"):
        rows = []
        matrices: dict[str, dict[str, Any]] = {}
        own = (cell for cell in cells() if cell.loss == loss)
        for cell in sorted(own, key=lambda cell: (cell.num_classes, cell.depth, cell.decay)):
            content = read_cell(out, cell)
            if content is None:
                continue
            row, factors = entry(cell, content, known)
            rows.append(row)
            for i, F in enumerate(factors):
                key = cell_key(cell.num_classes, cell.depth, cell.decay, i)
                name = matrices_file(loss, cell.num_classes, cell.depth)
                matrices.setdefault(name, {})[key] = F.contiguous().numpy()
        if not rows:
            continue
        with (folder / f"{loss}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        for name, arrays in matrices.items():
            np.savez_compressed(folder / name, **arrays)
        print(f"{loss}: {len(rows)} cells, {sum(row['confirmed'] for row in rows)} confirmed")


def entry(
    cell: Cell, content: dict[str, Any], known: dict[tuple[int, int, float], float]
) -> tuple[dict[str, Any], Factors]:
    """A row of the table and its matrices."""
    methods = dict(content["methods"])
    # Descent from a closed form's matrices may end a rounding above them, and they are a start of "reduced".
    for name, (H, *Ws) in solutions(cell) if cell.loss == "mse" else ():
        loss = float(dufm_mse.loss(H, Ws, 1, cell.decay, cell.decay))
        if loss < methods["reduced"]["loss"]:
            slope = largest_slope(cell, len(H), stacked([[H, *Ws]], len(H)))
            methods["reduced"] = {"loss": loss, "start": name, "matrices": [H, *Ws], "gradient": slope}
    losses = {name: method["loss"] for name, method in methods.items()}
    # Of two that agree to rounding the structured one, whose start says more.
    method = "training" if losses["training"] < losses["reduced"] * (1 - 1e-9) else "reduced"
    best, factors = methods[method], methods[method]["matrices"]
    ranks = _ranks(cell, factors)
    forms = dict(closed_forms(cell))
    closed_form = min(forms, key=lambda name: forms[name])
    if cell.loss == "ce":
        geometry = name_logits(factors[0], methods["reduced"]["named"])
    else:
        geometry = name_features(factors)
        if geometry.startswith("srg") and best["loss"] < forms[closed_form] * (1 - AGREE):
            geometry = f"near {geometry}"
    return {
        "num_classes": cell.num_classes,
        "depth": cell.depth,
        "decay": cell.decay,
        "loss": best["loss"],
        "rank": min(ranks),
        "ranks": " ".join(map(str, ranks)),
        "geometry": geometry,
        "gradient": f"{best['gradient']:.1e}",
        "method": method,
        "start": best["start"],
        **losses,
        "confirmed": abs(losses["reduced"] - losses["training"]) <= AGREE * best["loss"],
        "dnc": forms["dnc"],
        "closed": forms[closed_form],
        "closed_form": closed_form,
        "tabulated": known.get((cell.num_classes, cell.depth, cell.decay), math.nan) if cell.loss == "ce" else math.nan,
        "passes": content["passes"],
        "seconds": content["seconds"],
    }, factors


def closed_forms(cell: Cell) -> Iterator[tuple[str, float]]:
    """(name, loss) of the closed forms of the cell; "dnc" is the zero solution where that is lower."""
    K, L, lam = cell.num_classes, cell.depth, cell.decay
    if cell.loss == "mse":
        yield "dnc", float(dufm_mse.dnc_loss(K, L, 1, lam, lam))
        for variant, least in ((1, 6), (2, 4)):
            if L >= 3 and least <= K:
                yield f"srg, variant {variant}", float(dufm_mse.srg_loss(K, L, 1, lam, lam, variant))
        return
    yield "dnc", min(float(dufm_ce.dnc_loss(K, L, lam)), math.log(K))
    yield "pairs", dufm_ce.pair_loss(K, L, lam)
    if K >= 3:
        yield "polygon", dufm_ce.polygon_loss(K, L, lam)
    if K == 10:
        yield "triangular graph T_5", dufm_ce.ray_optimum(frames.centred_triangular_gram(5), L, lam)[1]


def _ranks(cell: Cell, factors: Factors) -> list[int]:
    """Of the logits, or of the pre-activations of all layers but the last."""
    if cell.loss == "ce":
        return [_rank(factors[0])]
    ranks, features = [], factors[0]
    for W in factors[1:-1]:
        ranks.append(_rank(W @ features))
        features = (W @ features).relu()
    return ranks


def _rank(A: Tensor) -> int:
    s = torch.linalg.svdvals(A)
    return int((s > RANK * s[0]).sum()) if len(s) and float(s[0]) > 0 else 0
