"""Figure of where low rank beats deep neural collapse: a theorem's region as training finds it.

Letters: K classes, L weight matrices; rows of the map are pairs of them, its axis is the decay.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final, load_spectra
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.records.small_files import BadRecordsError
from ncbench.report.end_states import STATIONARY
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_together
from ncbench.report.figures.axis import edges
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.layout import taken_together
from ncbench.report.selectors import head_depths, num_classes, output_rows
from ncbench.report.settings import end_points, load_setting_references
from ncbench.report.statistics import crossings

DECAYS = ("decay", "weight_decay", "feature_decay")
ZERO = 1e-6  # logits with a smaller largest singular value (NaN where none is recorded: they are not)
TOLERANCE = 1e-7  # relative: closer losses than this are one
LOW_RANK, DNC, NOTHING_LOWER = "low rank beats DNC", "DNC beats low rank", "no low-rank end, nothing below DNC"
OTHER, UNDECIDED, MOVING = "below DNC, not of low rank", "undecided", "nothing has converged"
COLOURS = {
    LOW_RANK: style.VERMILLION,
    DNC: style.BLUE,
    NOTHING_LOWER: style.SKY,
    OTHER: style.PURPLE,
    UNDECIDED: "#909090",
    MOVING: "#D8D8D8",
}


@styled
def sign_map(dir: Dir, decay: str | None = None, tolerance: float = TOLERANCE, stationary: float = STATIONARY) -> Plot:
    """Sign of (best loss of low rank - DNC loss) over the decay, a row for each pair of K and L; crossings marked.

    The best loss of low rank is the lowest of the replicas at this K, L and decay, whatever else they differ in (seed,
    start), that have converged (`grad_max` <= `stationary`) with logits of numerical rank 1 ... K-2. DNC has rank K-1;
    the zero solution has none, whatever the rank of its rounding: a largest singular value below 1e-6. It is compared
    with the DNC line of the replicas' own decays; within `tolerance`, relative, it is undecided. Where no replica has
    low rank the cell says whether any is below DNC. Diamonds, with the decay beside them: where the ratio of the two
    losses passes 1, on a straight line in the logarithms of ratio and decay between neighbours
    (`statistics.crossings`).

    Args:
        dir: runs of several K or L, with swept or replicated decays.
        decay: the decay on the axis; by default the first of decay, weight_decay, feature_decay that varies.
        tolerance, stationary: see above.

    Raises NoRecordsError where no decay varies, no DNC line, rank of logits or gradient is recorded or there is only
    one pair of K and L; ValueError for a `decay` that is no positive number that varies.
    """
    table, name = _table(dir, decay)
    pairs = sorted({(int(K), int(L)) for K, L in zip(table["K"], table["L"], strict=True)})
    if len(pairs) < 2:
        raise NoRecordsError("only one pair of K and L; the map compares several")
    figure, axes = panels(1, 1, 6.2, 1.7 + 0.24 * len(pairs))
    ax, seen, crossed = axes[0, 0], set(), False
    colours = ListedColormap(list(COLOURS.values()))
    for row, (K, L) in enumerate(pairs):
        cells = _cells(table[(table["K"] == K) & (table["L"] == L)], tolerance, stationary)
        seen |= set(cells["state"])
        numbers = np.array([[list(COLOURS).index(state) for state in cells["state"]]], dtype=float)
        borders = edges(cells["decay"].to_numpy(dtype=float))
        look: dict[str, Any] = {"cmap": colours, "vmin": -0.5, "vmax": len(COLOURS) - 0.5}
        ax.pcolormesh(borders, [row - 0.46, row + 0.46], numbers, edgecolors="white", lw=0.4, **look)
        crossed |= _crossings(ax, row, cells)
    ax.set_xscale("log")
    ax.set_yticks(range(len(pairs)), [f"K = {K}, L = {L}" for K, L in pairs])
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.grid(visible=False)
    ax.set_xlabel(literal(name))
    handles: list[Any] = [Patch(color=colour, label=state) for state, colour in COLOURS.items() if state in seen]
    if crossed:
        handles.append(Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec="black", label="equal losses"))
    fitting = legend_columns(figure, [handle.get_label() for handle in handles], 2)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
    together = taken_together(find_settings(dir), table.groupby(["K", "L", "decay"])["setting"].unique())
    note_together(figure, together, legend)
    return figure


def _table(dir: Dir, decay: str | None) -> tuple[pd.DataFrame, str]:
    """One row per replica: K, L, decay, rank, singular_value (the largest), gradient, ratio (loss over DNC loss)."""
    settings = find_settings(dir)
    varying = [name for name in DECAYS if any(setting.values.get(name) is not None for setting in settings)]
    if decay is not None and not any(setting.values.get(decay) is not None for setting in settings):
        raise BadRecordsError(f"decay={decay!r} has to be a number that varies, one of {varying}")
    if decay is None and not varying:
        raise NoRecordsError("no decay varies")
    name = decay or varying[0]
    table, lines = end_points(dir), load_setting_references(dir, settings)
    table = table[[np.isfinite(lines[code].get("dnc", np.nan)) for code in table["setting"]]]
    if table.empty:
        raise NoRecordsError("no run with a DNC line")
    if table["gradient"].isna().all():
        raise NoRecordsError("no gradient (grad_max) recorded: nothing says which replicas have converged")
    frame = with_setting(load_final(dir), settings)
    frame = frame[frame["split"].isin(rows_of_split())]
    ranks = output_rows(frame, "rank").assign(L=head_depths(frame))
    ranks = ranks[["setting", "network", "value", "L"]].rename(columns={"value": "rank"})
    table = table.merge(ranks, on=["setting", "network"]).assign(K=lambda rows: rows["run"].map(num_classes(dir)))
    values = [settings[code].values.get(name) for code in table["setting"]]
    table["decay"] = pd.to_numeric(pd.Series(values, table.index, dtype=object), errors="coerce")
    spectra = with_setting(load_spectra(dir, "last", [0]), settings).assign(measure="spectra")
    largest = output_rows(spectra, "spectra")[["setting", "network", "singular_value"]]
    table = table.merge(largest, on=["setting", "network"], how="left")
    table["ratio"] = table["loss"] / np.array([lines[code]["dnc"] for code in table["setting"]], dtype=float)
    table = table[(table["decay"] > 0) & table["K"].notna()]
    if table.empty:
        raise NoRecordsError("no rank of the logits recorded at a decay above 0")
    return table, name


def _cells(table: pd.DataFrame, tolerance: float, stationary: float) -> pd.DataFrame:
    """By ascending decay of one pair of K and L: decay, state, ratio of the best low-rank loss (NaN: there is none)."""
    rows = []
    for decay, part in table.groupby("decay"):
        still = part[(part["gradient"] <= stationary) & np.isfinite(part["ratio"])]
        of_zero = (still["rank"] < 1) | (still["singular_value"] < ZERO)
        low = still[(still["rank"] < still["K"] - 1) & ~of_zero]
        best, any_best = low["ratio"].min(), still["ratio"].min()
        if still.empty:
            state = MOVING
        elif low.empty:
            state = OTHER if any_best < 1 - tolerance else NOTHING_LOWER
        elif abs(best - 1) <= tolerance:
            state = UNDECIDED
        else:
            state = LOW_RANK if best < 1 else DNC
        rows.append((decay, state, best))
    return pd.DataFrame(rows, columns=["decay", "state", "ratio"])


def _crossings(ax: Axes, row: int, cells: pd.DataFrame) -> bool:
    """Marks and prints the decays at which the ratio passes 1; whether there were any."""
    known = cells[cells["state"].isin((LOW_RANK, DNC))]
    found = crossings(list(known["decay"]), list(known["ratio"]), 1.0)
    ax.plot(found, [row] * len(found), ls="", marker="D", ms=5, mfc="white", mec="black", zorder=3)
    middle = np.sqrt(cells["decay"].min() * cells["decay"].max())
    for place in found:
        right = place < middle  # of the diamond, where there is more room
        ax.annotate(
            f"{place:.4g}",
            (place, row),
            (6 if right else -6, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=7,
            color="white",
            fontweight="bold",
        )
    return bool(found)
