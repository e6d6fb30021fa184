"""Figure of how often training finds a DNC solution: Figure 3 right of arXiv 2405.14468, Figure 2 of 2410.23169."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ncbench.records.naming import describe
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, shared_legend
from ncbench.report.figures.axis import number_axis
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, styled
from ncbench.report.layout import Curve, panels_over
from ncbench.report.settings import loss_over_dnc
from ncbench.report.statistics import wilson

NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution
FOUND, BELOW = (1 - NEAR, 1 + NEAR), (-math.inf, 1 - NEAR)


@styled
def dnc_share(dir: Dir, x: str | None = None) -> Plot:
    """Share of replicas that found a DNC solution over a swept or replicated number, with Wilson bands of 95 %.

    A replica has found one if its final loss is within 1 % of the DNC loss of its own configuration; one without a
    finite loss has not. Where further quantities vary (an initialisation, a depth), each of their values together has a
    curve of its own, and more than six curves are divided among panels; where none does, the share of those that end
    below DNC (by more than 1 %) is drawn too.

    Args:
        dir: runs of a sweep, or one run with replicated values.
        x: the number on the axis; by default the one with the most values.

    Raises NoRecordsError without two settings with a DNC line, ValueError for an `x` that is no number that varies.
    """
    settings = find_settings(dir)
    frame = loss_over_dnc(dir)
    if frame.empty:
        raise NoRecordsError("no run with a DNC line")
    layout = panels_over(settings, sorted(frame["setting"].unique()), "with a DNC line", x)
    curves = layout.curves
    figure, axes = style.small_panels(len(layout.panels), 4.6, 3.4 + 0.2 * max(0, len(curves) - 2))
    counted = "share of replicas" if len(curves) == 1 else "share of replicas within 1 % of DNC"
    sizes = [int((frame["setting"] == code).sum()) for curve in curves for code in curve.codes.values()]
    several = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    said = f"{several} replicas each, bands: 95 %"
    for ax, panel in zip(axes, layout.panels, strict=True):
        if len(curves) == 1:
            _line(ax, frame, curves[0], FOUND, label="DNC (within 1 % of its loss)", color=style.BLUE, marker="o")
            _line(ax, frame, curves[0], BELOW, label="below DNC", color=style.ORANGE, marker="s")
        else:
            for curve in panel.curves:
                look = {"color": style.PALETTE[curve.place], "marker": style.MARKERS[curve.place]}
                _line(ax, frame, curve, FOUND, label=literal(describe(curve.values)), **look)
        number_axis(ax, [number for curve in curves for number in curve.codes])
        ax.set(xlabel=literal(layout.x), ylabel=counted, ylim=(-0.03, 1.03))
        ax.set_title(wrapped(describe(panel.values), 44) if panel.values else said)
    if len(layout.panels) > 1:
        figure.suptitle(said, fontsize=9)
    legend = shared_legend(figure, axes, 2)
    note_missing(figure, [settings[code].values for code in layout.left_out], above=legend)
    return figure


def _line(ax: Axes, frame: pd.DataFrame, curve: Curve, within: tuple[float, float], **look: Any) -> None:
    """The share of replicas whose loss over the DNC loss lies within the two bounds, and its interval as a band."""
    rows = []
    for number, code in curve.codes.items():
        values = frame.loc[frame["setting"] == code, "value"]
        hits = int(values.between(*within).sum())
        rows.append((number, hits / len(values), *wilson(hits, len(values))))
    x, share, low, high = np.array(rows).T
    ax.fill_between(x, low, high, color=look["color"], alpha=0.2, lw=0)
    ax.plot(x, share, ms=4.5, **look)
