"""Figure of the rank that training ends at, over a swept number: Figure 5 of arXiv 2410.23169."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final
from ncbench.records.runs import Dir
from ncbench.report.end_states import STATIONARY
from ncbench.report.figures import style
from ncbench.report.figures.axis import jittered, number_axis
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import (
    Curve,
    NoRecordsError,
    curves_over,
    mean_over_layers,
    output_rows,
    require_finite,
)
from ncbench.report.settings import describe, end_points, find_settings, with_setting

GREY = "#808080"


@styled
def rank_over(
    dir: Dir,
    layers: str | Sequence[str] = "output",
    stage: str = "pre",
    x: str | None = None,
    stationary: float = STATIONARY,
) -> Plot:
    """Mean numerical rank of the replicas that have converged, over a swept or replicated number; a dot per replica.

    The numerical rank counts sigma_i > 1e-2 sigma_1 at the last measurement. It falls long after the loss has come to
    rest, so that it is read of converged replicas only: those whose gradient (`grad_max`) is at most `stationary`. The
    others stand as hollow dots, are counted in the legend and are in no mean. The band is the mean -+ one standard
    deviation over the converged replicas. A second quantity that varies has a curve for each of its values.

    Args:
        dir: runs of a sweep, or one run with replicated values.
        layers: "output" (the logits, head.L), "intermediate" (head.1 ... head.L-1), a layer or several; averaged
            within a replica.
        stage: `pre`, `post` or `weight`.
        x: the number on the axis; by default the one with the most values.
        stationary: the largest gradient of a converged replica.

    Raises NoRecordsError where no such rank or no gradient is recorded, or nothing varies to be compared; ValueError
    for an `x` that is no number that varies.
    """
    table = _ranks(dir, layers, stage)
    settings = find_settings(dir)
    where = {"output": "the logits", "intermediate": "the intermediate layers"}
    place = where.get(layers, layers) if isinstance(layers, str) else ", ".join(layers)
    if table.empty:
        raise NoRecordsError(f"no rank of {place} ({stage}) recorded")
    require_finite(table["value"], f"the rank of {place}")
    if table["gradient"].isna().all():
        raise NoRecordsError("no gradient (grad_max) recorded: a rank is read of replicas that have converged")
    table["still"] = table["gradient"] <= stationary
    name, curves = curves_over(settings, sorted(table["setting"].unique()), "with a rank", x)
    numbers = [number for curve in curves for number in curve.codes]
    figure, axes = panels(1, 1, 4.6, 3.4)
    ax, handles = axes[0, 0], []
    for number, (curve, colour, marker) in enumerate(zip(curves, style.PALETTE, style.MARKERS, strict=False)):
        label = literal(describe(curve.values)) or "mean of the converged"
        handles.append(Line2D([], [], color=colour, marker=marker, ms=4.5, label=label))
        _curve(ax, table, curve, colour, marker, label)
        for at, codes in curve.codes.items():
            dots = table[table["setting"].isin(codes)]
            places = jittered(at, len(dots), numbers, number, len(curves))
            still = dots["still"].to_numpy(dtype=bool)
            ax.plot(places[still], dots["value"][still], ls="", marker="o", ms=3, color=colour, alpha=0.3, mew=0)
            ax.plot(places[~still], dots["value"][~still], ls="", marker="o", ms=3.5, mfc="none", mec=colour, mew=0.6)
    moving = int((~table["still"]).sum())
    if moving:
        label = f"not converged, in no mean: {moving} of {len(table)} replicas"
        handles.append(Line2D([], [], ls="", marker="o", ms=4, mfc="none", mec=GREY, label=label))
    number_axis(ax, numbers)
    ax.set(xlabel=literal(name), ylabel=f"numerical rank of {literal(place)}", title="band: ± one standard deviation")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    fitting = style.legend_columns(figure, [handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
    return figure


def _ranks(dir: Dir, layers: str | Sequence[str], stage: str) -> pd.DataFrame:
    """One row per replica: run, replica, setting, value (its rank) and gradient."""
    frame = with_setting(load_final(dir), find_settings(dir))
    frame = frame[frame["split"].isin(rows_of_split())]
    if layers == "output":
        found = output_rows(frame, "rank", stage)[["setting", "replica", "value"]]
    elif layers == "intermediate":
        found = mean_over_layers(frame, "rank", stage)
    else:
        names = [layers] if isinstance(layers, str) else list(layers)
        rows = frame[frame["layer"].isin(names) & (frame["stage"] == stage) & (frame["measure"] == "rank")]
        found = rows.groupby(["setting", "replica"], observed=True)["value"].mean().reset_index()
    return found.merge(end_points(dir)[["setting", "replica", "gradient"]], on=["setting", "replica"], how="left")


def _curve(ax: Axes, table: pd.DataFrame, curve: Curve, colour: str, marker: str, label: str) -> None:
    """The mean over the converged replicas at every number where there are some, and the band around it."""
    means = []
    for number, codes in curve.codes.items():
        ranks = table.loc[table["setting"].isin(codes) & table["still"], "value"].dropna().to_numpy(dtype=float)
        if len(ranks):
            means.append((number, ranks.mean(), ranks.std(ddof=1) if len(ranks) > 1 else 0.0))
    x, mean, deviation = np.array(means).reshape(-1, 3).T
    ax.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.18, lw=0)
    ax.plot(x, mean, color=colour, marker=marker, ms=4.5, label=label)
