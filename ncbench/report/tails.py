"""Figure of the tails of the weights' spectra: what rank k leaves out of each matrix, at the start and at the end."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.report import style
from ncbench.report.cells import find_cells, with_cell
from ncbench.report.load import layer_key, load_spectra
from ncbench.report.runs import Dir, named_runs, read_yaml
from ncbench.report.style import NoRecordsError, Plot, Values, panels, styled

AT = {"first": ("--", "start"), "last": ("-", "end")}


@styled
def tails(dir: Dir) -> Plot:
    """Tails r_k = sum_{j>k} s_j^2 / sum_j s_j^2 of every weight matrix against k, medians over replicas.

    Solid at the end, dashed at the start of training, a colour for each cell. The dotted line stands at k = K, the
    number of classes, where it is known. Values below 1e-16 are drawn there. At most six cells and six layers, evenly
    spread over what there is.
    """
    cells = find_cells(dir)
    frames = {at: with_cell(load_spectra(dir, steps=at), cells) for at in ("first", "last")}
    last = frames["last"][frames["last"]["stage"] == "weight"]
    if last.empty:
        raise NoRecordsError("no singular values of weights recorded")
    present = sorted(last["cell"].unique())
    shown = spread(present)
    recorded = sorted(map(str, last["layer"].unique()), key=layer_key)
    layers = spread(recorded)
    tints = dict(zip(shown, style.colours(len(shown))))
    columns = 2 if len(layers) == 4 else min(len(layers), 3)
    figure, axes = panels(-(-len(layers) // columns), columns, 3.5, 2.9)
    classes = {num_classes(dir).get(cells[cell].run) for cell in shown} - {None}
    clipped = False
    for place, ax in enumerate(axes.flat):
        if place >= len(layers):
            ax.set_axis_off()
            continue
        for at, frame in frames.items():
            part = frame[(frame["stage"] == "weight") & (frame["layer"] == layers[place])]
            for cell, rows in part[part["cell"].isin(shown)].groupby("cell"):
                clipped |= _curve(ax, rows, tints[int(str(cell))], AT[at][0])
        for K in classes:
            ax.axvline(K, color="black", lw=1.0, ls=":")
        ax.set(yscale="log", xlim=(0, None), title=style.literal(layers[place]))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("k" if place + columns >= len(layers) else "")
        ax.set_ylabel("tail $r_k$" if place % columns == 0 else "")
    handles = [Line2D([], [], color=tint, lw=2, label=style.literal(cells[cell].label)) for cell, tint in tints.items()]
    handles += [Line2D([], [], color="black", ls=dashes, label=label) for dashes, label in AT.values()]
    handles += [Line2D([], [], color="black", lw=1.0, ls=":", label="k = K")] if classes else []
    fitting = style.legend_columns(figure, [handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
    more = [(len(present) - len(shown), "cells"), (len(recorded) - len(layers), "layers")]
    notes = ["median over replicas", *(f"{number} more {what} not drawn" for number, what in more if number)]
    notes += [f"values below {style.FLOOR:g} (zeros too) drawn at {style.FLOOR:g}"] if clipped else []
    figure.suptitle("; ".join(notes), fontsize=8)
    return figure


def spread(values: list[Any]) -> list[Any]:
    """Six of the values, evenly spread from the first to the last; all where there are no more.

    >>> spread(list(range(11)))
    [0, 2, 4, 6, 8, 10]
    """
    places = np.linspace(0, len(values) - 1, min(len(values), style.MAX_PANELS)).round().astype(int)
    return [values[place] for place in places]


def num_classes(dir: Dir) -> dict[str, int]:
    """K of every run that says it: `dataset.classes`, or as many as the class means have singular values."""
    known: dict[str, int] = {}
    for name, run in named_runs(dir).items():
        config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else None
        dataset = config.get("dataset") if isinstance(config, dict) else None
        classes = dataset.get("classes") if isinstance(dataset, dict) else None
        if isinstance(classes, int):
            known[name] = classes
    means = load_spectra(dir, steps="last")
    means = means[means["stage"] != "weight"]
    for one, most in means.groupby("run", observed=True)["index"].max().items():
        known.setdefault(str(one), int(most) + 1)
    return known


def _curve(ax: Axes, rows: pd.DataFrame, tint: Any, dashes: str) -> bool:
    """The median of the replicas' tails; whether any was below the floor."""
    found = np.array([_tail(one.sort_values("index")["singular_value"]) for _, one in rows.groupby("replica")])
    if np.isnan(found).all():
        return False
    median, clipped = style.clip(np.nanmedian(found[~np.isnan(found).any(axis=1)], axis=0))
    ax.plot(np.arange(len(median)), median, color=tint, ls=dashes, lw=1.4)
    return clipped


def _tail(singular_values: "pd.Series[float]") -> Values:
    """r_0 = 1, r_1 ... r_{p-1} of one matrix; NaN for a zero matrix. From behind: no digits are lost to differences."""
    squares = singular_values.to_numpy(dtype=np.float64) ** 2
    behind = np.cumsum(squares[::-1])[::-1]
    return np.asarray(behind / (behind[0] or np.nan), dtype=np.float64)
