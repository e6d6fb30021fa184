"""Figure of rank: per layer and stage over time, and at the end beside the weights' ranks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.scales import rank_scale
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles

OVER_TIME = ("rank", "effective_rank")
AT_END = {"pre": (style.BLUE, "o"), "post": (style.ORANGE, "s"), "weight": (style.GREEN, "^")}
MOST_STEPS = 120


@styled
def rank(dir: Dir, split: str = "train") -> Plot:
    """Rank per layer: of the class means over time in colour, and at the end with the weights beside them.

    The numerical rank counts sigma_i > 1e-2 sigma_1, the effective rank is exp(entropy of sigma / sum
    sigma); medians over replicas, at the end with the range. One row of panels per setting; more than six
    settings become one table of final numerical ranks in colour.
    """
    settings = find_settings(dir)
    frame = load_measures(dir, measures=OVER_TIME)
    frame = with_setting(frame[frame["split"].isin(rows_of_split(split))], settings)
    if frame.empty:
        raise NoRecordsError("no rank recorded yet")
    require_finite(frame["value"], "the rank")
    with_means = frame.loc[frame["split"] == split, "setting"].unique()
    if not len(with_means):
        raise NoRecordsError(f"no rank of class means of the split {split} recorded")
    frame = frame[frame["setting"].isin(with_means)]
    table = quartiles(frame, ["setting", "measure", "layer", "stage", "step"])
    # Of networks that ended at different steps each at its own.
    of_one = ["setting", "network", "measure", "layer", "stage"]
    final = frame[frame["step"] == frame.groupby(of_one, observed=True)["step"].transform("max")]
    ends = quartiles(final[final["measure"] == "rank"], ["setting", "layer", "stage"])
    shown = sorted(table["setting"].unique())
    if len(shown) > style.MAX_PANELS:
        return _ranks_at_end(ends, settings, shown, rank_scale(dir, style.MAX_PANELS, table["median"]))
    series = _series(table[table["stage"] != "weight"])
    scale = rank_scale(dir, style.MAX_PANELS, table[table["stage"] != "weight"]["median"])
    height = 1.3 + 0.22 * len(series)
    figure, axes = panels(len(shown), 3, 3.5, max(height, 2.6))
    for row, code in enumerate(shown):
        of_setting = table[table["setting"] == code]
        for ax, measure in zip(axes[row, :2], OVER_TIME, strict=True):
            means = of_setting[(of_setting["measure"] == measure) & (of_setting["stage"] != "weight")]
            image = _over_time(ax, means, series, scale)
            ax.set_title(f"{MEASURES[measure].axis_label} over time" if row == 0 else "")
        axes[row, 1].set_yticklabels([])
        _at_end(axes[row, 2], ends[ends["setting"] == code], list(dict.fromkeys(layer for layer, _ in series)))
        axes[row, 2].set_title("numerical rank at the end" if row == 0 else "")
        if row < len(shown) - 1:
            for ax in axes[row]:
                ax.set_xlabel("")
            axes[row, 2].set_xticklabels([])
        if len(shown) > 1:
            axes[row, 0].set_ylabel(wrapped(settings[code].label))
    ticks, short = MaxNLocator(integer=True), min(1.0, 2 / len(shown))
    figure.colorbar(image, ax=axes[:, 1], label="rank of class means, median", ticks=ticks, shrink=short)
    axes[0, 2].legend(loc="best", handletextpad=0.2)
    return figure


def _series(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of layer and stage from input to output."""
    pairs = table[["layer", "stage"]].drop_duplicates().sort_values(["layer", "stage"])
    return list(zip(pairs["layer"], pairs["stage"], strict=True))


def _over_time(ax: Axes, table: pd.DataFrame, series: list[tuple[str, str]], scale: Normalize) -> Any:
    steps = np.sort(table["step"].unique())
    if len(steps) > MOST_STEPS:
        wanted = np.linspace(0, np.log1p(steps[-1]), MOST_STEPS)
        steps = steps[np.unique(np.searchsorted(np.log1p(steps[:-1]), wanted))]
    grid = np.full((len(series), len(steps)), np.nan)
    for place, (layer, stage) in enumerate(series):
        part = table[(table["layer"] == layer) & (table["stage"] == stage)].set_index("step")
        grid[place] = part["median"].reindex(steps)
    image = ax.pcolormesh(
        _edges(steps),
        np.arange(len(series) + 1) - 0.5,
        grid,
        cmap="viridis",
        norm=scale,
        rasterized=True,
    )
    ax.grid(visible=False)
    ax.set_yticks(range(len(series)), [literal(f"{layer} {stage}") for layer, stage in series])
    ax.invert_yaxis()
    style.step_axis(ax)
    ax.set_xlim(right=steps[-1] if len(steps) > 1 else None)
    return image


def _edges(steps: Values) -> Values:
    """Borders between recorded steps, halfway on the logarithmic axis, the outermost steps included."""
    drawn = np.log1p(steps.astype(float))
    middle = (drawn[1:] + drawn[:-1]) / 2
    edges: Values = np.expm1(np.concatenate([drawn[:1], middle, drawn[-1:] + (len(drawn) == 1)]))
    return edges


def _at_end(ax: Axes, table: pd.DataFrame, layers: list[str]) -> None:
    for place, (stage, (colour, marker)) in enumerate(AT_END.items()):
        part = table[(table["stage"] == stage) & table["layer"].isin(layers)]
        if len(part):
            x = np.array([layers.index(layer) for layer in part["layer"]]) + (place - 1) * 0.22
            ax.vlines(x, part["min"], part["max"], color=colour, lw=1.2, alpha=0.6)
            ax.plot(x, part["median"], color=colour, marker=marker, ms=4.5, ls="", label=stage)
    ax.set_xticks(range(len(layers)), [literal(name) for name in layers], rotation=40, ha="right")
    ax.set_xlim(-0.6, len(layers) - 0.4)
    ax.set_ylim(bottom=0)
    ax.margins(y=0.25)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(visible=False, axis="x")


def _ranks_at_end(table: pd.DataFrame, settings: list[Setting], shown: list[int], scale: Normalize) -> Plot:
    series = sorted(_series(table), key=lambda pair: pair[1] == "weight")
    grid = np.full((len(shown), len(series)), np.nan)
    columns = (table[name] for name in ("setting", "layer", "stage", "median"))
    for code, layer, stage, median in zip(*columns, strict=True):
        grid[shown.index(code), series.index((layer, stage))] = median
    figure, axes = panels(1, 1, 3.4 + 0.4 * len(series), 1.6 + 0.2 * len(shown))
    ax = axes[0, 0]
    image = ax.imshow(grid, aspect="auto", cmap="viridis", norm=scale, interpolation="nearest")
    ax.grid(visible=False)
    names = [literal(f"{layer} {stage}") for layer, stage in series]
    ax.set_xticks(range(len(series)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(shown)), [literal(settings[code].label) for code in shown])
    label = "numerical rank at the end, median"
    figure.colorbar(image, ax=ax, label=label, ticks=MaxNLocator(integer=True))
    return figure
