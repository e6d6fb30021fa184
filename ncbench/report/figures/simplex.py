"""Figure of the class means of three or four classes, beside the simplex that they collapse to.

Legend: K classes; G (K x K) the Gram matrix of the class means, C = I - 11^T/K; X (K x K-1) coordinates of the centred
class means, S (K x K-1) the vertices of a regular simplex.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ncbench.records.load import load_grams
from ncbench.records.runs import Dir, NoRecordsError, UndefinedError
from ncbench.records.settings import find_settings, with_setting
from ncbench.records.small_files import BadRecordsError
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, Values, styled
from ncbench.report.settings import best_networks

MOST_SETTINGS, MOST_LAYERS = 3, 4
GREY = "#6B6B6B"
COINCIDE = 1e-6  # of the energy of all means: what is left of it is the rounding of the recorded matrices
VERTICES: dict[int, Values] = {
    3: np.array([[0.0, 1.0], [-np.sqrt(0.75), -0.5], [np.sqrt(0.75), -0.5]]),
    4: np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]) / np.sqrt(3),
}


@dataclass(frozen=True)
class _Panel:
    """The class means of one layer at the last and, where that is another one, the first recorded step."""

    layer: str
    last: Values
    first: Values | None


@styled
def simplex(dir: Dir, layers: Iterable[str] | None = None, classes: Sequence[int] | None = None) -> Plot:
    """Class means of K = 3 or 4 classes in the plane or the space that they span, of the best replica.

    They are centred, divided by the root mean square of their norms and turned or reflected to lie as near as possible
    to the vertices of a regular simplex (dashed). K centred vectors span no more than K - 1 dimensions, so nothing of
    their geometry is lost; the number above is their distance, || X - S ||_F / sqrt(K): 0 for a simplex ETF.
    Filled: at the end, hollow: at the first recorded step. Of a layer with an activation they are those behind it.

    Args:
        dir: runs with Gram matrices.
        layers: names; by default four of those that are recorded, from the first to the last.
        classes: three or four of the classes, which are centred by themselves; by default all, which have to be so few.

    At most three settings are drawn, of one number of classes: of those with other classes, as of those beyond three, a
    line below says that they are left out. A layer that a setting has not measured stays empty. Raises NoRecordsError
    where no Gram matrix is recorded or there are other numbers of classes, UndefinedError where the class means of
    every layer coincide, ValueError for unknown `layers` or `classes`.
    """
    settings = find_settings(dir)
    frame = with_setting(load_grams(dir), settings)
    if frame.empty:
        raise NoRecordsError("no Gram matrices recorded yet")
    best = best_networks(dir)
    numbers = frame.groupby("setting")["network"].min().to_dict() | best
    frame = frame[frame["network"] == frame["setting"].map(numbers)]
    largest = frame.groupby("setting")["size"].max()
    sizes = dict(zip(largest.index.tolist(), largest.tolist(), strict=True))
    chosen = _classes(list(sizes.values()), classes)
    drawn = [code for code, size in sorted(sizes.items()) if _has(size, chosen, classes)][:MOST_SETTINGS]
    frame = frame[frame["setting"].isin(drawn)]
    names = _layers(frame, layers)
    rows = {code: _panels(frame[frame["setting"] == code], names, chosen) for code in drawn}
    panels = [panel for of_setting in rows.values() for panel in of_setting if panel is not None]
    if all(np.isnan(panel.last).any() for panel in panels):
        raise UndefinedError("the class means of every layer coincide")
    height = 2.7 * len(rows) + 0.7
    # Axes of equal scales are moved after the layout has made room for their titles, by less than the 0.2 inches here.
    room = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.2 / height))
    figure = Plot(figsize=(2.5 * len(names), height), layout=room)
    look: dict[str, Any] = {"projection": "3d"} if len(chosen) == 4 else {}
    axes = figure.subplots(len(rows), len(names), squeeze=False, subplot_kw=look)
    every = [points for panel in panels for points in (panel.last, panel.first)]
    reach = 1.05 * max([1.0, *(float(np.nanmax(np.abs(X), initial=0.0)) for X in every if X is not None)])
    for row, (code, of_setting) in zip(axes, rows.items(), strict=True):
        for ax, panel in zip(row, of_setting, strict=True):
            if panel is None:
                ax.set_axis_off()
            else:
                _draw(ax, panel, chosen, reach)
        if len(sizes) > 1:
            row[0].set_title(f"{wrapped(settings[code].label, 24)}\n{row[0].get_title()}", fontsize=8)
    figure.legend(handles=_legend(chosen), loc="outside lower center", ncols=3)
    note_missing(figure, [settings[code].values for code in sorted(sizes) if code not in drawn])
    return figure


def coordinates(gram: Values) -> Values:
    """X (K x K-1) of a Gram matrix (K x K), K = 3 or 4: centred, root mean square norm 1, turned towards the simplex.

    X X^T = C G C / (tr(C G C) / K), and || X - S ||_F is the least that any orthogonal matrix makes of it. NaN where
    the class means coincide or are not finite.

    >>> (np.round(coordinates(2 * np.eye(3) + 7), 6) + 0.0).tolist()  # a frame and a common part
    [[0.0, 1.0], [-0.866025, -0.5], [0.866025, -0.5]]
    """
    K = len(gram)
    S = VERTICES[K]
    if not np.isfinite(gram).all():
        return np.full_like(S, np.nan)
    C = np.eye(K) - 1 / K
    centred = C @ np.asarray(gram, dtype=float) @ C
    energy = float(np.trace(centred))
    if energy <= COINCIDE * float(np.trace(gram)):
        return np.full_like(S, np.nan)
    values, vectors = np.linalg.eigh(centred * (K / energy))
    X = vectors[:, 1:] * np.sqrt(np.clip(values[1:], 0.0, None))  # the least eigenvalue is that of 1
    U, _, V = np.linalg.svd(X.T @ S)
    turned: Values = X @ U @ V
    return turned


def distance(X: Values) -> float:
    """|| X - S ||_F / sqrt(K) of coordinates that `coordinates` has turned."""
    return float(np.linalg.norm(X - VERTICES[len(X)]) / np.sqrt(len(X)))


def _classes(sizes: Sequence[int], asked: Sequence[int] | None) -> list[int]:
    """The classes to be drawn, of settings with so many: without a choice all of the number that most settings have."""
    recorded = max(sizes)
    if asked is None:
        few = [size for size in sizes if size in VERTICES]
        if not few:
            raise NoRecordsError(
                f"{recorded} classes fit into no picture: classes=[0, 1, 2] draws three or four of them"
            )
        return list(range(max(few, key=lambda size: (few.count(size), size))))
    chosen = list(dict.fromkeys(asked))
    if len(chosen) not in VERTICES or not all(0 <= number < recorded for number in chosen):
        raise BadRecordsError(f"classes={list(asked)} must be three or four of the classes 0 to {recorded - 1}")
    return chosen


def _has(size: int, chosen: Sequence[int], asked: Sequence[int] | None) -> bool:
    return size == len(chosen) if asked is None else size > max(chosen)


def _layers(frame: pd.DataFrame, asked: Iterable[str] | None) -> list[str]:
    recorded = [str(layer) for layer in frame["layer"].cat.categories if (frame["layer"] == layer).any()]
    if asked is None:
        return list(style.spread(recorded, MOST_LAYERS))
    names = [asked] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in recorded]
    if unknown or not names:
        raise BadRecordsError(f"layers={', '.join(unknown) or names}: recorded are {', '.join(recorded)}")
    return names


def _panels(frame: pd.DataFrame, names: list[str], classes: list[int]) -> list[_Panel | None]:
    """A panel for each layer; None for one that was not measured."""
    panels: list[_Panel | None] = []
    for name in names:
        rows = frame[frame["layer"] == name]
        if rows.empty:
            panels.append(None)
            continue
        rows = rows[rows["stage"] == ("post" if (rows["stage"] == "post").any() else "pre")].sort_values("step")
        found = [coordinates(np.asarray(gram)[np.ix_(classes, classes)]) for gram in rows["gram"].iloc[[0, -1]]]
        panels.append(_Panel(name, found[1], found[0] if rows["step"].nunique() > 1 else None))
    return panels


def _draw(ax: Any, panel: _Panel, classes: list[int], reach: float) -> None:
    S, origin = VERTICES[len(classes)], np.zeros(len(classes) - 1)
    for place, vertex in enumerate(S):
        for other in S[place + 1 :]:
            ax.plot(*np.stack([vertex, other]).T, color=GREY, ls="--", lw=0.7)
        ax.plot(*np.stack([origin, vertex]).T, color=GREY, ls="--", lw=0.7)
    tints = style.PALETTE[: len(classes)]
    if panel.first is not None:
        for point, tint in zip(panel.first, tints, strict=True):
            ax.plot(*point[:, None], color=tint, marker="o", ms=5, mfc="none", ls="")
    for point, tint in zip(panel.last, tints, strict=True):
        ax.plot(*np.stack([origin, point]).T, color=tint, lw=1.6)
        ax.plot(*point[:, None], color=tint, marker="o", ms=6, ls="")
    undefined = bool(np.isnan(panel.last).any())
    told = "the class means coincide" if undefined else f"distance {distance(panel.last):.2g}"
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    if len(classes) == 4:
        ax.set_zlim(-reach, reach)
        ax.view_init(elev=12, azim=22)  # no vertex behind another
        ax.set_box_aspect((1, 1, 1), zoom=1.5)
    else:
        ax.set_aspect("equal")
    ax.set_title(f"{literal(panel.layer)}\n{told}", fontsize=8, y=0.95 if len(classes) == 4 else None)
    ax.set_axis_off()


def _legend(classes: list[int]) -> list[Line2D]:
    look: dict[str, Any] = {"ls": "", "marker": "o", "ms": 6}
    of_classes = [
        Line2D([], [], color=tint, label=f"class {number}", **look)
        for number, tint in zip(classes, style.PALETTE, strict=False)
    ]
    return [
        *of_classes,
        Line2D([], [], color=GREY, mfc="none", label="at the first step", **look),
        Line2D([], [], color=GREY, ls="--", lw=0.7, label="regular simplex"),
    ]
