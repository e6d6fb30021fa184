"""Figure of neural collapse: NC1 to NC4 of the classifier and its input over epochs, beside the error."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ncbench.records.layers import input_of, layer_key
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_fewer, note_missing, note_quartiles
from ncbench.report.figures.epochs import (
    OF_WEIGHT,
    Look,
    draw_curve,
    is_reached,
    legend_handles,
    looks,
    mark_terminal_phase,
)
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles
from ncbench.report.terminal_phase import ZERO_ERROR, terminal_starts

SELF_DUALITY = "self_duality"
ERROR = "error"
MEASURES = ("accuracy", "nc1", "equinorm", "equiangularity", SELF_DUALITY, "ncc_mismatch")


@dataclass(frozen=True)
class _Panel:
    """A measure, what stands above it and on its axis, and on which of the two layers it is looked at."""

    measure: str
    title: str
    axis: str
    of_input: bool = True
    of_weight: bool = False


PANELS = (
    _Panel(ERROR, "Error", "share of samples", of_input=False),
    _Panel("nc1", "NC1: variability collapses", r"tr$(\Sigma_W \Sigma_B^+)\,/\,K$"),
    _Panel("equinorm", "NC2: norms become equal", "std / mean of the norms", of_weight=True),
    _Panel("equiangularity", "NC2: angles become the widest", r"mean $|\cos + 1/(K-1)|$", of_weight=True),
    _Panel(
        SELF_DUALITY,
        "NC3: classifier and class means",
        r"$\|W/\|W\|_F - M/\|M\|_F\|_F$",
        of_input=False,
        of_weight=True,
    ),
    _Panel("ncc_mismatch", "NC4: nearest class mean decides", "share of other decisions"),
)


@styled
def neural_collapse(dir: Dir) -> Plot:
    """NC1 to NC4 of Papyan, Han & Donoho (2020) over epochs, medians and quartiles over networks, and the error.

    Of each setting the last layer of which NC3 is recorded is the classifier; M are the centred class means of its
    input, W is its weight. Rows of W are not centred. Solid on the training data, dashed on the test data, other splits
    by their names; W is dash-dotted. The dotted line is the start of the terminal phase (see
    `ncbench.report.terminal_phase`). At most six settings are drawn.
    """
    settings = find_settings(dir)
    frame = with_setting(load_measures(dir, measures=MEASURES), settings)
    duality = frame[frame["measure"] == SELF_DUALITY]
    if duality.empty:
        raise NoRecordsError("no NC3 recorded (measure.measures=nc)")
    require_finite(duality["value"], "NC3")
    classifiers = {
        int(str(code)): sorted(map(str, rows["layer"].unique()), key=layer_key)[-1]
        for code, rows in duality.groupby("setting")
    }
    shown = sorted(classifiers)[: style.MAX_PANELS]
    tints = style.tints({code: literal(settings[code].label) for code in shown})
    by = ["setting", "measure", "layer", "stage", "split", "epoch"]
    table = quartiles(frame, by)
    drawn = looks(map(str, frame["split"].unique()))
    drawn |= {"train": replace(drawn["train"], label="training data (class means M)")} if "train" in drawn else {}
    figure, axes = panels(2, 3, 3.3, 2.7)
    lifted = False
    for place, (ax, panel) in enumerate(zip(axes.flat, PANELS, strict=True)):
        for code in shown:
            rows = table[table["setting"] == code]
            lifted |= _draw(ax, panel, rows, classifiers[code], tints[code][0], drawn)
        if panel.measure not in (ERROR, "ncc_mismatch"):
            style.log_if_positive(ax)
        ax.set(title=panel.title, ylabel=panel.axis, xlabel="epoch" if place >= 3 else "")
        ax.set_xlim(left=0)
    looked_at = [
        frame[(frame["setting"] == code) & frame["layer"].isin(["", classifiers[code], input_of(classifiers[code])])]
        for code in shown
    ]
    starts = terminal_starts(frame)
    notes = mark_terminal_phase(list(axes.flat), starts, tints, ZERO_ERROR)
    notes = [*note_quartiles(table), *note_fewer(pd.concat(looked_at), by), *notes]
    notes += [f"values below {style.FLOOR:g} drawn at {style.FLOOR:g}"] if lifted else []
    handles = legend_handles(axes.flat, tints, [*drawn.values(), OF_WEIGHT], is_reached(starts, shown))
    columns = legend_columns(figure, [handle.get_label() for handle in handles], 4)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    note_missing(figure, [settings[code].values for code in sorted(classifiers)[len(shown) :]], notes, above=legend)
    return figure


def _draw(ax: Axes, panel: _Panel, rows: pd.DataFrame, classifier: str, tint: Any, drawn: Mapping[str, Look]) -> bool:
    """The curves of one setting in one panel; whether zeros were lifted."""
    if panel.measure == ERROR:
        rows = rows[rows["measure"] == "accuracy"]
        rows = rows.assign(median=1 - rows["median"], q25=1 - rows["q25"], q75=1 - rows["q75"])
        for split, part in rows.groupby("split", observed=True):
            draw_curve(ax, part, tint, drawn[str(split)])
        return False
    floor, lifted = None if panel.measure == "ncc_mismatch" else style.FLOOR, False
    rows = rows[rows["measure"] == panel.measure]
    if panel.of_input:
        of_input = rows[(rows["layer"] == input_of(classifier)) & (rows["stage"] == "post")]
        for split, part in of_input.groupby("split", observed=True):
            lifted |= draw_curve(ax, part, tint, drawn[str(split)], floor)
    if panel.of_weight:
        of_weight = rows[(rows["layer"] == classifier) & (rows["stage"] == "weight")]
        first = next(iter(drawn.values()), OF_WEIGHT)
        for split, part in of_weight.groupby("split", observed=True):
            of_means = drawn.get(str(split), first)  # NC3 is of the class means of a split
            lifted |= draw_curve(ax, part, tint, OF_WEIGHT if panel.of_input else of_means, floor)
    return lifted
