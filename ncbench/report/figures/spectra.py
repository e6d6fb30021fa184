"""Figure of the singular values per layer at the end of training."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.records.layers import layer_key
from ncbench.records.load import load_references, load_spectra
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import require_finite
from ncbench.report.settings import best_networks, quartiles, references_of

STAGES = {"pre": "class means, pre-activation", "post": "class means, post-activation", "weight": "weights"}
MOST_INDICES = 24
RATIO = r"$\sigma_i / \sigma_1$"
# Open, so that the measured dot shows inside; DNC comes first among the theory lines.
PREDICTED = [
    {"marker": marker, "ms": size, "mec": colour, "mfc": "none", "mew": width}
    for (colour, _), (marker, size, width) in zip(
        style.REFERENCE_STYLES, (("s", 4.2, 0.6), ("D", 5.2, 1.0), ("^", 5.2, 0.8), ("p", 5.2, 0.8)), strict=True
    )
]
BEST_LOOK = {"marker": "_", "ms": 6, "mew": 1.1, "color": "black"}
BEST = "replica with the lowest loss"


@styled
def spectra(dir: Dir, log: bool = False) -> Plot:
    """Singular values per layer at the end, divided by the largest: median, quartiles and range over replicas.

    Small ticks are the replica with the lowest loss, open markers what the theory predicts for the solutions
    whose losses are the run's theory lines. One column each for the class means before and after the
    activation and for the weights; with `log` on a logarithmic axis that also shows the threshold 1e-2 of the
    numerical rank. At most six settings are drawn, and two values more than there are class means, at most 24.
    """
    settings = find_settings(dir)
    frame = with_setting(load_spectra(dir, steps="last"), settings)
    if frame.empty:
        raise NoRecordsError("no singular values recorded yet")
    require_finite(frame["singular_value"], "the spectrum")
    frame["singular_value"] = frame["singular_value"].where(np.isfinite(frame["singular_value"]))
    present = sorted(frame["setting"].unique())
    shown = present[: style.MAX_PANELS]
    frame = frame[frame["setting"].isin(shown)]
    means = frame[frame["stage"] != "weight"]["index"]
    most = min(MOST_INDICES, int(means.max()) + 3) if len(means) else MOST_INDICES
    table = _relative(frame, most)
    layers = sorted(table["layer"].unique(), key=lambda name: layer_key(name))
    tints = dict(zip(layers, style.colours(len(layers)), strict=True))
    best = _of_best(frame, best_networks(dir)) if frame.groupby("setting")["network"].nunique().max() > 1 else {}
    predicted = _predictions(dir, [settings[code] for code in shown])
    names = dict.fromkeys(name for lines in predicted for name in lines)
    looks: dict[str, dict[str, Any]] = dict(zip(names, itertools.cycle(PREDICTED))) | {BEST: BEST_LOOK}
    figure, axes = panels(len(shown), len(STAGES), 3.6, 3.6 if len(shown) == 1 else 2.5)
    for row, code in enumerate(shown):
        for ax, (stage, title) in zip(axes[row], STAGES.items(), strict=True):
            part = table[(table["setting"] == code) & (table["stage"] == stage)]
            for layer, shift in _spectrum_panel(ax, part, tints, log).items():
                key = f"{layer}.{stage}"
                marks = [(lines[key], name) for name, lines in predicted[row].items() if key in lines]
                marks += [(best[code, key], BEST)] if (code, key) in best else []
                for values, name in marks:
                    _markers(ax, values[:most], shift, name, looks[name], log)
            ax.set_title(title if row == 0 else "")
            if row == len(shown) - 1:
                ax.set_xlabel("index i")
        axes[row, 0].set_ylabel(_row_label(settings[code].label, len(shown)))
    handles = [Line2D([], [], color=tints[layer], marker="o", ms=4, ls="", label=literal(layer)) for layer in layers]
    drawn = {line.get_label(): line for ax in axes.flat for line in ax.lines}
    handles += [drawn[label] for label in map(literal, looks) if label in drawn]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 8), handletextpad=0.2)
    note_missing(figure, [settings[code].values for code in present[style.MAX_PANELS :]])
    return figure


def _relative(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """Quartiles of sigma_i / sigma_1 per setting, layer, stage and index; NaN for a zero matrix."""
    matrix = ["setting", "layer", "stage", "network"]
    largest = frame.groupby(matrix, observed=True)["singular_value"].transform("max")
    value = frame["singular_value"] / largest.where(largest > 0)
    frame = frame.assign(value=value)[frame["index"] < most]
    return quartiles(frame, ["setting", "layer", "stage", "index"])


def _spectrum_panel(ax: Axes, table: pd.DataFrame, tints: dict[str, Any], log: bool) -> dict[str, float]:
    """Draws the measured values; returns where each layer stands beside the whole-numbered index."""
    places: dict[str, float] = {}
    present = [layer for layer in tints if (table["layer"] == layer).any()]
    for place, layer in enumerate(present):
        part = table[table["layer"] == layer]
        places[layer] = (place - (len(present) - 1) / 2) * 0.8 / len(present)
        index = part["index"].to_numpy(dtype=float) + 1 + places[layer]
        for low, high, width, strength in (("min", "max", 0.7, 0.45), ("q25", "q75", 2.4, 0.5)):
            ax.vlines(index, part[low], part[high], color=tints[layer], lw=width, alpha=strength)
        ax.plot(index, part["median"], color=tints[layer], marker="o", ms=3.2, ls="", label=layer)
    ax.grid(visible=False, axis="x")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        ax.set_yscale("log")
        ax.set_ylim(1e-6, 1.5)
        ax.axhline(1e-2, color="black", lw=0.9, ls=":")
    else:
        ax.set_ylim(-0.04, 1.06)
    if not present:
        ax.text(0.5, 0.5, "none recorded", ha="center", transform=ax.transAxes, color="#6B6B6B")
    return places


def _markers(ax: Axes, values: list[float], shift: float, name: str, look: dict[str, Any], log: bool) -> None:
    """Values from index 1 on; zeros have no place on a logarithmic axis."""
    index, value = np.arange(1, len(values) + 1) + shift, np.array(values, dtype=float)
    drawable = value > 0 if log else np.ones(len(value), dtype=bool)
    ax.plot(index[drawable], value[drawable], ls="", label=literal(name), **look)


def _predictions(dir: Dir, settings: list[Setting]) -> list[dict[str, dict[str, list[float]]]]:
    """For each setting the predicted sigma_i / sigma_1: "SRG (predicted)" -> stage ("head.2.pre") -> values."""
    frame = load_references(dir)
    frame = frame[frame["measure"] == "spectra"]
    predictions = []
    for rows in (references_of(frame, setting) for setting in settings):
        named = zip(rows["name"], rows["values"], strict=True)
        predictions.append({f"{name.upper()} (predicted)": dict(values) for name, values in named})
    return predictions


def _of_best(frame: pd.DataFrame, best: dict[int, int]) -> dict[tuple[int, str], list[float]]:
    """sigma_i / sigma_1 of the best replica, by code of the setting and by stage; a zero matrix has none."""
    frame = frame[frame["network"] == frame["setting"].map(best)].sort_values("index")
    relative: dict[tuple[int, str], list[float]] = {}
    for (code, layer, stage), part in frame.groupby(["setting", "layer", "stage"], observed=True)["singular_value"]:
        values = part.to_numpy()
        if values[0] > 0:
            relative[int(str(code)), f"{layer}.{stage}"] = list(values / values[0])
    return relative


def _row_label(label: str, rows: int) -> str:
    return RATIO if rows == 1 else f"{wrapped(label)}\n{RATIO}"
