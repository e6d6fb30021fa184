"""Figure of the class means themselves: which neuron answers to which class."""

from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.layers import head_number
from ncbench.records.load import load_means
from ncbench.records.runs import Dir, NoRecordsError, UndefinedError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.settings import best_networks

MOST_SETTINGS = 3
MOST_NEURONS = 40
SMALL = 1e-2  # a neuron whose largest mean is below this part of the layer's largest is not drawn


@styled
def means(dir: Dir) -> Plot:
    """Class means M_l (neurons x classes) per layer at the end, of the best replica of at most three settings.

    The best replica is that with the lowest final loss. Before the activation head.1 ... head.L-1, after it the last
    of them, whose rank the ReLU raises. Neurons that are silent for every class are left out, the others are ordered
    by the classes that they answer to; every panel has a scale of its own, symmetric about 0.
    """
    settings = find_settings(dir)
    frame = with_setting(load_means(dir, steps="last"), settings)
    if frame.empty:
        raise NoRecordsError("no class means recorded yet")
    best = best_networks(dir)
    rows = []
    present = sorted(frame["setting"].unique())
    for code in present[:MOST_SETTINGS]:
        number = best.get(code, 0)
        matrices = _panels(frame[(frame["setting"] == code) & (frame["network"] == number)])
        if matrices:
            rows.append((f"{wrapped(settings[code].label, 20)}\n{settings[code].name_of(number)}", matrices))
    if not rows:
        raise NoRecordsError("no class means of a head with hidden layers recorded")
    if not all(np.isfinite(M).all() for _, matrices in rows for M in matrices.values()):
        raise UndefinedError("the class means of the best replica are not finite")
    figure = _draw(rows)
    note_missing(figure, [settings[code].values for code in present[MOST_SETTINGS:]])
    return figure


def _panels(frame: pd.DataFrame) -> dict[str, Values]:
    """Matrices neurons x classes by their title, from head.1 to the last activation."""
    hidden = frame[(frame["stage"] == "post") & frame["layer"].map(head_number).notna()].sort_values("layer")
    if hidden.empty:
        return {}
    before = frame[(frame["stage"] == "pre") & frame["layer"].isin(hidden["layer"])].sort_values("layer")
    chosen = [*before.itertuples(), *hidden.tail(1).itertuples()]
    return {f"{row.layer}.{row.stage}": arranged(np.asarray(row.mean).T) for row in chosen}


def arranged(M: Values) -> Values:
    """The neurons (rows) that answer to some class, ordered by the pattern of classes, strongest first.

    >>> arranged(np.array([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]])).tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """
    size = np.abs(M).max(axis=1)
    answering = M[size > SMALL * max(size.max(), np.finfo(float).tiny)][:MOST_NEURONS]
    if not len(answering):
        return M[:1]
    active = np.abs(answering) > SMALL * np.abs(answering).max()
    order = np.lexsort([*(-np.abs(answering).max(axis=1))[None], *(~active.T)[::-1]])
    return np.asarray(answering[order])


def _draw(rows: list[tuple[str, dict[str, Values]]]) -> Plot:
    titles = list(dict.fromkeys(title for _, matrices in rows for title in matrices))
    figure, axes = panels(len(rows), len(titles), 1.9, 2.4)
    for row, (label, matrices) in zip(axes, rows, strict=True):
        for ax, title in zip(row, titles, strict=True):
            ax.grid(visible=False)
            _panel(ax, matrices.get(title), title)
        row[0].set_ylabel(f"{label}\nneurons", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("classes")
    return figure


def _panel(ax: Any, M: Values | None, title: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(M is not None)
    if M is None:
        return
    top = float(np.abs(M).max()) or 1.0
    ax.imshow(M, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-top, vmax=top)
    ax.set_title(f"{literal(title)}\n±{top:.2g}", fontsize=8)
