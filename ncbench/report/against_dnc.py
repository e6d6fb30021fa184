"""Figures of what was reached, as a multiple of the loss of deep neural collapse: Figure 3 of arXiv 2405.14468."""

import math
from typing import Any

import numpy as np
import pandas as pd

from ncbench.report import style
from ncbench.report.cells import Cell, find_cells, load_cell_references, with_cell
from ncbench.report.intervals import wilson
from ncbench.report.load import load_final, load_references
from ncbench.report.runs import Dir
from ncbench.report.style import NoRecordsError, Plot, panels, styled
from ncbench.report.sweeps import final_loss

HIGHEST = 1.3  # of the axis: runs that lost directions end at several times the DNC loss and would flatten the rest
NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution


@styled
def ratio(dir: Dir) -> Plot:
    """Loss over DNC loss against the vertices r of the graph, K = r(r-1)/2 classes: closed form and training.

    Lines: the ratio of the closed forms, recorded as a theory line with `measure: curve`, one per depth. Dots: the best
    replica of each run; bars: the median and the quartiles. Raises NoRecordsError where no such curve is recorded.
    """
    references = load_references(dir)
    curves = references[(references["measure"] == "curve") & references["values"].notna()]
    if curves.empty:
        raise NoRecordsError("no curve of closed forms recorded")
    arguments = {str(run): given for run, given in zip(curves["run"], curves["arguments"])}
    lines = {int(given["depth"]): values for given, values in zip(curves["arguments"], curves["values"])}
    points = _over_dnc(dir)
    for column, argument in (("depth", "depth"), ("classes", "num_classes")):
        points[column] = points["run"].map({run: given[argument] for run, given in arguments.items()})
    tints = dict(zip(sorted(lines), style.colours(len(lines))))
    figure, axes = panels(1, 1, 5.6, 3.8)
    ax = axes[0, 0]
    for place, (depth, curve) in enumerate(sorted(lines.items())):
        ax.plot(curve["r"], curve["ratio"], color=tints[depth], label=f"SRG / DNC, L = {depth} (closed form)")
        here = points[points["depth"] == depth]
        for classes, part in here.groupby("classes"):
            x = vertices(int(str(classes))) + 0.07 * (place - (len(lines) - 1) / 2)
            low, median, high = part["value"].quantile([0.25, 0.5, 0.75])
            ax.errorbar(x, median, [[median - low], [high - median]], color=tints[depth], capsize=2, marker="_", lw=1)
            ax.plot(
                x,
                part["value"].min(),
                color=tints[depth],
                marker=style.MARKERS[place],
                ls="",
                ms=5,
                mec="black",
                mew=0.5,
            )
    ax.plot([], [], color="black", marker="o", ls="", ms=5, label="best trained replica")
    ax.errorbar([], [], [], color="black", capsize=2, marker="_", lw=1, label="median and quartiles of replicas")
    ax.axhline(1.0, color=style.VERMILLION, ls="--", lw=1)
    ax.set(xlabel="vertices r;  K = r(r-1)/2 classes", ylabel="loss / DNC loss")
    ax.set_ylim(top=min(ax.get_ylim()[1], HIGHEST))
    ax.set_ylim(bottom=min(0.5, *(min(curve["ratio"]) for curve in lines.values())) - 0.05)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def vertices(classes: int) -> float:
    """r with r(r-1)/2 = K.

    >>> vertices(10), vertices(15)
    (5.0, 6.0)
    """
    return (1 + math.sqrt(1 + 8 * classes)) / 2


@styled
def dnc_share(dir: Dir) -> Plot:
    """Share of replicas that found a DNC solution against the first swept number, with Wilson intervals of 95 %.

    A replica has found one if its final loss is within 1 % of the DNC loss of its own configuration; the share of those
    that end below it (by more than 1 %) is drawn too. Raises NoRecordsError without two cells with a DNC line.
    """
    cells = find_cells(dir)
    frame = _over_dnc(dir)
    known = [code for code in sorted(frame["cell"].unique()) if _number(cells[code]) is not None]
    several = {name for code in known for name in cells[code].values}
    if len(several) > 1:
        raise NoRecordsError(f"{', '.join(sorted(several))} vary; the share is drawn against one of them alone")
    if len(known) < 2:
        raise NoRecordsError("fewer than two runs with a DNC line to compare")
    name = next(iter(cells[known[0]].values))
    figure, axes = panels(1, 1, 4.6, 3.4)
    ax = axes[0, 0]
    kinds = (
        ("DNC (within 1 % of its loss)", style.BLUE, "o", (1 - NEAR, 1 + NEAR)),
        ("below DNC", style.ORANGE, "s", (-math.inf, 1 - NEAR)),
    )
    for label, colour, marker, (least, most) in kinds:
        rows = []
        for code in known:
            values = frame.loc[frame["cell"] == code, "value"]
            hits = int(values.between(least, most).sum())
            rows.append((_number(cells[code]), hits / len(values), *wilson(hits, len(values))))
        x, share, low, high = (np.array(column, dtype=float) for column in zip(*sorted(rows)))
        bars = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
        ax.errorbar(x, share, bars, color=colour, marker=marker, ms=4.5, capsize=2, label=label)
    ax.set(xlabel=style.literal(name), ylabel="share of replicas", ylim=(-0.03, 1.03))
    ax.set_title(f"{int(frame.groupby('cell')['value'].size().min())} replicas each, bars: 95 %")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _number(cell: Cell) -> float | None:
    value: Any = next(iter(cell.values.values()), None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _over_dnc(dir: Dir) -> pd.DataFrame:
    """Final loss over DNC loss of every replica: run, replica, cell, value."""
    cells = find_cells(dir)
    dnc = pd.Series(
        {code: lines["dnc"] for code, lines in enumerate(load_cell_references(dir, cells)) if "dnc" in lines}
    )
    frame = load_final(dir)
    frame = final_loss(with_cell(frame[frame["split"] != "test"], cells))
    frame = frame[frame["cell"].isin(dnc.index)]
    if frame.empty:
        raise NoRecordsError("no run with a DNC line")
    table = frame[["run", "replica", "cell"]].assign(value=frame["value"] / frame["cell"].map(dnc))
    return table.astype({"run": str})
