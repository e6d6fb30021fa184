"""Figure of what training reached, as a multiple of the loss of deep neural collapse: Figure 3 of arXiv 2405.14468."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.load import load_references
from ncbench.records.naming import plain
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_together
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.layout import taken_together
from ncbench.report.selectors import require_finite
from ncbench.report.settings import loss_over_dnc

HIGHEST = 1.3  # of the axis: runs that lost directions end at several times the DNC loss and would flatten the rest
DASHES = ("-", "--", ":", "-.")  # of several curves of one depth
NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution


@styled
def loss_ratio(dir: Dir) -> Plot:
    """Loss over DNC loss against the vertices r of the graph, K = r(r-1)/2 classes: closed form and training.

    Lines: the ratio of the closed forms, recorded as a theory line with `measure: curve`, one per depth, or several of
    other decays. Dots: the best replica at each number of classes; bars: the median and the quartiles. Where settings
    differ in more than the two, a line below says over what they are taken. Raises NoRecordsError where no such curve
    is recorded.
    """
    references = load_references(dir)
    curves = references[(references["measure"] == "curve") & references["values"].notna()]
    if curves.empty:
        raise NoRecordsError("no curve of closed forms recorded")
    arguments = {str(run): given for run, given in zip(curves["run"], curves["arguments"], strict=True)}
    lines = _curves(curves)
    settings, points = find_settings(dir), loss_over_dnc(dir)
    if points.empty:
        raise NoRecordsError("no run with a DNC line")
    require_finite(points["value"], "the loss over the DNC loss")
    points = points[np.isfinite(points["value"])]
    for column, argument in (("depth", "depth"), ("classes", "num_classes")):
        points[column] = points["run"].map({run: given[argument] for run, given in arguments.items()})
    tints = dict(zip(sorted(lines), style.colours(len(lines)), strict=True))
    figure, axes = panels(1, 1, 5.6, 3.8)
    ax = axes[0, 0]
    for place, depth in enumerate(sorted(lines)):
        for (of_curve, curve), dashes in zip(lines[depth], itertools.cycle(DASHES)):
            label = f"SRG / DNC, L = {depth} (closed form{of_curve})"
            ax.plot(curve["r"], curve["ratio"], color=tints[depth], ls=dashes, label=label)
        of_depth = points[points["depth"] == depth]
        for classes, part in of_depth.groupby("classes"):
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
    lowest = min(min(curve["ratio"]) for of_depth in lines.values() for _, curve in of_depth)
    ax.set_ylim(bottom=min(0.5, lowest) - 0.05)
    legend = figure.legend(loc="outside lower center", ncols=2)
    note_together(figure, taken_together(settings, points.groupby(["depth", "classes"])["setting"].unique()), legend)
    return figure


def _curves(references: pd.DataFrame) -> dict[int, list[tuple[str, Any]]]:
    """By depth its curves, and what tells them apart, ", weight_decays=0.002", where there are several."""
    found: dict[int, dict[str, tuple[dict[str, Any], Any]]] = {}
    for given, values in zip(references["arguments"], references["values"], strict=True):
        others = {name: value for name, value in given.items() if name not in ("depth", "num_classes")}
        found.setdefault(int(given["depth"]), {}).setdefault(str(values), (others, values))
    curves = {}
    for depth, of_depth in found.items():
        arguments = [of_one for of_one, _ in of_depth.values()]
        names = [
            name
            for name in dict.fromkeys(itertools.chain(*arguments))
            if len({str(of_one.get(name)) for of_one in arguments}) > 1
        ]
        told = ["".join(f", {name}={plain(of_one.get(name))}" for name in names) for of_one in arguments]
        curves[depth] = list(zip(told, (values for _, values in of_depth.values()), strict=True))
    return curves


def vertices(classes: int) -> float:
    """r with r(r-1)/2 = K.

    >>> vertices(10), vertices(15)
    (5.0, 6.0)
    """
    return (1 + math.sqrt(1 + 8 * classes)) / 2
