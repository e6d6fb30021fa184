"""Figure of the transition to rank K: the tail of the weights' spectra over weight decay and noise."""

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ncbench.records.load import load_final, load_references
from ncbench.records.naming import descriptions, known_values, varying_names
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, load_networks, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.axis import edges
from ncbench.report.figures.labels import formulas_of, line_label, wrapped
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.statistics import crossing

LOWEST, HIGHEST = 1e-8, 1.0  # of the colours: below is what an optimiser leaves of a zero
THRESHOLD = 1e-2
DEAD = "#B0B0B0"
AXES = ("weight_decay", "noise")
SHEARED = (*AXES, "noise_ratio")  # noise = ratio sqrt(weight_decay)
SCALE = LogNorm(LOWEST, HIGHEST)
COLOURS = mpl.colormaps["viridis"].with_extremes(bad=DEAD)
OUTLINE = withStroke(linewidth=3.6, foreground="white")
CROSSED = f"measured: $r_K$ = {THRESHOLD:g}"


@styled
def phase_diagram(dir: Dir) -> Plot:
    """Tail r_K = sum_{j>K} s_j^2 / sum_j s_j^2 in colour over weight decay and noise, on logarithmic axes.

    The largest of the layers, the median over replicas; grey where no replica has a tail (a layer is dead, or training
    diverged). Lines: theory lines with `measure: noise`, and in black where the median crosses 1e-2. Replicas that
    differ in further values have a panel of their own, at most six. Raises NoRecordsError unless both vary.
    """
    table = _tails(dir)
    lines = _lines(dir, table)
    groups = list(dict.fromkeys(table["panel"]))
    shown = groups[: style.MAX_PANELS]
    columns = min(len(shown), 3)
    figure, axes = panels(-(-len(shown) // columns), columns, 4.6 if columns == 1 else 3.6, 3.7)
    names = {str(name): [float(v) for v in rows["value"]] for name, rows in lines.groupby("name", observed=True)}
    styles = itertools.cycle(style.REFERENCE_STYLES[::2])  # the green is one of the map's own
    looks: dict[str, dict[str, Any]] = {}
    for name, (colour, dashes) in zip(names, styles, strict=False):  # the styles repeat for ever
        looks[name] = {"color": colour, "ls": dashes}
    image: Any = None
    for ax, panel in itertools.zip_longest(axes.flat, shown):
        if panel is None:
            ax.set_axis_off()
            continue
        medians = _medians(table[table["panel"] == panel])
        image = _cells(ax, medians)
        _crossings(ax, medians)
        for name, rows in lines[lines["panel"] == panel].groupby("name", observed=True):
            look = looks[str(name)]
            ax.plot(rows["weight_decay"], rows["value"], lw=1.8, label=str(name), path_effects=[OUTLINE], **look)
        ax.set(xlabel="weight decay λ", ylabel="noise σ", title=wrapped(panel, 44))
    label = "tail $r_K$: largest of the layers,\nmedian over replicas"
    figure.colorbar(image, ax=axes, label=label, extend="min", shrink=min(1.0, 1.1 - 0.1 * len(axes)))
    formulas, letters = formulas_of(lines), 26 * columns + 40
    handles: list[Any] = [Line2D([], [], color="black", marker="o", ms=4, label=CROSSED)]
    handles += [
        Line2D([], [], label=line_label(name, names[name], formulas[name], letters), **look)
        for name, look in looks.items()
    ]
    lost = int(table["value"].isna().sum())
    if lost:
        handles.append(Patch(color=DEAD, label=f"no tail: dead or diverged ({lost} of {len(table)} replicas)"))
    legend = figure.legend(handles=handles, loc="outside lower center", handlelength=2.6)
    missing = table[table["panel"].isin(groups[style.MAX_PANELS :])].drop_duplicates("panel")
    further = [name for name in varying_names(missing.drop(columns=["value", "panel"])) if name not in SHEARED]
    note_missing(figure, known_values(missing, further), above=legend)
    return figure


def _tails(dir: Dir) -> pd.DataFrame:
    """One row per replica: run, replica, weight_decay, noise, noise_ratio, panel, value (NaN: no tail)."""
    replicas = load_networks(dir)
    if "noise_ratio" not in replicas:
        replicas["noise_ratio"] = np.nan
    if not {"weight_decay", "noise"} <= set(replicas.columns):
        raise NoRecordsError("weight decay and noise do not both vary")
    frame = with_setting(load_final(dir), find_settings(dir))
    frame = frame[(frame["measure"] == "tail") & (frame["stage"] == "weight")].astype({"run": str})
    # NaN in one layer is NaN for the replica: it has no largest tail.
    worst = frame.groupby(["run", "replica"])["value"].agg(lambda tails: tails.max(skipna=False)).reset_index()
    others = [name for name in varying_names(replicas) if name not in SHEARED]
    table = worst.merge(replicas.astype({"run": str}), on=["run", "replica"])
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in (*AXES, "noise_ratio")}
    table = table.assign(**numbers, panel=descriptions(known_values(table, others)))
    table = table[(table[list(AXES)] > 0).all(axis=1)]  # a logarithmic axis has no zero
    if table.empty or min(table[name].nunique() for name in AXES) < 2:
        raise NoRecordsError("weight decay and noise do not both vary, or no tail is recorded")
    return table


def _lines(dir: Dir, table: pd.DataFrame) -> pd.DataFrame:
    """Theory lines of the noise: name, panel, weight_decay, value, ascending in the decay."""
    references = load_references(dir)
    references = references[(references["measure"] == "noise") & references["value"].notna()]
    rows = []
    for row in references.to_dict("records"):
        replicas = table[table["run"] == str(row["run"])]
        replicas = replicas if row["replicas"] is None else replicas[replicas["replica"].isin(row["replicas"])]
        for panel, decay in replicas[["panel", "weight_decay"]].drop_duplicates().itertuples(index=False):
            rows.append((row["name"], panel, decay, row["value"], row["formula"]))
    lines = pd.DataFrame(rows, columns=["name", "panel", "weight_decay", "value", "formula"]).drop_duplicates()
    lines["name"] = pd.Categorical(lines["name"], categories=list(references["name"].unique()))
    return lines.sort_values(["name", "weight_decay"])


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    """The median over replicas at each point, NaN where no replica has a tail."""
    return table.groupby(list(AXES)).agg({"value": "median", "noise_ratio": "first"}).reset_index()


def _cells(ax: Axes, medians: pd.DataFrame) -> Any:
    """Coloured cells between the geometric means of neighbours; squares where the points are no grid.

    A grid may be sheared: noise = q sqrt(weight_decay) for every pair of a decay and a ratio q.
    """
    ax.set(xscale="log", yscale="log")
    ax.grid(visible=False)
    for column in ("noise", "noise_ratio"):
        table = medians.dropna(subset=column).pivot(index=column, columns="weight_decay", values="value")
        if table.size == len(medians) and min(table.shape) > 1:
            x, y = (edges(np.asarray(axis, dtype=float)) for axis in (table.columns, table.index))
            X, Y = np.meshgrid(x, y)
            tails = np.ma.masked_invalid(np.maximum(table.to_numpy(dtype=float), LOWEST))
            Y = Y * np.sqrt(X) if column == "noise_ratio" else Y
            return ax.pcolormesh(X, Y, tails, norm=SCALE, cmap=COLOURS, rasterized=True)
    dead, known = medians[medians["value"].isna()], medians.dropna(subset="value")
    ax.scatter(dead["weight_decay"], dead["noise"], color=DEAD, marker="s", s=55)
    colours = known["value"].clip(LOWEST)
    return ax.scatter(known["weight_decay"], known["noise"], c=colours, marker="s", s=55, norm=SCALE, cmap=COLOURS)


def _crossings(ax: Axes, medians: pd.DataFrame) -> None:
    known = medians[medians["value"].notna()].sort_values("noise")
    crossings = {
        float(str(decay)): crossing(list(rows["noise"]), list(rows["value"]), THRESHOLD)
        for decay, rows in known.groupby("weight_decay")
    }
    finite = {decay: noise for decay, noise in crossings.items() if np.isfinite(noise)}
    ax.plot(list(finite), list(finite.values()), color="black", marker="o", ms=4, lw=1.3, label=CROSSED)
