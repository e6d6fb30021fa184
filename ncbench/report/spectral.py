"""Figure of the singular values per layer at the end of training."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ncbench.report import style
from ncbench.report.cells import find_cells, quartiles, with_cell
from ncbench.report.load import layer_key, load_spectra
from ncbench.report.runs import Dir
from ncbench.report.style import NoRecordsError, Plot, panels, styled

STAGES = {"pre": "class means, pre-activation", "post": "class means, post-activation", "weight": "weights"}
MOST_INDICES = 24


@styled
def spectra(dir: Dir, log: bool = False) -> Plot:
    """Singular values per layer at the end, divided by the largest: median, quartiles and range over replicas.

    One column each for the class means before and after the activation and for the weights; with `log` on
    a logarithmic axis that also shows the threshold 1e-2 of the numerical rank. At most six cells are
    drawn, and two values more than there are class means, at most 24.
    """
    cells = find_cells(dir)
    frame = with_cell(load_spectra(dir, steps="last"), cells)
    if frame.empty:
        raise NoRecordsError("no singular values recorded yet")
    shown = sorted(frame["cell"].unique())[: style.MAX_PANELS]
    table = _relative(frame[frame["cell"].isin(shown)])
    layers = sorted(table["layer"].unique(), key=lambda name: layer_key(name))
    tints = dict(zip(layers, style.colours(len(layers))))
    figure, axes = panels(len(shown), len(STAGES), 3.3, 3.1 if len(shown) == 1 else 2.5)
    for row, cell in enumerate(shown):
        for ax, (stage, title) in zip(axes[row], STAGES.items()):
            part = table[(table["cell"] == cell) & (table["stage"] == stage)]
            _spectrum_panel(ax, part, tints, log)
            ax.set_title(title if row == 0 else "")
            if row == len(shown) - 1:
                ax.set_xlabel("index i")
        axes[row, 0].set_ylabel(_row_label(cells[cell].label, len(shown)))
    handles = [
        Line2D([], [], color=tints[layer], marker="o", ms=4, ls="", label=style.literal(layer)) for layer in layers
    ]
    figure.legend(handles=handles, loc="outside right upper")
    style.note_missing(figure, frame["cell"].nunique() - len(shown))
    return figure


def _relative(frame: pd.DataFrame) -> pd.DataFrame:
    """Quartiles of sigma_i / sigma_1 per cell, layer, stage and index; NaN for a zero matrix."""
    matrix = ["cell", "layer", "stage", "replica"]
    largest = frame.groupby(matrix, observed=True)["singular_value"].transform("max")
    value = frame["singular_value"] / largest.where(largest > 0)
    means = frame[frame["stage"] != "weight"]["index"]
    most = min(MOST_INDICES, means.max() + 3) if len(means) else MOST_INDICES
    frame = frame.assign(value=value)[frame["index"] < most]
    return quartiles(frame, ["cell", "layer", "stage", "index"])


def _spectrum_panel(ax: Axes, table: pd.DataFrame, tints: dict[str, Any], log: bool) -> None:
    present = [layer for layer in tints if (table["layer"] == layer).any()]
    for place, layer in enumerate(present):
        part = table[table["layer"] == layer]
        shift = (place - (len(present) - 1) / 2) * 0.7 / len(present)
        index = part["index"].to_numpy(dtype=float) + 1 + shift
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


def _row_label(label: str, rows: int) -> str:
    return "σ_i / σ_1" if rows == 1 else f"{style.wrapped(label)}\nσ_i / σ_1"
