"""Figure of recorded measures that have no figure of their own, a new one of a run's configuration among them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ncbench.records.layers import WHOLE_NETWORK, rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, note_quartiles
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled, thin
from ncbench.report.measures import MeasureInfo, known_measures, scale_of
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles

DASHES: dict[str, Any] = {"pre": "-", "post": "--", "weight": "-.", "test": ":"}
NAMES = {"pre": "pre-activation", "post": "post-activation", "weight": "weight", "test": "test split"}
FEW = 3  # steps: as few as this are marked by dots, for a line between them says nothing


@styled
def measures(dir: Dir, names: Iterable[str] | None = None) -> Plot:
    """Every named measure per layer against the step, a panel each: medians and quartiles over replicas.

    `names` are measures (default: all that are recorded). Layers are coloured from input (dark) to output (light);
    values of the whole network are black. The label, the unit and the scale of an axis are those of the table
    `ncbench.report.measures`, for a measure of the run's own those of its configuration, and by default its name and a
    scale chosen from the data. On a logarithmic axis values below 1e-16, exact zeros among them, are drawn at 1e-16. Of
    several settings the first is drawn. Layers are shown on the training split. Raises NoRecordsError where none of the
    measures is recorded, and UndefinedError where none of their values is finite.
    """
    settings = find_settings(dir)
    chosen = None if names is None else list(dict.fromkeys(names))
    if chosen is not None and not chosen:
        raise NoRecordsError("no measure is left that has no figure of its own")
    frame = with_setting(load_measures(dir, measures=chosen), settings)
    frame = frame[frame["split"].isin(rows_of_split()) | (frame["layer"] == WHOLE_NETWORK)]
    if frame.empty:
        raise NoRecordsError(f"no {', '.join(chosen or ['measure'])} recorded")
    require_finite(frame["value"], ", ".join(map(str, frame["measure"].unique())))
    finite = frame[np.isfinite(frame["value"].to_numpy(dtype=float))]
    drawn = sorted(finite["setting"].unique())
    known = known_measures(dir, finite["measure"].unique())
    table = quartiles(finite[finite["setting"] == drawn[0]], ["measure", "layer", "stage", "split", "step"])
    known = {name: info for name, info in known.items() if (table["measure"] == name).any()}
    present = set(map(str, table["layer"]))
    layers = [layer for layer in frame["layer"].cat.categories if layer and layer in present]
    tints = {**dict(zip(layers, style.colours(len(layers)), strict=True)), "": "black"}
    columns = min(len(known), 3)
    figure, axes = panels(-(-len(known) // columns), columns, 3.6 if columns > 1 else 5.2, 2.9)
    for ax in axes.flat[len(known) :]:
        ax.set_axis_off()
    for ax, info in zip(axes.flat, known.values(), strict=False):  # a last row may have empty places
        _panel(ax, table[table["measure"] == info.name], info, tints)
    _legend(figure, table, tints)
    of = "" if len(drawn) == 1 else f" of {literal(settings[drawn[0]].label)}"
    note_missing(figure, [settings[code].values for code in drawn[1:]], note_quartiles(table, f"replicas{of}"))
    return figure


def _panel(ax: Axes, table: pd.DataFrame, info: MeasureInfo, tints: dict[str, Any]) -> None:
    scale = info.scale or scale_of(table["median"])
    if scale == "log" and (table["median"] < 0).any():
        scale = "symlog"
    for key, rows in table.groupby(["layer", "stage", "split"], observed=True):
        layer, stage, split = map(str, key)
        rows = rows.sort_values("step")
        steps, values = (rows[column].to_numpy(dtype=float) for column in ("step", "median"))
        values = style.clip(values)[0] if scale == "log" else values
        ends = [rows[name].to_numpy(dtype=float) for name in ("q25", "q75")]
        ends = [style.clip(end)[0] for end in ends] if scale == "log" else ends
        shown = thin(steps, values, *ends)
        ax.fill_between(steps[shown], ends[0][shown], ends[1][shown], color=tints[layer], alpha=0.15, lw=0)
        look: dict[str, Any] = {"color": tints[layer], "ls": DASHES.get(stage or split, "-"), "lw": 1.4}
        marker = "o" if len(steps) <= FEW else ""
        ax.plot(steps[shown], values[shown], marker=marker, ms=3.5, label=_series(layer, stage, split), **look)
    _scale(ax, scale, table["median"].to_numpy(dtype=float))
    style.step_axis(ax)
    ax.set_ylabel(info.axis_label)


def _series(layer: str, stage: str, split: str) -> str:
    return f"{layer}.{stage}" if layer else split


def _scale(ax: Axes, scale: str, values: style.Values) -> None:
    if scale == "log":
        style.log_if_positive(ax)
    elif scale == "symlog":
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        ax.set_yscale("symlog", linthresh=float(sizes.min()) if len(sizes) else 1.0)


def _legend(figure: Plot, table: pd.DataFrame, tints: dict[str, Any]) -> None:
    present = {name: set(map(str, table[name])) for name in ("layer", "stage", "split")}
    handles = [
        Line2D([], [], color=tint, lw=2, label=literal(layer) or "whole network")
        for layer, tint in tints.items()
        if layer in present["layer"]
    ]
    handles += [
        Line2D([], [], color="black", ls=dashes, label=NAMES[name])
        for name, dashes in DASHES.items()
        if name in present["stage"] | present["split"]
    ]
    figure.legend(handles=handles, loc="outside right upper")
