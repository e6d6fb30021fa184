"""Figure of a two-dimensional sweep: one measure in colour over two swept values."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_final
from ncbench.records.runs import BadRecordsError, Dir
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, Values, panels, styled
from ncbench.report.measures import known_measures
from ncbench.report.selectors import NoRecordsError, mean_over_layers, require_finite
from ncbench.report.settings import Setting, find_settings, plain, quartiles, with_setting

MOST_NUMBERS = 150  # a map of more cells has no room for a number in each


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
    """Final value of a measure over two swept or replicated numbers: the median over replicas, in colour.

    Args:
        dir: runs of a sweep, or one run with replicated values.
        measure: a measure per layer, or of the whole network (`loss`, `accuracy`), which has no layers or stage.
        x, y: what stands on the axes; by default the first two numbers that vary. Replicas that differ in
            further values are taken together.
        layers: a layer, several, or "intermediate": head.1 ... head.L-1. Averaged within a replica.
        stage: `pre`, `post` or `weight`.
        split: whose data the class means and losses are of; weights belong to every split.

    Rows and columns are the values themselves in ascending order, evenly spaced: a geometric sweep is a
    logarithmic axis. Numbers of replicas are written where they differ. Raises NoRecordsError where fewer than
    two numbers vary or nothing is recorded, ValueError for an axis that does not vary.
    """
    settings = find_settings(dir)
    x, y = _axes(settings, x, y)
    frame = load_final(dir)
    frame = with_setting(frame[(frame["measure"] == measure) & frame["split"].isin(rows_of_split(split))], settings)
    label = known_measures(dir, [measure])[measure].heading
    values, title = _per_replica(frame, measure, label, layers, stage)
    if values.empty:
        raise NoRecordsError(f"no {title} recorded for split {split!r}")
    require_finite(values["value"], title)
    for name in (x, y):
        values[name] = [settings[code].values[name] for code in values["setting"]]
    table = quartiles(values.dropna(subset=[x, y]), [y, x])
    if table.empty:
        raise NoRecordsError(f"no replica has both {x} and {y}")
    medians = table.pivot(index=y, columns=x, values="median")
    counts = table.pivot(index=y, columns=x, values="replicas").fillna(0).to_numpy(dtype=int)
    figure, axes = panels(1, 1, max(3.8, 2.2 + 0.5 * medians.shape[1]), max(2.8, 1.4 + 0.36 * medians.shape[0]))
    grid = medians.to_numpy(dtype=float)
    image = _draw(axes[0, 0], grid, counts)
    _ticks(axes[0, 0], medians, x, y)
    axes[0, 0].set_title(wrapped(title, 44))
    figure.colorbar(image, ax=axes[0, 0], label="median over replicas")
    used = counts[counts > 0]
    if used.min() == used.max():
        figure.supxlabel(f"replicas in every median: {used[0]}", fontsize=8)
    return figure


def _axes(settings: list[Setting], x: str | None, y: str | None) -> tuple[str, str]:
    varying = list(dict.fromkeys(name for setting in settings for name in setting.values))
    numbers = [name for name in varying if all(_is_number(setting.values.get(name)) for setting in settings)]
    for argument, name in (("x", x), ("y", y)):
        if name is not None and name not in numbers:
            raise BadRecordsError(f"{argument}={name!r} has to be a number that varies, one of {numbers}")
    free = [name for name in numbers if name not in (x, y)]
    if len(numbers) < 2:
        raise NoRecordsError("fewer than two swept numbers")
    if x is not None and x == y:
        raise BadRecordsError(f"y={y!r} has to differ from x")
    x = x or free.pop(0)
    return x, y or free.pop(0)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))


def _per_replica(
    frame: pd.DataFrame, measure: str, label: str, layers: str | list[str], stage: str
) -> tuple[pd.DataFrame, str]:
    """One value per setting and replica, and what it is called: the measure's label and the place."""
    whole = frame[frame["layer"] == ""]
    if len(whole):
        return whole[["setting", "replica", "value"]].reset_index(drop=True), f"final {label}"
    if layers == "intermediate":
        return mean_over_layers(frame, measure, stage), f"{label}, {stage}, mean of intermediate layers"
    names = [layers] if isinstance(layers, str) else list(layers)
    rows = frame[frame["layer"].isin(names) & (frame["stage"] == stage)]
    means = rows.groupby(["setting", "replica"], observed=True)["value"].mean().reset_index()
    return means, f"{label}, {', '.join(names)} {stage}"


def _draw(ax: Axes, grid: Values, counts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    known = grid[np.isfinite(grid)]
    wide = len(known) > 0 and known.min() > 0 and known.max() > 30 * known.min()
    scale = (LogNorm if wide else Normalize)(*((known.min(), known.max()) if len(known) else (0, 1)))
    image = ax.imshow(grid, origin="lower", aspect="auto", cmap="viridis", norm=scale, interpolation="nearest")
    ax.set_facecolor("#D8D8D8")  # nothing recorded
    ax.grid(visible=False)
    if grid.size <= MOST_NUMBERS:
        differ = len(set(counts[counts > 0])) > 1
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                text = f"{value:.3g}" + (f"\n({counts[row, column]})" if differ else "")
                dark = float(scale(value)) < 0.55
                ax.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return image


def _ticks(ax: Axes, medians: pd.DataFrame, x: str, y: str) -> None:
    """Ticks by value, thinned so that they do not touch."""
    for axis, values, most in ((ax.xaxis, medians.columns, 14), (ax.yaxis, medians.index, 24)):
        every = -(-len(values) // most)
        axis.set_ticks(range(0, len(values), every), [plain(value) for value in values[::every]])
    ax.set(xlabel=literal(x), ylabel=literal(y))
