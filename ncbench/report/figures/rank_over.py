"""Figure of the rank that training ends at, over a swept number: Figure 5 of arXiv 2410.23169."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final
from ncbench.records.naming import describe
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.end_states import STATIONARY
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, shared_legend
from ncbench.report.figures.axis import jittered, number_axis
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, styled
from ncbench.report.layout import Curve, panels_over
from ncbench.report.selectors import mean_over_layers, output_rows, require_finite
from ncbench.report.settings import end_points

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
    deviation over the converged replicas. Further quantities that vary have a curve for each of their values together;
    more than six curves are divided among panels.

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
    layout = panels_over(settings, sorted(table["setting"].unique()), "with a rank", x)
    table = table[~table["setting"].isin(layout.left_out)]
    numbers = [number for curve in layout.curves for number in curve.codes]
    figure, axes = style.small_panels(len(layout.panels), 4.6, 3.4)
    said = "band: ± one standard deviation"
    for ax, panel in zip(axes, layout.panels, strict=True):
        for number, curve in enumerate(panel.curves):
            _curve(ax, table, curve, numbers, number, len(panel.curves))
        number_axis(ax, numbers)
        ax.set(xlabel=literal(layout.x), ylabel=f"numerical rank of {literal(place)}")
        ax.set_title(wrapped(describe(panel.values), 44) if panel.values else said)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(layout.panels) > 1:
        figure.suptitle(said, fontsize=9)
    moving = int((~table["still"]).sum())
    label = f"not converged, in no mean: {moving} of {len(table)} replicas"
    lost = [Line2D([], [], ls="", marker="o", ms=4, mfc="none", mec=GREY, label=label)] if moving else []
    legend = shared_legend(figure, axes, 3, lost)
    note_missing(figure, [settings[code].values for code in layout.left_out], above=legend)
    return figure


def _ranks(dir: Dir, layers: str | Sequence[str], stage: str) -> pd.DataFrame:
    """One row per replica: setting, network, value (its rank) and gradient."""
    frame = with_setting(load_final(dir), find_settings(dir))
    frame = frame[frame["split"].isin(rows_of_split())]
    if layers == "output":
        found = output_rows(frame, "rank", stage)[["setting", "network", "value"]]
    elif layers == "intermediate":
        found = mean_over_layers(frame, "rank", stage)
    else:
        names = [layers] if isinstance(layers, str) else list(layers)
        rows = frame[frame["layer"].isin(names) & (frame["stage"] == stage) & (frame["measure"] == "rank")]
        found = rows.groupby(["setting", "network"], observed=True)["value"].mean().reset_index()
    return found.merge(end_points(dir)[["setting", "network", "gradient"]], on=["setting", "network"], how="left")


def _curve(ax: Axes, table: pd.DataFrame, curve: Curve, numbers: list[float], number: int, of: int) -> None:
    """The mean over the converged replicas at every number where there are some, the band around it, and the dots.

    The dots of curve `number` of `of` have their part of the room around each of the `numbers` of the axis.
    """
    colour, marker = style.PALETTE[curve.place], style.MARKERS[curve.place]
    dots = {at: table[table["setting"] == code] for at, code in curve.codes.items()}
    ranks = {at: rows["value"][rows["still"]].dropna().to_numpy(dtype=float) for at, rows in dots.items()}
    means = [
        (at, values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0)
        for at, values in ranks.items()
        if len(values)
    ]
    x, mean, deviation = np.array(means).reshape(-1, 3).T
    ax.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.18, lw=0)
    label = literal(describe(curve.values)) or "mean of the converged"
    ax.plot(x, mean, color=colour, marker=marker, ms=4.5, label=label)
    for at, rows in dots.items():
        places, still = jittered(at, len(rows), numbers, number, of), rows["still"].to_numpy(dtype=bool)
        ax.plot(places[still], rows["value"][still], ls="", marker="o", ms=3, color=colour, alpha=0.3, mew=0)
        ax.plot(places[~still], rows["value"][~still], ls="", marker="o", ms=3.5, mfc="none", mec=colour, mew=0.6)
