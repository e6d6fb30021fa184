"""Figure of the rank of the inner weights against the size of the network."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ncbench.records.layers import head_layer, rows_of_split
from ncbench.records.load import load_final
from ncbench.records.naming import descriptions, sort_key
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_unnamed
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, log_if_positive, panels, styled
from ncbench.report.measures import MEASURES
from ncbench.report.selectors import head_depths, mean_over_layers, require_finite

SIZES = ("width", "depth")
STATIONARY = 1e-3  # of grad_max: a network with a larger gradient has not arrived anywhere
OF_STAGE = {"weight": ", inner weights", "post": ", hidden layers"}
QUANTITIES = {"stable_rank": "weight", "rank": "weight", "tcv_relative": "post"}  # measure -> stage
MOST_GROUPS = 12


@styled
def size_scaling(dir: Dir) -> Plot:
    """Stable rank and numerical rank of the inner weights, and scale-free TCV, against width or depth.

    Weights: the mean over head.2 ... head.L-1 (head.2 where L = 2); TCV: over the activations of the hidden layers.
    Lines: the median over seeds with the range, a colour for each combination of the other swept values. Replicas
    whose gradient is 1e-3 or more anywhere are not counted: they stand as open markers. Raises NoRecordsError where
    neither width nor depth has two values.
    """
    settings = find_settings(dir)
    numbers = {
        name: {code: _number(setting.values.get(name)) for code, setting in enumerate(settings)} for name in SIZES
    }
    swept = [name for name in SIZES if len({x for x in numbers[name].values() if x is not None}) > 1]
    if not swept:
        raise NoRecordsError("neither width nor depth has two values")
    size, place = swept[0], numbers[swept[0]]
    frame = with_setting(load_final(dir), settings)
    frame = frame[frame["setting"].map(place).notna() & frame["split"].isin(rows_of_split())]
    moving = _moving(frame)
    others = [{name: value for name, value in setting.values.items() if name != size} for setting in settings]
    texts = descriptions(others)
    keys = (list(map(sort_key, values.values())) for values in others)
    order = sorted(dict(zip(texts, keys, strict=True)).items())
    groups = [name for name, _ in sorted(order, key=lambda group: group[1])]
    tints = dict(zip(groups, style.colours(len(groups)), strict=True))
    figure, axes = panels(1, len(QUANTITIES), 3.3, 3.2)
    drawn, left_out = [], 0
    for ax, (measure, stage) in zip(axes[0], QUANTITIES.items(), strict=True):
        table = _means(frame, measure, stage)
        table["value"] = table["value"].where(np.isfinite(table["value"]))
        drawn += list(table["value"])
        table = table.assign(x=table["setting"].map(place), group=[texts[code] for code in table["setting"]])
        still = np.array(
            [key not in moving for key in zip(table["setting"], table["network"], strict=True)], dtype=bool
        )
        left_out = max(left_out, int((~still).sum()))
        for group in groups:
            _line(ax, table[still & (table["group"] == group)], tints[group])
        lost = table[~still]
        ax.plot(lost["x"], lost["value"], ls="", marker="o", ms=4.5, mfc="none", mec="#808080", zorder=3)
        ax.set_ylabel(MEASURES[measure].axis_label + OF_STAGE[stage])
        if stage == "weight" and (table["value"] > 0).any():
            ax.set_ylim(0, 1.05 * ax.dataLim.y1)
        _x_axis(ax, size, sorted({x for x in place.values() if x is not None}))
    if not drawn:
        raise NoRecordsError("no rank of inner weights recorded")
    require_finite(drawn, ", ".join(QUANTITIES))
    log_if_positive(axes[0, 2])
    handles = [
        Line2D([], [], color=tint, marker="o", ms=4, label=literal(group or "median"))
        for group, tint in list(tints.items())[:MOST_GROUPS]
    ]
    handles += note_unnamed(figure, MOST_GROUPS, len(tints))
    if left_out:
        label = f"not counted: gradient ≥ {STATIONARY:g} ({left_out} replicas)"
        handles.append(Line2D([], [], ls="", marker="o", ms=4.5, mfc="none", mec="#808080", label=label))
    fitting = legend_columns(figure, [handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
    return figure


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moving(frame: pd.DataFrame) -> set[tuple[int, int]]:
    """Setting and number of the networks that are not stationary; a gradient that is not recorded counts as none."""
    gradients = frame[frame["measure"] == "grad_max"]
    far = gradients[~(gradients["value"] < STATIONARY)]
    return set(zip(far["setting"], far["network"], strict=True))


def _means(frame: pd.DataFrame, measure: str, stage: str) -> pd.DataFrame:
    """The mean over the inner matrices or the hidden layers, one row per setting and network; of two matrices W_2."""
    if stage != "weight":
        return mean_over_layers(frame, measure, stage)
    inner = mean_over_layers(frame, measure, stage, "inner")
    of_last = (frame["layer"] == head_layer(2)) & (frame["stage"] == stage) & (frame["measure"] == measure)
    rows = frame[of_last & (head_depths(frame) == 2)]
    return pd.concat([inner, rows[inner.columns]], ignore_index=True).sort_values(["setting", "network"])


def _line(ax: Axes, table: pd.DataFrame, tint: Any) -> None:
    sizes = table.dropna().groupby("x")["value"].agg(["median", "min", "max"])
    if len(sizes):
        median = sizes["median"].to_numpy(dtype=float)
        ranges = [median - sizes["min"].to_numpy(dtype=float), sizes["max"].to_numpy(dtype=float) - median]
        ax.errorbar(sizes.index, median, yerr=ranges, color=tint, marker="o", ms=4, lw=1.3, capsize=2)


def _x_axis(ax: Axes, size: str, values: list[float]) -> None:
    if size == "width":
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(values, [f"{x:g}" for x in values])
    ax.set_xlabel(size)
