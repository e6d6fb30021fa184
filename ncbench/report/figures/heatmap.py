"""Figure of a two-dimensional sweep: one measure in colour over two swept values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final
from ncbench.records.naming import describe, plain, sort_key
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.records.small_files import BadRecordsError
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.scales import RANKS, rank_scale
from ncbench.report.figures.style import MAX_PANELS, Plot, Values, panels, styled
from ncbench.report.layout import MOST_PANELS, divided, is_number_or_none, told_apart
from ncbench.report.measures import known_measures
from ncbench.report.selectors import mean_over_layers, require_finite
from ncbench.report.settings import quartiles

MOST_NUMBERS = 150  # a map of more cells has no room for a number in each
MOST_RANGES = 48  # nor one of more than these for the quartiles below it


@styled
def heatmap(
    dir: Dir,
    measure: str = "rank",
    x: str | None = None,
    y: str | None = None,
    layers: str | list[str] = "intermediate",
    stage: str = "pre",
    split: str = "train",
) -> Plot:
    """Final value of a measure over two swept or replicated quantities: the median of each setting, in colour.

    Args:
        dir: runs of a sweep, or one run with replicated values.
        measure: a measure per layer, or of the whole network (`loss`, `accuracy`), which has no layers or stage.
        x, y: what stands on the axes, numbers or names; by default the first two that vary, numbers before names.
            Where further quantities vary, each of their values together has a panel, on one scale; at most six.
        layers: a layer, several, or "intermediate": head.1 ... head.L-1. Averaged within a network.
        stage: `pre`, `post` or `weight`.
        split: whose data the class means and losses are of; weights belong to every split.

    Rows and columns are the values themselves in ascending order, evenly spaced: a geometric sweep is a
    logarithmic axis. A cell says the median over the networks of its setting, with the quartiles in brackets where they
    differ; numbers of networks are written where they differ. The colours of a rank are those of every figure of ranks.
    Raises NoRecordsError where fewer than two quantities
    vary or nothing is recorded, ValueError for an axis that does not vary.
    """
    settings = find_settings(dir)
    x, y = _axes(settings, x, y)
    frame = load_final(dir)
    frame = with_setting(frame[(frame["measure"] == measure) & frame["split"].isin(rows_of_split(split))], settings)
    label = known_measures(dir, [measure])[measure].heading
    values, title = _per_network(frame, measure, label, layers, stage)
    if values.empty:
        raise NoRecordsError(f"no {title} recorded for split {split!r}")
    require_finite(values["value"], title)
    table = quartiles(values, ["setting"]).set_index("setting")
    placed = [code for code in table.index if None not in (settings[code].values[x], settings[code].values[y])]
    if not placed:
        raise NoRecordsError(f"no replica has both {x} and {y}")
    groups = _panels_of(settings, placed, x, y)
    shown = groups[:MOST_PANELS]
    drawn = [code for _, codes in shown for code in codes]
    figure, axes, across, down = _arranged(settings, drawn, x, y, len(shown))
    medians, counts = table.loc[drawn, "median"], set(table.loc[drawn, "replicas"])
    scale = rank_scale(dir, MAX_PANELS, medians) if measure in RANKS else _scale(medians)
    for ax, (further, codes) in zip(axes.flat, shown, strict=False):
        places = {(down.index(settings[c].values[y]), across.index(settings[c].values[x])): c for c in codes}
        cells = table.loc[list(places.values())]
        cells["place"] = pd.Series(list(places), cells.index, dtype=object)
        image = _draw(ax, cells, (len(down), len(across)), scale, len(counts) > 1)
        _ticks(ax, across, down, x, y)
        ax.set_title(wrapped(describe(further) if len(groups) > 1 else title, 44))
    if len(groups) > 1:
        figure.suptitle(literal(title))
    figure.colorbar(image, ax=axes, label="median over replicas")
    notes = [f"replicas in every median: {counts.pop()}"] if len(counts) == 1 else []
    note_missing(figure, [settings[code].values for code in table.index if code not in drawn], notes)
    return figure


def _axes(settings: list[Setting], x: str | None, y: str | None) -> tuple[str, str]:
    varying = list(dict.fromkeys(name for setting in settings for name in setting.values))
    for argument, name in (("x", x), ("y", y)):
        if name is not None and name not in varying:
            raise BadRecordsError(f"{argument}={name!r} has to vary; what does is {varying}")
    apart = list(told_apart(settings, range(len(settings))))
    numbers = [name for name in apart if all(is_number_or_none(setting.values[name]) for setting in settings)]
    free = [name for name in [*numbers, *(n for n in apart if n not in numbers)] if name not in (x, y)]
    if x is not None and x == y:
        raise BadRecordsError(f"y={y!r} has to differ from x")
    if len(free) < (x is None) + (y is None):
        raise NoRecordsError("fewer than two quantities vary")
    x = x or free.pop(0)
    return x, y or free.pop(0)


def _panels_of(settings: list[Setting], codes: list[int], x: str, y: str) -> list[tuple[dict[str, Any], list[int]]]:
    """The settings of every panel, by the further values that a cell of x and y does not determine."""
    cells = divided(settings, codes, [x, y]).values()
    further = [
        name
        for name in told_apart(settings, codes)
        if name not in (x, y) and any(len({settings[code].values[name] for code in cell}) > 1 for cell in cells)
    ]
    groups = divided(settings, codes, further)
    return [(dict(zip(further, values, strict=True)), members) for values, members in groups.items()]


def _arranged(
    settings: list[Setting], codes: list[int], x: str, y: str, number: int
) -> tuple[Plot, Any, list[Any], list[Any]]:
    """A figure with a panel for each group, and the values of columns and rows, the same in all of them."""
    across, down = (sorted({settings[code].values[name] for code in codes}, key=sort_key) for name in (x, y))
    columns = 2 if number == 4 else min(number, 3)
    width, height = max(3.8, 2.2 + 0.5 * len(across)), max(2.8, 1.4 + 0.36 * len(down))
    figure, axes = panels(-(-number // columns), columns, width if number == 1 else max(3.0, width - 1.2), height)
    for ax in axes.flat[number:]:
        ax.set_axis_off()
    return figure, axes, across, down


def _per_network(
    frame: pd.DataFrame, measure: str, label: str, layers: str | list[str], stage: str
) -> tuple[pd.DataFrame, str]:
    """One value per setting and network, and what it is called: the measure's label and the place."""
    whole = frame[frame["layer"] == ""]
    if len(whole):
        return whole[["setting", "network", "value"]].reset_index(drop=True), f"final {label}"
    if layers == "intermediate":
        return mean_over_layers(frame, measure, stage), f"{label}, {stage}, mean of intermediate layers"
    names = [layers] if isinstance(layers, str) else list(layers)
    rows = frame[frame["layer"].isin(names) & (frame["stage"] == stage)]
    means = rows.groupby(["setting", "network"], observed=True)["value"].mean().reset_index()
    return means, f"{label}, {', '.join(names)} {stage}"


