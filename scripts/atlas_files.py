"""The cells of the atlas, and the file that the search keeps of each."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from atlas_search import Cell

CE_DECAYS = (1e-2, 1e-3, 1e-4, 3e-2, 3e-3)
MSE_DECAY = 5e-4
# Those of small K, of the references and of triangular numbers first.
MSE_CLASSES = (*range(3, 11), 2, 15, *range(11, 15), 21, *range(16, 21))


def cells() -> Iterator[Cell]:
    """All cells, in the order in which they are searched."""
    for lam in CE_DECAYS:
        yield from (Cell("ce", K, L, lam) for K in range(2, 13) for L in range(1, 7))
    yield from (Cell("mse", K, L, MSE_DECAY) for K in MSE_CLASSES for L in range(2, 8))


def read_cell(out: Path, cell: Cell) -> dict[str, Any] | None:
    """What a cell's file holds, None where there is none."""
    path = out / f"{cell.name}.npz"
    if not path.exists():
        return None
    with np.load(path) as archive:
        content: dict[str, Any] = json.loads(str(archive["about"]))
        for name, method in content["methods"].items():
            method["matrices"] = [torch.from_numpy(archive[f"{name}_{i}"]) for i in range(method["matrices"])]
            method["named"] = [
                (n, torch.from_numpy(archive[f"{name}_named_{i}"])) for i, n in enumerate(method["named"])
            ]
    return content


def write_cell(out: Path, cell: Cell, content: dict[str, Any]) -> None:
    """Write a cell's file at once: a kill leaves the old one or none."""
    arrays: dict[str, Any] = {}
    methods = {}
    for name, method in content["methods"].items():
        arrays |= {f"{name}_{i}": F.numpy() for i, F in enumerate(method["matrices"])}
        arrays |= {f"{name}_named_{i}": M.numpy() for i, (_, M) in enumerate(method["named"])}
        methods[name] = {**method, "matrices": len(method["matrices"]), "named": [n for n, _ in method["named"]]}
    arrays["about"] = np.array(json.dumps({**content, "methods": methods}))
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / f"{cell.name}.part.npz"
    np.savez(unfinished, **arrays)
    os.replace(unfinished, out / f"{cell.name}.npz")
