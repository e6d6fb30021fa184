"""Figure of two runs on the same axes: loss, and within-class variability of their layers."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError, load_run_info, named_runs, without_diverged
from ncbench.records.small_files import BadRecordsError
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_missing
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled, thin
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles

__all__ = ["comparison"]

SHOWN = ("loss", "nc1", "dnc1")
DASHES = ("-", "--")  # of the first and of the second run
MOST_LAYERS = 8


@styled
def comparison(dir: Dir) -> Plot:
    """Loss, NC1 and DNC1 of two runs against the step, solid the first, dashed the second, medians and quartiles.

    `dir` are the two run folders, [FIRST, SECOND]; every network of a run counts, whatever its setting. Values are
    those of the training data, of a layer with an activation those behind it; of more than eight layers eight from the
    first to the last. What is below 1e-16, exact zeros among it, is drawn at 1e-16. Raises BadRecordsError where `dir`
    are not two runs, NoRecordsError where neither has recorded any of the three, UndefinedError where none is finite.
    """
    names = list(named_runs(dir))
    if len(names) != len(DASHES):
        raise BadRecordsError(f"dir has to be two runs, and is {len(names)}: {', '.join(names)}")
    frame = without_diverged(load_measures(dir, measures=SHOWN), load_run_info(dir))
    frame = frame[frame["split"].isin(rows_of_split())]
    if frame.empty:
        raise NoRecordsError(f"no {', '.join(SHOWN)} recorded")
    require_finite(frame["value"], ", ".join(SHOWN))
    behind = frame.groupby(["run", "measure", "layer"], observed=True)["stage"].transform(
        lambda stages: stages == ("post" if (stages == "post").any() else stages.iloc[0])
    )
    table = quartiles(frame[behind.astype(bool)], ["run", "measure", "layer", "step"])
    table = table[table["replicas"] > 0]
    present = set(map(str, table["layer"]))
    layers = style.spread([layer for layer in frame["layer"].cat.categories if layer and layer in present], MOST_LAYERS)
    tints = {**dict(zip(layers, style.colours(len(layers)), strict=True)), "": "black"}
    table = table[table["layer"].isin(list(tints))]
    shown = [measure for measure in SHOWN if (table["measure"] == measure).any()]
    figure, axes = panels(1, len(shown), 4.0 if len(shown) > 1 else 5.2, 3.4)
    lifted = False
    for ax, measure in zip(axes.flat, shown, strict=True):
        lifted |= _panel(ax, table[table["measure"] == measure], names, tints)
        ax.set_ylabel(MEASURES[measure].axis_label)
    handles = [
        Line2D([], [], color="black", ls=dashes, label=literal(name))
        for name, dashes in zip(names, DASHES, strict=True)
    ]
    handles += [Line2D([], [], color=tints[layer], lw=2, label=literal(layer)) for layer in layers]
    columns = legend_columns(figure, [handle.get_label() for handle in handles], 4)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    notes = ["median over networks, band: quartiles"]
    notes += [f"values below {style.FLOOR:g} drawn at {style.FLOOR:g}"] if lifted else []
    note_missing(figure, [], notes, above=legend)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, names: list[str], tints: dict[str, Any]) -> bool:
    """The curves of one measure; whether any value was lifted to the floor."""
    lifted = False
    for name, dashes in zip(names, DASHES, strict=True):
        for layer, tint in tints.items():
            rows = table[(table["run"] == name) & (table["layer"] == layer)].sort_values("step")
            if rows.empty:
                continue
            steps = rows["step"].to_numpy(dtype=float)
            (median, below), (low, _), (high, _) = (style.clip(rows[column]) for column in ("median", "q25", "q75"))
            kept = thin(steps, median, low, high)
            ax.fill_between(steps[kept], low[kept], high[kept], color=tint, alpha=0.15, lw=0)
            ax.plot(steps[kept], median[kept], color=tint, ls=dashes, lw=1.4, label=literal(f"{name} {layer}".strip()))
            lifted |= below
    style.log_if_positive(ax)
    style.step_axis(ax)
    return lifted
