"""Figure of training from many initialisations: the median and the whole range of a few quantities over steps."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ncbench.records.layers import WHOLE_NETWORK, rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, log_if_positive, panels, styled
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import mean_over_layers, require_finite
from ncbench.report.settings import quartiles

MANY = 10  # replicas from which on their range says something
OF_STAGE = {"": "", "post": ", mean of the hidden layers", "weight": ", mean of the inner matrices"}
QUANTITIES = {"loss": "", "tcv": "post", "tail": "weight", "stable_rank": "weight"}  # measure -> stage


@styled
def seed_range(dir: Dir) -> Plot:
    """Loss, TCV, tail and stable rank against the step: the median over replicas, its shadow from least to largest.

    TCV: the mean over the activations of the hidden layers; tail and stable rank: over head.2 ... head.L-1. A colour
    for each combination of swept values, at most six. Zeros stand at 1e-16. Raises NoRecordsError where no combination
    has 10 replicas.
    """
    settings = find_settings(dir)
    frame = with_setting(load_measures(dir, measures=list(QUANTITIES)), settings)
    frame = frame[frame["split"].isin(rows_of_split())]
    many = [code for code, setting in enumerate(settings) if len(setting.networks) >= MANY]
    shown = many[: style.MAX_PANELS]
    frame = frame[frame["setting"].isin(shown)]
    if frame.empty:
        raise NoRecordsError(f"no {MANY} replicas of the same settings")
    require_finite(frame["value"], ", ".join(QUANTITIES))
    tints = dict(zip(shown, style.colours(len(shown)), strict=True))
    figure, axes = panels(2, 2, 4.0, 2.9)
    for ax, (measure, stage) in zip(axes.flat, QUANTITIES.items(), strict=True):
        means = _means(frame, measure, stage)
        table = quartiles(means, ["setting", "step"])
        for code, rows in table.groupby("setting"):
            _shadow(ax, rows, tints[int(str(code))])
        ax.set_ylabel(MEASURES[measure].axis_label + OF_STAGE[stage])
        style.step_axis(ax)
        if MEASURES[measure].scale == "log":
            log_if_positive(ax)
    handles: list[Any] = [
        Line2D([], [], color=tint, lw=2, label=literal(settings[code].label)) for code, tint in tints.items()
    ]
    handles += [Patch(color="#808080", alpha=0.3, lw=0, label="from least to largest")]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=2)
    note_missing(figure, [settings[code].values for code in many[style.MAX_PANELS :]], above=legend)
    return figure


def _means(frame: pd.DataFrame, measure: str, stage: str) -> pd.DataFrame:
    """One value per setting, network and step: of the whole network, or the mean over its hidden layers or matrices."""
    by = ("setting", "network", "step")
    if stage:
        return mean_over_layers(frame, measure, stage, "inner" if stage == "weight" else "intermediate", by)
    rows = frame[(frame["measure"] == measure) & (frame["layer"] == WHOLE_NETWORK)]
    return rows.groupby(list(by), observed=True)["value"].mean().reset_index()


def _shadow(ax: Axes, rows: pd.DataFrame, tint: Any) -> None:
    steps = rows["step"].to_numpy(dtype=float)
    median, low, high = (style.clip(rows[column])[0] for column in ("median", "min", "max"))
    ax.fill_between(steps, low, high, color=tint, alpha=0.25, lw=0)
    ax.plot(steps, median, color=tint, lw=1.5)
