"""Figure of a sweep: final loss, rank and collapse against what was varied."""

from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from ncbench.records.layers import natural_key, rows_of_split
from ncbench.records.load import load_final
from ncbench.records.naming import descriptions, plain, sort_key
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_unnamed
from ncbench.report.figures.labels import line_label, literal, loss_formulas
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import final_loss, intermediate_rank, last_dnc1, require_finite
from ncbench.report.settings import load_setting_references, quartiles

REFERENCE_MARKERS = ["_", "x", "+", "1"]
MOST_GROUPS = 12


@styled
def summary(dir: Dir, split: str = "train") -> Plot:
    """Final loss, rank of intermediate layers and DNC1 of the last hidden layer against what was swept.

    The x axis is the first swept value. Median and interquartile range over the networks of a setting; one line for
    each combination of the other swept values. The theory lines' values are drawn as markers in the colour of the line
    they belong to. Rank: class means before the activation of head.1 ... head.L-1, averaged over
    layers and then taken over replicas.
    """
    settings = find_settings(dir)
    frame = load_final(dir)
    frame = with_setting(frame[frame["split"].isin(rows_of_split(split))], settings)
    present = sorted(frame["setting"].unique())
    if len(present) < 2:
        raise NoRecordsError("fewer than two runs to compare")
    positions, name, names = _positions([settings[code] for code in present])
    place = dict(zip(present, positions, strict=True))
    further = {code: {k: v for k, v in settings[code].values.items() if k != name} for code in present}
    others = dict(zip(further, descriptions(list(further.values())), strict=True))
    # By value, numbers as numbers: "0.0005" comes before "0.001".
    order = {others[code]: list(map(sort_key, further[code].values())) for code in present}
    groups = sorted(order, key=lambda group: order[group])
    tints = dict(zip(groups, style.colours(len(groups)), strict=True))
    figure, axes = panels(1, 3, 3.4, 3.4)
    shown: tuple[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]], ...] = (
        ("final loss", final_loss),
        ("mean rank, intermediate layers", intermediate_rank),
        ("final DNC1, last hidden layer", last_dnc1),
    )
    require_finite(pd.concat([pick(frame)["value"] for _, pick in shown]), "the final loss, rank and DNC1")
    for ax, (label, pick) in zip(axes[0], shown, strict=True):
        values = quartiles(pick(frame), ["setting"])
        for number, group in enumerate(groups):
            members = values[[others[code] == group for code in values["setting"]]]
            _line(ax, members, place, tints[group], style.MARKERS[number % len(style.MARKERS)])
        ax.set_ylabel(label)
        _x_axis(ax, positions, name, names)
    lines = load_setting_references(dir, settings)
    kinds = _theory(axes[0, 0], lines, place, {code: tints[others[code]] for code in present})
    for ax in (axes[0, 0], axes[0, 2]):
        style.log_if_positive(ax)
    axes[0, 1].set_ylim(bottom=0)
    _legend(figure, tints)
    formulas = loss_formulas(dir)
    labels = [
        line_label(kind, [values[kind] for values in lines if kind in values], formulas.get(kind, ""), 150)
        for kind in kinds
    ]
    handles = [
        Line2D([], [], ls="", marker=marker, ms=9, mew=1.6, color="black", label=label)
        for label, marker in zip(labels, cycle(REFERENCE_MARKERS))
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower left")
    return figure


def _theory(ax: Axes, lines: list[dict[str, float]], place: dict[int, float], tints: dict[int, Any]) -> list[str]:
    """Draws the theory lines' values as markers; returns the names of the lines."""
    kinds = list(dict.fromkeys(kind for code in place for kind in lines[code]))
    for kind, marker in zip(kinds, cycle(REFERENCE_MARKERS)):
        look: dict[str, Any] = {"ls": "", "marker": marker, "ms": 11, "mew": 1.6, "label": f"reference {kind}"}
        for code, x in place.items():
            if kind in lines[code]:
                ax.plot(x, lines[code][kind], color=tints[code], **look)
    return kinds


def _positions(settings: list[Setting]) -> tuple[list[float], str, list[str] | None]:
    """Where each setting stands on the x axis, the axis' name, and the places' names if they are no numbers."""
    if not settings[0].values:
        return [float(i) for i in range(len(settings))], "run", [setting.label for setting in settings]
    name = next(iter(settings[0].values))
    values = [setting.values.get(name) for setting in settings]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values if value is not None], name, None
    names = sorted({plain(value) for value in values}, key=natural_key)
    return [float(names.index(plain(value))) for value in values], name, names


def _line(ax: Axes, table: pd.DataFrame, place: dict[int, float], tint: Any, marker: str) -> None:
    if table.empty:
        return
    table = table.assign(x=[place[code] for code in table["setting"]]).sort_values("x")
    median = table["median"].to_numpy(dtype=float)
    low, high = (np.abs(table[name].to_numpy(dtype=float) - median) for name in ("q25", "q75"))
    ax.errorbar(table["x"], median, yerr=[low, high], color=tint, marker=marker, ms=4.5, lw=1.3, capsize=2)


def _x_axis(ax: Axes, positions: list[float], name: str, names: list[str] | None) -> None:
    ax.set_xlabel(literal(name))
    if names is not None:
        ax.set_xticks(range(len(names)), [literal(value) for value in names], rotation=40, ha="right")
    elif _powers_of_two(positions):
        ax.set_xscale("log", base=2)
        values = sorted(set(positions))
        shown = values[:: -(-len(values) // 6)]
        ax.set_xticks(shown, [f"{x:g}" for x in shown])
        ax.xaxis.set_minor_locator(NullLocator())
    elif min(positions) > 0 and max(positions) >= 10 * min(positions):
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
        values = sorted(set(positions))
        if len(values) <= 6 and min(b / a for a, b in pairwise(values)) ** 8 > values[-1] / values[0]:  # room for each
            ax.set_xticks(values, [f"{x:g}" for x in values])
    elif len(set(positions)) <= 6:
        ax.set_xticks(sorted(set(positions)), [f"{x:g}" for x in sorted(set(positions))])


def _powers_of_two(positions: list[float]) -> bool:
    """Three values or more, each a power of two times the smallest: the log2 axes of arXiv 2405.14468, Figure 3."""
    values = np.array(sorted(set(positions)))
    if len(values) < 3 or values[0] <= 0:
        return False
    exponents = np.log2(values / values[0])
    return bool(np.allclose(exponents, np.round(exponents), atol=1e-9))


def _legend(figure: Plot, tints: dict[str, Any]) -> None:
    handles = [
        Line2D([], [], color=tint, marker=marker, ms=4.5, label=literal(group or "median"))
        for (group, tint), marker in zip(list(tints.items())[:MOST_GROUPS], cycle(style.MARKERS))
    ]
    handles += note_unnamed(figure, MOST_GROUPS, len(tints))
    figure.legend(handles=handles, loc="outside right upper")
