"""Figures of the Gram matrices of the class means, at the end and over time.

The identity for neural collapse, a strongly regular graph for the low-rank solution.
"""

from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.load import load_grams
from ncbench.records.runs import Dir, NoRecordsError, load_run_info, named_runs
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.records.storage import recorded_steps
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.scales import COSINES
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.settings import best_networks

MOST_SETTINGS, MOST_FRAMES = 3, 40
Row = tuple[
    str, dict[str, Values], dict[str, str]
]  # a label, a matrix for every layer, and what its geometry is called


@styled
def gram(dir: Dir) -> Plot:
    """Cosines of the class means (not centred) per layer and stage at the end, of the best replica.

    The best replica is the one with the lowest final loss; its number stands beside its matrices. The colour scale is
    that of all cosines, -1 to 1. A class mean that is zero has no cosines (grey). At most three settings are drawn.
    Where the run has recorded the geometry of these class means (`ncbench.core.classify_geometry`), its name and its
    residual stand above the matrix, with the word centred where it is that of the centred means and not of the cosines
    that are shown.
    """
    settings, infos = find_settings(dir), load_run_info(dir)
    frame = with_setting(load_grams(dir, steps="last"), settings)
    if frame.empty:
        raise NoRecordsError("no Gram matrices recorded yet")
    best = best_networks(dir)
    present = sorted(frame["setting"].unique())
    shown = present[:MOST_SETTINGS]
    rows = []
    for code in shown:
        of_setting = frame[frame["setting"] == code]
        number = best.get(code, int(of_setting["network"].min()))
        label = wrapped(settings[code].label, 20)
        chosen = of_setting[of_setting["network"] == number]
        rows += _rows(chosen, f"{label}\n{settings[code].name_of(number)}, step ", _geometry(chosen, infos))
    if not rows:
        raise NoRecordsError("no Gram matrices recorded for the best replica")
    figure = _draw(rows, list(frame["layer"].cat.categories))
    note_missing(figure, [settings[code].values for code in present[MOST_SETTINGS:]])
    return figure


@styled
def gram_frames(dir: Dir) -> list[tuple[int, Plot]]:
    """The matrices of `gram` at the recorded steps, ascending, for the best replica of the first setting.

    Of more than 40 steps 40 are drawn, the first and the last among them, equally far from each other in their order.

    Returns pairs of step and figure; all figures have one size, one arrangement and one colour scale, so that they
    can be shown in turn. Raises NoRecordsError where no Gram matrix is recorded.
    """
    settings, code, number, recorded = _first(dir)
    places = np.linspace(0, len(recorded) - 1, min(len(recorded), MOST_FRAMES)).round().astype(int)
    frame = with_setting(load_grams(dir, steps=[recorded[place] for place in places]), settings)
    frame = frame[frame["setting"] == code]
    frame = frame[frame["network"] == number]
    if frame.empty:
        raise NoRecordsError("no Gram matrices recorded for the best replica")
    frames = {
        step: _rows(frame[frame["step"] == step], f"{settings[code].name_of(number)}, step ")
        for step in sorted(map(int, frame["step"].unique()))
    }
    order = list(frame["layer"].cat.categories)
    return [(step, _draw(rows, order, "none")) for step, rows in frames.items()]


def gram_steps(dir: Dir) -> list[int]:
    """The steps at which the network of `gram_frames` has Gram matrices, ascending."""
    return _first(dir)[-1]


def _first(dir: Dir) -> tuple[list[Setting], int, int, list[int]]:
    """All settings, which is the first that has Gram matrices, its best network, and the steps of that one's run."""
    settings = find_settings(dir)
    frame = with_setting(load_grams(dir, steps="last"), settings)
    if frame.empty:
        raise NoRecordsError("no Gram matrices recorded yet")
    code = int(frame["setting"].min())
    # Without a loss none is the best.
    number = best_networks(dir).get(code, int(frame[frame["setting"] == code]["network"].min()))
    return settings, code, number, recorded_steps(named_runs(dir)[settings[code].networks[number].run], "grams")


def _geometry(frame: pd.DataFrame, infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """By "layer.stage" what run.json calls the class means of this replica at this step; empty without that."""
    if frame.empty:
        return {}
    first = frame.iloc[0]
    recorded = infos[str(first["run"])].get("geometry") or {}
    same = (recorded.get("replica"), recorded.get("step")) == (int(first["replica"]), int(first["step"]))
    return recorded.get("of") or {} if same else {}


def _rows(frame: pd.DataFrame, head: str, geometry: dict[str, Any] | None = None) -> list[Row]:
    """The matrices of one replica at one step: a row before the activation and one after it."""
    rows = []
    for stage in ("pre", "post"):
        part = frame[frame["stage"] == stage].sort_values("layer")
        if len(part):
            label = f"{head}{part['step'].iloc[0]}\n{stage}-activation"
            matrices = dict(zip(part["layer"], map(cosines, part["gram"]), strict=True))
            named = {layer: (geometry or {}).get(f"{layer}.{stage}") for layer in matrices}
            texts = {x: _named(g) for x, g in named.items() if g}
            rows.append((label, matrices, texts))
    return rows


def _named(geometry: dict[str, Any]) -> str:
    """The name and the residual of a geometry, and that it is of the centred means where it is."""
    of = "centred, " if geometry["centred"] else ""
    return f"{geometry['name'].replace('_', ' ')}\n({of}error {geometry['residual']:.2g})"


def _draw(rows: list[Row], order: list[str], interpolation: str = "nearest") -> Plot:
    layers = [layer for layer in order if any(layer in matrices for _, matrices, _ in rows)]
    figure, axes = panels(len(rows), len(layers), 1.75, 1.75)
    for row, (label, matrices, texts) in zip(axes, rows, strict=True):
        for ax, layer in zip(row, layers, strict=True):
            present = layer in matrices
            ax.set(xticks=[], yticks=[], facecolor="#B0B0B0" if present else "none")
            ax.grid(visible=False)
            ax.spines[:].set_visible(present)
            if present:
                image = ax.imshow(matrices[layer], interpolation=interpolation, **COSINES)
                ax.set_title("\n".join([literal(layer), *([texts[layer]] if layer in texts else [])]), fontsize=8)
        row[0].set_ylabel(label, fontsize=8)
    figure.colorbar(image, ax=axes, label="cosine of class means", shrink=min(0.8, 3 / len(rows)), aspect=20)
    return figure


def cosines(gram: Values) -> Values:
    """Cosines G_ij / sqrt(G_ii G_jj) of a K x K Gram matrix; NaN in the row and column of a zero or infinite vector.

    >>> cosines(np.array([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    length = np.sqrt(np.clip(np.diag(gram).astype(float), 0.0, None))
    length[(length == 0) | ~np.isfinite(length)] = np.nan
    cosine: Values = np.clip(gram / np.outer(length, length), -1.0, 1.0)
    return cosine
