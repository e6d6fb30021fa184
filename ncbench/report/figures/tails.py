"""Figure of the tails of the weights' spectra: what rank k leaves out of each matrix, at the start and at the end."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import layer_key
from ncbench.records.load import load_spectra
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_missing
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.selectors import num_classes, require_finite

AT = {"first": ("--", "start"), "last": ("-", "end")}


@styled
def tails(dir: Dir) -> Plot:
    """Tails r_k = sum_{j>k} s_j^2 / sum_j s_j^2 of every weight matrix against k, medians and quartiles over replicas.

    Solid at the end, dashed at the start of training, a colour for each setting. The dotted line stands at k = K, the
    number of classes, where it is known. Values below 1e-16 are drawn there. At most six settings and six
    layers, evenly spread over what there is.
    """
    settings = find_settings(dir)
    frames = {at: with_setting(load_spectra(dir, steps=at), settings) for at in ("first", "last")}
    last = frames["last"][frames["last"]["stage"] == "weight"]
    if last.empty:
        raise NoRecordsError("no singular values of weights recorded")
    require_finite(last["singular_value"], "the spectrum of the weights")
    present = sorted(last["setting"].unique())
    shown = style.spread(present)
    recorded = sorted(map(str, last["layer"].unique()), key=layer_key)
    layers = style.spread(recorded)
    tints = dict(zip(shown, style.colours(len(shown)), strict=True))
    columns = 2 if len(layers) == 4 else min(len(layers), 3)
    figure, axes = panels(-(-len(layers) // columns), columns, 3.5, 2.9)
    classes = {num_classes(dir).get(settings[code].run) for code in shown} - {None}
    clipped = False
    for place, ax in enumerate(axes.flat):
        if place >= len(layers):
            ax.set_axis_off()
            continue
        for at, frame in frames.items():
            part = frame[(frame["stage"] == "weight") & (frame["layer"] == layers[place])]
            for code, rows in part[part["setting"].isin(shown)].groupby("setting"):
                clipped |= _curve(ax, rows, tints[int(str(code))], AT[at][0])
        for K in classes:
            ax.axvline(K, color="black", lw=1.0, ls=":")
        ax.set(yscale="log", xlim=(0, None), title=literal(layers[place]))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("k" if place + columns >= len(layers) else "")
        ax.set_ylabel("tail $r_k$" if place % columns == 0 else "")
    handles = [Line2D([], [], color=tint, lw=2, label=literal(settings[code].label)) for code, tint in tints.items()]
    handles += [Line2D([], [], color="black", ls=dashes, label=label) for dashes, label in AT.values()]
    handles += [Line2D([], [], color="black", lw=1.0, ls=":", label="k = K")] if classes else []
    fitting = legend_columns(figure, [handle.get_label() for handle in handles])
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
    notes = ["median over replicas, band: quartiles"]
    notes += [f"{len(recorded) - len(layers)} more layers not drawn"] if len(recorded) > len(layers) else []
    notes += [f"values below {style.FLOOR:g} (zeros too) drawn at {style.FLOOR:g}"] if clipped else []
    figure.suptitle("; ".join(notes), fontsize=8)
    note_missing(figure, [settings[code].values for code in present if code not in shown], above=legend)
    return figure


def _curve(ax: Axes, rows: pd.DataFrame, tint: Any, dashes: str) -> bool:
    """The median of the replicas' tails and their quartiles; whether any was below the floor."""
    matrices = (matrix.sort_values("index") for _, matrix in rows.groupby("network"))
    of_replicas = np.array([_tail(matrix["singular_value"]) for matrix in matrices])
    known = of_replicas[~np.isnan(of_replicas).any(axis=1)]
    if not len(known):
        return False
    (low, median, high), clipped = style.clip(np.quantile(known, [0.25, 0.5, 0.75], axis=0))
    ax.fill_between(np.arange(len(median)), low, high, color=tint, alpha=0.15, lw=0)
    ax.plot(np.arange(len(median)), median, color=tint, ls=dashes, lw=1.4)
    return clipped


def _tail(singular_values: "pd.Series[float]") -> Values:
    """r_0 = 1, r_1 ... r_{p-1} of one matrix; NaN for a zero matrix and for one that is not finite.

    Summed from behind, so that no digits are lost to differences.
    """
    squares = singular_values.to_numpy(dtype=np.float64) ** 2
    if not np.isfinite(squares).all():
        return np.full(len(squares), np.nan)
    behind = np.cumsum(squares[::-1])[::-1]
    return np.asarray(behind / (behind[0] or np.nan), dtype=np.float64)
