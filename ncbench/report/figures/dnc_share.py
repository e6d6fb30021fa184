"""Figure of how often training finds a DNC solution: Figure 3 right of arXiv 2405.14468, Figure 2 of 2410.23169."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ncbench.records.runs import Dir
from ncbench.report.figures import style
from ncbench.report.figures.axis import number_axis
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import Curve, NoRecordsError, curves_over
from ncbench.report.settings import describe, find_settings, loss_over_dnc
from ncbench.report.statistics import wilson

NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution
FOUND, BELOW = (1 - NEAR, 1 + NEAR), (-math.inf, 1 - NEAR)


@styled
def dnc_share(dir: Dir, x: str | None = None) -> Plot:
    """Share of replicas that found a DNC solution over a swept or replicated number, with Wilson bands of 95 %.

    A replica has found one if its final loss is within 1 % of the DNC loss of its own configuration; one without a
    finite loss has not. Where further quantities vary (an initialisation, a depth), each of their values together has a
    curve of its own; where none does, the share of those that end below DNC (by more than 1 %) is drawn too.

    Args:
        dir: runs of a sweep, or one run with replicated values.
        x: the number on the axis; by default the one with the most values.

    Raises NoRecordsError without two settings with a DNC line, and for more than six curves; ValueError for an `x`
    that is no number that varies.
    """
    settings = find_settings(dir)
    frame = loss_over_dnc(dir)
    if frame.empty:
        raise NoRecordsError("no run with a DNC line")
    name, curves = curves_over(settings, sorted(frame["setting"].unique()), "with a DNC line", x)
    figure, axes = panels(1, 1, 4.6, 3.4 + 0.2 * max(0, len(curves) - 2))  # room for the legend
    ax = axes[0, 0]
    if len(curves) == 1:
        _line(ax, frame, curves[0], FOUND, label="DNC (within 1 % of its loss)", color=style.BLUE, marker="o")
        _line(ax, frame, curves[0], BELOW, label="below DNC", color=style.ORANGE, marker="s")
    for curve, colour, marker in zip(curves, style.PALETTE, style.MARKERS, strict=False):
        if len(curves) > 1:
            _line(ax, frame, curve, FOUND, label=literal(describe(curve.values)), color=colour, marker=marker)
    number_axis(ax, [number for curve in curves for number in curve.codes])
    counted = "share of replicas" if len(curves) == 1 else "share of replicas within 1 % of DNC"
    ax.set(xlabel=literal(name), ylabel=counted, ylim=(-0.03, 1.03))
    sizes = [int(frame["setting"].isin(codes).sum()) for curve in curves for codes in curve.codes.values()]
    several = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    ax.set_title(f"{several} replicas each, bands: 95 %")
    labels = [str(line.get_label()) for line in ax.lines]
    figure.legend(loc="outside lower center", ncols=style.legend_columns(figure, labels, 2))
    return figure


def _line(ax: Axes, frame: pd.DataFrame, curve: Curve, within: tuple[float, float], **look: Any) -> None:
    """The share of replicas whose loss over the DNC loss lies within the two bounds, and its interval as a band."""
    rows = []
    for number, codes in curve.codes.items():
        values = frame.loc[frame["setting"].isin(codes), "value"]
        hits = int(values.between(*within).sum())
        rows.append((number, hits / len(values), *wilson(hits, len(values))))
    x, share, low, high = np.array(rows).T
    ax.fill_between(x, low, high, color=look["color"], alpha=0.2, lw=0)
    ax.plot(x, share, ms=4.5, **look)
