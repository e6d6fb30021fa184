"""Figure of what theory predicts for other measures than the loss, beside what was recorded."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final, load_references
from ncbench.records.naming import descriptions, known_values, sort_key, varying_names
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, load_networks, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_unnamed
from ncbench.report.figures.labels import formulas_of, line_label, literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.measures import known_measures
from ncbench.report.selectors import require_finite

ELSEWHERE = ("loss", "spectra", "curve", "noise")  # measures whose lines have a figure of their own
PREFERRED = ("delta", "noise", "weight_decay")
NAMES = ["line", "measure", "formula"]
MOST_GROUPS = 12
LOWEST = 1e-8  # of a logarithmic axis: below is what an optimiser leaves of a zero


@styled
def predicted(dir: Dir) -> Plot:
    """Final values of the measures that theory lines are about, against the first swept number, on logarithmic axes.

    Dots: the mean over the layers that the line is about (the whole network where it names none), median and range
    over replicas; line: theory. The axis is delta, noise or weight decay where one of them varies. Replicas that differ
    in further values have a colour of their own; where the line does not exist the dots are joined by a dotted one. A
    panel for each measure, at most six. A zero stands at the left; on a logarithmic axis values below 1e-8 stand there.
    """
    references = load_references(dir)
    stated = references[~references["measure"].isin(ELSEWHERE) & references["value"].notna()]
    references = references[references["name"].isin(stated["name"]) & references["measure"].isin(stated["measure"])]
    if references.empty:
        raise NoRecordsError("no theory line of another measure than the loss")
    replicas = load_networks(dir)
    name, others = _axis(replicas)
    table = _compared(dir, references)
    table = table.merge(replicas.astype({"run": str}).drop(columns="seed"), on=["run", "replica"])
    table = table[pd.to_numeric(table[name], errors="coerce").notna()]
    if table.empty:
        raise NoRecordsError("what the theory lines are about is not recorded")
    require_finite(table["value"], ", ".join(dict.fromkeys(table["measure"])))
    table = table[np.isfinite(table["value"])]
    varying = [other for other in others if table[other].nunique(dropna=False) > 1]
    values = known_values(table, varying)
    table = table.assign(x=table[name].astype(float), group=descriptions(values))
    keys = (list(map(sort_key, of_replica.values())) for of_replica in values)
    order = dict(zip(table["group"], keys, strict=True))
    groups = sorted(order, key=lambda group: order[group])
    measures = list(dict.fromkeys(table["measure"]))
    shown = measures[: style.MAX_PANELS]
    columns = 2 if len(shown) == 4 else min(len(shown), 3)
    figure, axes = panels(-(-len(shown) // columns), columns, 5.0 if columns == 1 else 3.5, 3.3)
    looks, known = _looks(table, groups), known_measures(dir, shown)
    for ax, measure in itertools.zip_longest(axes.flat, shown):
        if measure is None:
            ax.set_axis_off()
            continue
        part = table[table["measure"] == measure]
        for (line, group), rows in part.groupby(["line", "group"], sort=False):
            _series(ax, rows, looks[str(line), str(group)])
        _scales(ax, part, name)
        ax.set_ylabel(known[measure].axis_label)
    _legend(figure, table[table["measure"].isin(shown)], groups, looks, int(40 + 30 * columns))
    if len(measures) > len(shown):
        more = f"{len(measures) - len(shown)} more measures not drawn: they stand in table.csv"
        figure.suptitle(f"{figure.get_suptitle()}; {more}", fontsize=8)
    return figure


def _axis(replicas: pd.DataFrame) -> tuple[str, list[str]]:
    """The number that stands on the axis, and what else varies."""
    varying = varying_names(replicas)
    numbers = [name for name in varying if pd.api.types.is_numeric_dtype(replicas[name])]
    chosen = [name for name in PREFERRED if name in numbers] or [n for n in numbers if replicas[n].dtype != bool]
    if not chosen:
        raise NoRecordsError("no number varies to draw the theory lines against")
    name = chosen[0]
    # The noise says where a replica stands; the ratio that it was made from says it again.
    return name, [other for other in varying if other != name and (name, other) != ("noise", "noise_ratio")]


def _compared(dir: Dir, references: pd.DataFrame) -> pd.DataFrame:
    """One row per theory line and replica: run, replica, line, measure, formula, theory, value (what was recorded)."""
    frame = with_setting(load_final(dir), find_settings(dir))
    frame = frame[frame["split"].isin(rows_of_split()) & frame["measure"].isin(references["measure"])]
    frame = frame.astype({"run": str, "layer": str, "stage": str, "measure": str})
    rows = []
    for line in references.to_dict("records"):
        recorded = frame[(frame["run"] == str(line["run"])) & (frame["measure"] == line["measure"])]
        in_layers = recorded["layer"].isin(line["layers"] or [""])
        recorded = recorded[in_layers]
        if line["layers"] and line["stage"]:
            recorded = recorded[recorded["stage"] == line["stage"]]
        if line["replicas"] is not None:
            recorded = recorded[recorded["replica"].isin(line["replicas"])]
        for replica, value in recorded.groupby("replica")["value"].mean().items():
            compared = (line["name"], line["measure"], line["formula"] or "", line["value"], value)
            rows.append((str(line["run"]), int(str(replica)), *compared))
    return pd.DataFrame(rows, columns=["run", "replica", *NAMES, "theory", "value"])


def _looks(table: pd.DataFrame, groups: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Dashes and marker by line; the colour by group, or by line where there is one group."""
    lines = list(dict.fromkeys(table["line"]))
    tints = style.colours(len(groups))
    looks = {}
    for place, line in enumerate(lines):
        of_line, dashes = style.REFERENCE_STYLES[place % len(style.REFERENCE_STYLES)]
        marker = style.MARKERS[place % len(style.MARKERS)]
        for group, tint in zip(groups, tints, strict=True):
            colour = of_line if len(groups) == 1 else tint
            looks[str(line), group] = {"color": colour, "ls": dashes if len(lines) > 1 else "-", "marker": marker}
    return looks


