"""Figure of collapse per layer during training."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ncbench.records.layers import layer_key, rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, note_quartiles
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled, thin
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles

COLLAPSE = ("dnc1", "tcv_relative", "tcv")
STAGE_LINES = {"pre": "-", "post": "--"}


@styled
def collapse(dir: Dir, split: str = "train") -> Plot:
    """Within-class variability per layer against the step: DNC1, scale-free TCV and raw TCV, medians and quartiles.

    Layers are coloured from input (dark) to output (light); before the activation solid, after it dashed.
    Values below 1e-16, exact zeros among them, are drawn at 1e-16. At most six settings are drawn.
    """
    settings = find_settings(dir)
    frame = load_measures(dir, measures=COLLAPSE)
    frame = with_setting(
        frame[frame["split"].isin(rows_of_split(split)) & frame["stage"].isin(list(STAGE_LINES))], settings
    )
    if frame.empty:
        raise NoRecordsError(f"no {', '.join(COLLAPSE)} recorded for split {split!r}")
    require_finite(frame["value"], ", ".join(COLLAPSE))
    present = sorted(frame["setting"].unique())
    shown = present[: style.MAX_PANELS]
    table = quartiles(frame[frame["setting"].isin(shown)], ["setting", "measure", "layer", "stage", "step"])
    layers = sorted(table["layer"].unique(), key=lambda name: layer_key(name))
    tints = dict(zip(layers, style.colours(len(layers)), strict=True))
    figure, axes = panels(len(shown), len(COLLAPSE), 3.3, 3.3 if len(shown) == 1 else 2.6)
    clipped = False
    for row, code in enumerate(shown):
        for ax, measure in zip(axes[row], COLLAPSE, strict=True):
            part = table[(table["setting"] == code) & (table["measure"] == measure)]
            clipped |= _collapse_panel(ax, part, tints)
            ax.set_ylabel(MEASURES[measure].axis_label)
            ax.set_xlabel(ax.get_xlabel() if row == len(shown) - 1 else "")
        axes[row, 1].set_title(literal(settings[code].label))
    notes = note_quartiles(table, "replicas")
    notes += [f"values below {style.FLOOR:g} (zeros too) drawn at {style.FLOOR:g}"] if clipped else []
    note_missing(figure, [settings[code].values for code in present[style.MAX_PANELS :]], notes)
    handles = [Line2D([], [], color=tints[layer], lw=2, label=literal(layer)) for layer in layers]
    handles += [
        Line2D([], [], color="black", ls=line, label=f"{stage}-activation") for stage, line in STAGE_LINES.items()
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def _collapse_panel(ax: Axes, table: pd.DataFrame, tints: dict[str, Any]) -> bool:
    clipped = False
    highest, lowest = 0.0, np.inf
    for key, part in table.groupby(["layer", "stage"], observed=True):
        layer, stage = map(str, key)
        steps = part["step"].to_numpy(dtype=float)
        median, low = style.clip(part["median"].to_numpy(dtype=float))
        ends = [style.clip(part[name])[0] for name in ("q25", "q75")]
        shown = thin(steps, median, *ends)
        ax.fill_between(steps[shown], ends[0][shown], ends[1][shown], color=tints[layer], alpha=0.15, lw=0)
        look = {"color": tints[layer], "ls": STAGE_LINES[stage], "lw": 1.4, "label": f"{layer}.{stage}"}
        ax.plot(steps[shown], median[shown], **look)
        clipped |= low
        highest, lowest = np.nanmax([highest, *median]), np.nanmin([lowest, *median])
    if highest > 0:
        ax.set_yscale("log")
        style.log_axis(ax.yaxis, lowest / 1.5, highest * 1.5)
        ax.set_ylim(lowest / 1.5, highest * 1.5)
    style.step_axis(ax)
    return clipped
