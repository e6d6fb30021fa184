"""Figure of the Gram matrices of the class means: the identity for neural collapse, a graph for low rank."""

import numpy as np
import pandas as pd

from ncbench.report import style
from ncbench.report.cells import find_cells, with_cell
from ncbench.report.load import load_final, load_grams
from ncbench.report.runs import Dir
from ncbench.report.style import NoRecordsError, Plot, Values, panels, styled

MOST_CELLS = 3


@styled
def gram(dir: Dir) -> Plot:
    """Cosines of the class means (not centred) per layer and stage at the end, of the best replica.

    The best replica is the one with the lowest final loss; its number stands beside its matrices. All
    matrices share one colour scale: 0 to 1, or -1 to 1 where a cosine is negative. A class mean that is
    zero has no cosines (grey). At most three cells are drawn.
    """
    cells = find_cells(dir)
    frame = with_cell(load_grams(dir, steps="last"), cells)
    if frame.empty:
        raise NoRecordsError("no Gram matrices recorded yet")
    best = best_replicas(dir)
    shown = sorted(frame["cell"].unique())[:MOST_CELLS]
    rows = []
    for cell in shown:
        here = frame[frame["cell"] == cell]
        replica = best.get(cell, here["replica"].min())
        here = here[here["replica"] == replica]
        for stage in ("pre", "post"):
            part = here[here["stage"] == stage]
            if len(part):
                which = f"replica {replica}, step {part['step'].iloc[0]}\n{stage}-activation"
                matrices = dict(zip(part["layer"], map(cosines, part["gram"])))
                rows.append((f"{style.wrapped(cells[cell].label, 20)}\n{which}", matrices))
    if not rows:
        raise NoRecordsError("no Gram matrices recorded for the best replica")
    layers = [name for name in frame["layer"].cat.categories if any(name in matrices for _, matrices in rows)]
    figure = _draw(rows, layers)
    style.note_missing(figure, frame["cell"].nunique() - len(shown))
    return figure


def _draw(rows: list[tuple[str, dict[str, Values]]], layers: list[str]) -> Plot:
    lowest = min(np.nanmin(matrix, initial=0.0) for _, matrices in rows for matrix in matrices.values())
    low, colours = (-1, "RdBu_r") if lowest < -1e-3 else (0, "viridis")
    figure, axes = panels(len(rows), len(layers), 1.75, 1.75)
    for row, (label, matrices) in zip(axes, rows):
        for ax, layer in zip(row, layers):
            present = layer in matrices
            ax.set(xticks=[], yticks=[], facecolor="#B0B0B0" if present else "none")
            ax.grid(visible=False)
            ax.spines[:].set_visible(present)
            if present:
                image = ax.imshow(matrices[layer], interpolation="nearest", cmap=colours, vmin=low, vmax=1)
                ax.set_title(style.literal(layer))
        row[0].set_ylabel(label, fontsize=8)
    figure.colorbar(image, ax=axes, label="cosine of class means", shrink=min(0.8, 3 / len(rows)), aspect=20)
    return figure


def cosines(gram: Values) -> Values:
    """Cosines G_ij / sqrt(G_ii G_jj) of a K x K Gram matrix; NaN in the row and column of a zero vector.

    >>> cosines(np.array([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    length = np.sqrt(np.clip(np.diag(gram).astype(float), 0.0, None))
    length[length == 0] = np.nan
    cosine: Values = np.clip(gram / np.outer(length, length), -1.0, 1.0)
    return cosine


def best_replicas(dir: Dir) -> dict[int, int]:
    """For each cell that has recorded a loss, the replica with the lowest final one."""
    cells = find_cells(dir)
    frame = load_final(dir)
    frame = with_cell(frame[(frame["measure"] == "loss") & (frame["split"] != "test")], cells)
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    places: pd.Series[int] = frame.groupby("cell")["value"].idxmin()
    return {int(str(cell)): int(frame["replica"].loc[place]) for cell, place in places.items()}