def _series(ax: Axes, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    theory = rows.dropna(subset="theory").groupby("x")["theory"].median()
    ax.plot(theory.index, theory, color=look["color"], ls=look["ls"], lw=1.4)
    raised = rows.assign(value=rows["value"].where(~(rows["value"] > 0), rows["value"].clip(LOWEST)))
    recorded = raised.groupby("x")["value"].agg(["median", "min", "max"])
    median, low, high = (recorded[column].to_numpy(dtype=float) for column in ("median", "min", "max"))
    dots = {"color": look["color"], "marker": look["marker"], "ls": "", "ms": 5, "mec": "black", "mew": 0.5}
    if theory.empty:
        ax.plot(recorded.index, median, color=look["color"], ls=":", lw=1.0)  # no theory: only to guide the eye
    ax.errorbar(recorded.index, median, yerr=[median - low, high - median], capsize=2, lw=1, **dots)


def _scales(ax: Axes, part: pd.DataFrame, name: str) -> None:
    x, y = part["x"], part[["value", "theory"]].to_numpy(dtype=float).ravel()
    y = y[np.isfinite(y)]
    positive = x[x > 0]
    if len(positive) == len(x):
        ax.set_xscale("log")
    elif len(positive):
        ax.set_xscale("symlog", linthresh=positive.min(), linscale=0.6)
        ax.set_xlim(left=-0.1 * positive.min())
    if (y > 0).all():
        ax.set_yscale("log")
        low, high = (max(float(end), LOWEST) for end in (y.min(), y.max()))
        style.log_axis(ax.yaxis, low, high)
        if high < 5 * low:  # the digits 1 to 9 alone would leave half of such an axis empty
            ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(literal(name))


def _legend(
    figure: Plot, table: pd.DataFrame, groups: list[str], looks: dict[tuple[str, str], dict[str, Any]], letters: int
) -> None:
    formulas = formulas_of(table.rename(columns={"line": "name"}))
    handles = []
    for line, rows in table.groupby("line", sort=False):
        look = dict(looks[str(line), groups[0]])
        look["color"] = look["color"] if len(groups) == 1 else "black"
        label = line_label(str(line), list(rows["theory"].dropna()), formulas[str(line)], letters)
        handles.append(Line2D([], [], ms=5, mec="black", mew=0.5, label=label, **look))
    for group in groups[:MOST_GROUPS] if len(groups) > 1 else []:
        tint = looks[str(table["line"].iloc[0]), group]["color"]
        handles.append(Line2D([], [], color=tint, lw=4, label=literal(group)))
    handles += note_unnamed(figure, MOST_GROUPS, len(groups))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * max(0, len(handles) - 5))  # the legend takes a row for each
    figure.legend(handles=handles, loc="outside lower center", handlelength=2.8)
    figure.suptitle("lines: theory; markers: recorded, median and range over replicas", fontsize=8)
