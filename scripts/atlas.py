"""The atlas of the deep unconstrained features model: search every cell (K, L, decay), tabulate and draw.

    python scripts/atlas.py [--loss ce|mse] [--cells TEXT ...] [--minutes M] [--passes P] [--out DIR] [--quick]
    python scripts/atlas.py --table [--out DIR]
    python scripts/atlas.py --draw

Every cell is searched by two methods (scripts/atlas_methods.py): "reduced", from structures and neighbouring cells, and
"training", from random initial values. Each cell has one file in DIR (outputs/atlas): started again, the command goes
on with the cells that have none. A later pass tries new neighbours, other seeds and more starts. One thread, fixed
seeds.

--cells   only cells whose names contain one of the texts: "K6_L2" or "mse_K10_L4_0.0005"
--minutes start no cell after so many minutes
--table   write ncbench/theory/atlas_table (csv and npz) from DIR
--draw    write docs/results/atlas (maps, csv, README.md) from ncbench/theory/atlas_table

Exit status: 2 for wrong input.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from atlas_files import CE_DECAYS, cells, read_cell, write_cell
from atlas_map import draw
from atlas_methods import FIRST, QUICK, Effort, reduced, training
from atlas_search import Cell, Factors
from atlas_starts import Named, deeper, shallower, side_by_side, without_a_class
from atlas_tables import tabulate

from ncbench.theory import dufm_mse
from ncbench.theory.atlas_table.entries import FOLDER

SEEDS = 10**6  # between those of two passes
ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Search, tabulate or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=("ce", "mse"))
    parser.add_argument("--cells", nargs="+", default=[""], metavar="TEXT")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "atlas", metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="few starts and steps")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if options.table:
            tabulate(options.out, FOLDER)
        if options.draw:
            draw(ROOT / "docs" / "results" / "atlas")
        if not options.table and not options.draw:
            search(options)
    except (ValueError, OSError) as error:
        print(f"atlas: {error}", file=sys.stderr)
        return 2
    return 0


def search(options: Any) -> None:
    """All chosen cells that are not done, pass by pass."""
    chosen = [
        cell
        for cell in cells()
        if (options.loss is None or cell.loss == options.loss) and any(text in cell.name for text in options.cells)
    ]
    if not chosen:
        raise ValueError(f"--cells must be parts of names such as {next(cells()).name}, got {' '.join(options.cells)}")
    start = time.perf_counter()
    for turn in range(1, options.passes + 1):
        for cell in chosen:
            if time.perf_counter() - start > 60 * options.minutes:
                return
            done = read_cell(options.out, cell)
            effort = QUICK if options.quick else FIRST if turn == 1 else Effort()
            if done is None or done["passes"] < turn:
                report = work(cell, done, options.out, effort, turn)
                print(f"{turn} {cell.name}: {report}", flush=True)


def work(cell: Cell, done: dict[str, Any] | None, out: Path, effort: Effort, turn: int) -> str:
    """Search a cell and write its file; what a method found is never replaced by something worse."""
    start = time.perf_counter()
    found: dict[str, Any] = dict(done["methods"]) if done else {}
    # A method goes on from what it found itself in an earlier pass.
    own = {method: [(end["start"], end["matrices"])] for method, end in found.items()}
    starts = [*own.get("reduced", []), *neighbours(cell, out)]
    ends = {
        "training": training(cell, own.get("training", []), effort, SEEDS * (turn - 1)),
        "reduced": reduced(cell, starts, effort, SEEDS * (turn - 1)),
    }
    for method, end in ends.items():
        if method not in found or end.loss < found[method]["loss"]:
            found[method] = end._asdict()
        found[method]["named"] = end.named
    seconds = time.perf_counter() - start + (done["seconds"] if done else 0)
    write_cell(out, cell, {"passes": turn, "seconds": round(seconds, 1), "methods": found})
    losses = {method: end["loss"] for method, end in found.items()}
    return f"reduced {losses['reduced']:.10f} training {losses['training']:.10f} {time.perf_counter() - start:.1f} s"


def neighbours(cell: Cell, out: Path) -> Iterator[Named]:
    """Starts made of what "reduced" found in other cells, by other decays, depths and numbers of classes."""
    K, L, lam = cell.num_classes, cell.depth, cell.decay

    def known(K: int, L: int, lam: float = lam) -> Factors | None:
        other = read_cell(out, Cell(cell.loss, K, L, lam))
        return None if other is None else other["methods"]["reduced"]["matrices"]

    if cell.loss == "ce":
        others = [(K, L, decay) for decay in CE_DECAYS if decay != lam] + [(K, depth, lam) for depth in (L - 1, L + 1)]
        for other in others:
            if (logits := known(*other)) is not None:
                yield f"K={other[0]}, L={other[1]}, {other[2]:g}", logits
        return
    if (factors := known(K, L - 1)) is not None:
        yield from ((f"L={L - 1}", deep) for deep in deeper(factors))
    if (factors := known(K, L + 1)) is not None:
        yield from ((f"L={L + 1}", shallow) for shallow in shallower(factors))
    if (factors := known(K + 1, L)) is not None:
        yield from ((f"K={K + 1}", fewer) for fewer in without_a_class(factors))
    dnc = dufm_mse.dnc_solution(2, L, 1, lam, lam)
    single = [dnc[0][:1, :1], *(W[:1, :1] for W in dnc[1])]
    for part in range(1, K // 2 + 1):
        first, second = single if part == 1 else known(part, L), known(K - part, L)
        if first is not None and second is not None:
            yield f"K={K - part} and {part}", side_by_side(second, first)


if __name__ == "__main__":
    sys.exit(main())
