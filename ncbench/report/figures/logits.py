"""Figure of the mean logits as matrices: Figure 1 of arXiv 2410.23169.

Letters: M the K x K mean logits, whose column c is the mean output for class c; K the number of classes.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ncbench.records.layers import head_number
from ncbench.records.load import load_final, load_means
from ncbench.records.runs import Dir, NoRecordsError, UndefinedError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.end_states import STATIONARY
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.selectors import head_depths, output_rows
from ncbench.report.settings import end_points, load_setting_references

MOST_SETTINGS = 3
MOST_TICKS = 20
NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution
SAME = 1e-2  # of the largest entry: entries that differ by less are drawn as equal and order nothing


@dataclass(frozen=True)
class _Panel:
    title: str
    M: Values


@styled
def logits(dir: Dir) -> Plot:
    """Mean logits M (column: class, row: output) at the end: of the best replica, and of that nearest to DNC.

    The best has the lowest final loss; where the setting has a DNC line, the replica nearest to it that is within 1 %
    of it stands beside, unless the best is so too. Classes whose logits depend on one another most are neighbours
    (`class_order`), each panel by itself; the ticks are the classes. At most three settings, evenly spread over all,
    on one colour scale, symmetric about 0. The title says the loss, the numerical rank of M (sigma_i > 1e-2 sigma_1)
    and, where gradients are recorded and it has not converged, that.

    Raises NoRecordsError where no class means of an output with K values are recorded at the step of the final loss,
    UndefinedError where they are not finite.
    """
    settings = find_settings(dir)
    means = _square_outputs(with_setting(load_means(dir, steps="last"), settings))
    if means.empty:
        raise NoRecordsError("no class means of the logits recorded")
    ends = _ends(dir)
    both = means[["setting", "network", "step"]].astype(int).merge(ends[["setting", "network", "step"]])
    shown = sorted(both["setting"].unique())
    if not shown:  # the class means are recorded first and last, the loss in between too
        raise NoRecordsError("no class means of the logits recorded where the loss was last: training has not ended")
    lines = load_setting_references(dir, settings)
    rows = []
    drawn_codes = style.spread(shown, MOST_SETTINGS)
    for code in drawn_codes:
        of_setting = means[means["setting"] == code]
        matrices = dict(zip(of_setting["network"], of_setting["mean"], strict=True))
        ended = both[both["setting"] == code].merge(ends, on=["setting", "network", "step"]).to_dict("records")
        rows.append(
            (wrapped(settings[code].label, 20), _chosen(settings[code], ended, matrices, lines[code].get("dnc")))
        )
    drawn = [panel.M for _, of_row in rows for panel in of_row]
    if not all(np.isfinite(M).all() for M in drawn):
        raise UndefinedError("the mean logits of the best replica are not finite")
    figure = _draw(rows, max(float(np.abs(M).max()) for M in drawn) or 1.0)
    note_missing(figure, [settings[code].values for code in shown if code not in drawn_codes])
    return figure


def class_order(M: Values) -> list[int]:
    """An order of the classes in which blocks of M are visible: leaves of an average linkage of |M + M^T| / 2.

    Two classes are near where their off-diagonal entry is large in size, as inside a pair or a block; between blocks it
    is small. Where all entries are alike, as for DNC, and for fewer than three classes the order is that of the labels.

    >>> class_order(np.array([[1.0, 0, -1, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1]]))[:2]
    [0, 2]
    """
    K = len(M)
    near = np.abs(M + M.T) / 2
    near[np.diag_indices(K)] = 0
    top = near.max()
    off = near[~np.eye(K, dtype=bool)]
    if K < 3 or top == 0 or off.min() > (1 - SAME) * top:
        return list(range(K))
    distance = np.round(1 - near / top, 3)  # equal but for rounding errors: the labels decide
    distance[np.diag_indices(K)] = 0
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


def _square_outputs(means: pd.DataFrame) -> pd.DataFrame:
    """The rows of the output of each setting, head.L, where it has as many values as there are classes."""
    numbers = means["layer"].map({layer: head_number(str(layer)) for layer in means["layer"].cat.categories})
    last = numbers.astype(float) == head_depths(means)
    square = np.array([M.shape[0] == M.shape[1] for M in means["mean"]], dtype=bool)
    return means[last & square & (means["stage"] == "pre")]


def _ends(dir: Dir) -> pd.DataFrame:
    """Where every replica with a finite loss ended: setting, network, step, loss, gradient, rank (NaN: none)."""
    ends = end_points(dir)
    ranks = output_rows(with_setting(load_final(dir), find_settings(dir)), "rank")
    ranks = ranks[["setting", "network", "value"]].rename(columns={"value": "rank"})
    ends = ends[np.isfinite(ends["loss"])]
    found: pd.DataFrame = ends.merge(
        ranks.drop_duplicates(["setting", "network"]), on=["setting", "network"], how="left"
    )
    return found


def _chosen(
    setting: Setting, ends: list[dict[Hashable, Any]], matrices: Mapping[int, Values], dnc: float | None
) -> list[_Panel]:
    best = min(ends, key=lambda end: end["loss"])
    chosen = {"lowest loss": best}
    if dnc is not None and np.isfinite(dnc) and abs(best["loss"] / dnc - 1) > NEAR:
        nearest = min(ends, key=lambda end: abs(end["loss"] - dnc))
        if abs(nearest["loss"] / dnc - 1) <= NEAR:
            chosen[f"nearest to DNC ({dnc:.6g})"] = nearest
    found = []
    for name, end in chosen.items():
        rank = "" if np.isnan(end["rank"]) else f", rank {end['rank']:.0f}"
        moving = ", not converged" if end["gradient"] > STATIONARY else ""
        title = f"{name}: {setting.name_of(end['network'])}\nloss {end['loss']:.6g}{rank}{moving}"
        found.append(_Panel(title, np.asarray(matrices[end["network"]], dtype=np.float64).T))
    return found


def _draw(rows: list[tuple[str, list[_Panel]]], top: float) -> Plot:
    columns = max(len(of_row) for _, of_row in rows)
    beside = columns == 1  # one panel each: side by side
    figure, axes = panels(1 if beside else len(rows), len(rows) if beside else columns, 3.3, 3.5)
    axes = axes.T if beside else axes
    image: Any = None
    for (label, of_row), row in zip(rows, axes, strict=True):
        for ax in row[len(of_row) :]:
            ax.set_axis_off()
        for ax, panel in zip(row, of_row, strict=False):
            order = class_order(panel.M)
            image = ax.imshow(
                panel.M[np.ix_(order, order)], cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest"
            )
            places = range(0, len(order), -(-len(order) // MOST_TICKS))
            names = [str(order[place]) for place in places]
            ax.set_xticks(places, names, fontsize=7)
            ax.set_yticks(places, names, fontsize=7)
            ax.grid(visible=False)
            ax.set_title(literal(panel.title), fontsize=8)
            ax.set_xlabel("class")
        row[0].set_ylabel(f"{label}\noutput" if len(rows) > 1 else "output")
    figure.colorbar(image, ax=axes, label="mean logit", shrink=0.8)
    return figure
