"""Figure of the zero eigenvalues of the Hessian, against counts of dimensions: Theorem 5 of arXiv 2410.23169."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ncbench.records.load import load_final, load_references
from ncbench.records.naming import describe
from ncbench.records.runs import CrowdedError, Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, shared_legend
from ncbench.report.figures.axis import number_axis
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.settings import references_of

MEASURE = "hessian_nullity"
MOST_PANELS = 8


@styled
def nullity(dir: Dir) -> Plot:
    """Zero eigenvalues of the Hessian where replicas ended, over the width, with the theory's counts as dashed lines.

    The Hessian is that of the objective of one network at its last step (`measure.hessian`); its zero eigenvalues are
    directions along which a set of minima extends. Every `start` has a marker of its own, all other quantities that
    vary a panel, at most eight; a dot is the median of a setting, a bar from its least to its largest replica. Lines
    are the theory lines of the measure. Raises NoRecordsError where no such count is recorded, or the width does not
    vary, and its subclass CrowdedError for more starts than there are markers.
    """
    settings = find_settings(dir)
    frame = load_final(dir)
    frame = with_setting(frame[frame["measure"] == MEASURE], settings).dropna(subset="value")
    codes = sorted({int(code) for code in frame["setting"].unique()})
    if not codes:
        raise NoRecordsError("no zero eigenvalues of a Hessian recorded (measure.hessian=true)")
    if len({settings[code].values.get("width") for code in codes} - {None}) < 2:
        raise NoRecordsError("the width does not vary")
    groups: dict[str, list[int]] = {}
    for code in codes:
        besides = {name: value for name, value in settings[code].values.items() if name not in ("width", "start")}
        groups.setdefault(describe(besides), []).append(code)
    missing = [settings[code].values for of_panel in list(groups.values())[MOST_PANELS:] for code in of_panel]
    groups = dict(list(groups.items())[:MOST_PANELS])
    if len({settings[code].values.get("start") for code in codes}) > len(style.MARKERS):
        raise CrowdedError(f"more than {len(style.MARKERS)} starts; where={{'start': NAME}} draws one of them")
    references = load_references(dir)
    lines = references[references["measure"] == MEASURE]
    columns = min(len(groups), 2)
    figure, axes = panels(-(-len(groups) // columns), columns, 3.4, 2.5)
    for ax, (title, of_panel) in zip(axes.flat, groups.items(), strict=False):
        _panel(ax, frame, [(code, settings[code]) for code in of_panel], lines)
        ax.set_title(literal(title), fontsize=9)
    for ax in list(axes.flat)[len(groups) :]:
        ax.set_axis_off()
    note_missing(figure, missing, above=shared_legend(figure, list(axes.flat), 3))
    return figure


def _panel(ax: Axes, frame: pd.DataFrame, members: Sequence[tuple[int, Setting]], lines: pd.DataFrame) -> None:
    """Measured counts by start, and the theory's counts over the width."""
    starts = list(dict.fromkeys(setting.values.get("start") for _, setting in members))
    for start, colour, marker in zip(starts, style.PALETTE, style.MARKERS, strict=False):
        of_start = [(code, setting) for code, setting in members if setting.values.get("start") == start]
        values = [frame.loc[frame["setting"] == code, "value"] for code, _ in of_start]
        middle = [float(one.median()) for one in values]
        bars = [
            [m - float(one.min()) for m, one in zip(middle, values, strict=True)],
            [float(one.max()) - m for m, one in zip(middle, values, strict=True)],
        ]
        x = [float(setting.values["width"]) for _, setting in of_start]
        ax.errorbar(x, middle, bars, ls="", marker=marker, ms=6, color=colour, label=literal(_label(start)))
    counts: dict[str, dict[float, float]] = {}
    for _, setting in members:
        for row in references_of(lines, setting).to_dict("records"):
            counts.setdefault(str(row["name"]), {})[float(setting.values["width"])] = float(row["value"])
    for (name, of_width), (colour, dashes) in zip(counts.items(), style.REFERENCE_STYLES, strict=False):
        widths = sorted(of_width)
        ax.plot(widths, [of_width[w] for w in widths], ls=dashes, lw=1, color=colour, label=literal(name))
    number_axis(ax, [float(setting.values["width"]) for _, setting in members])
    ax.set(xlabel="width", ylabel="zero eigenvalues")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _label(start: Any) -> str:
    return "measured" if start is None else f"measured from {start}"