def _scale(medians: "pd.Series[float]") -> Normalize:
    known = medians[np.isfinite(medians)]
    wide = len(known) > 0 and known.min() > 0 and known.max() > 30 * known.min()
    return (LogNorm if wide else Normalize)(*((known.min(), known.max()) if len(known) else (0, 1)))


def _draw(ax: Axes, cells: pd.DataFrame, shape: tuple[int, int], scale: Normalize, counted: bool) -> Any:
    """The cells of one panel, with the median in each, the quartiles, and the number of networks where it differs."""
    grid: Values = np.full(shape, np.nan)
    for (row, column), median in zip(cells["place"], cells["median"], strict=True):
        grid[row, column] = median
    image = ax.imshow(grid, origin="lower", aspect="auto", cmap="viridis", norm=scale, interpolation="nearest")
    ax.set_facecolor("#D8D8D8")  # nothing recorded
    ax.grid(visible=False)
    for cell in cells.to_dict("records") if grid.size <= MOST_NUMBERS else []:
        if np.isfinite(cell["median"]):
            text, low, high = (f"{cell[name]:.3g}" for name in ("median", "q25", "q75"))
            text += f"\n[{low}, {high}]" if low != high and grid.size <= MOST_RANGES else ""
            text += f"\n({cell['replicas']})" if counted else ""
            row, column = cell["place"]
            colour = "white" if float(scale(cell["median"])) < 0.55 else "black"
            ax.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    return image


def _ticks(ax: Axes, across: Sequence[Any], down: Sequence[Any], x: str, y: str) -> None:
    """Ticks by value, thinned so that they do not touch."""
    for axis, values, most in ((ax.xaxis, across, 14), (ax.yaxis, down, 24)):
        every = -(-len(values) // most)
        axis.set_ticks(range(0, len(values), every), [literal(plain(value)) for value in values[::every]])
    ax.set(xlabel=literal(x), ylabel=literal(y))
