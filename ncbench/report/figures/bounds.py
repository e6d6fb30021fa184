"""Figure of the bound on the distance of the weights to rank K: how far below the bound they stay."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ncbench.records.layers import head_number, layer_key
from ncbench.records.load import load_final
from ncbench.records.runs import Dir, NoRecordsError, UndefinedError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, panels, styled

MOST_SETTINGS = 3
OF_PAIR, OF_LAYER = ("rank_bound", "tightness"), ("distance", "residual")


@styled
def bounds(dir: Dir) -> Plot:
    """Distance of W_l to rank K against its bound gap_{l,j} / (2 lam_l) + residual, and their ratio, at the end.

    A row for each setting, at most three. Left: all networks and pairs of a layer l and a source layer j < l, coloured
    by l - j; on the diagonal the bound is an equality. Right: the median of the ratio (tightness) over networks, with
    the quantiles of 5 % and 95 %. Dead layers, which have no ratio, are left out. Raises NoRecordsError where no bound
    is recorded, UndefinedError where every layer is dead or of a network that diverged.
    """
    settings = find_settings(dir)
    table = _pairs(dir, settings)
    if table.empty:
        raise NoRecordsError("no bound of the distance to rank K recorded")
    alive = table.loc[np.isfinite(table[[*OF_PAIR, *OF_LAYER]].to_numpy(dtype=float)).all(axis=1)]
    if alive.empty:
        raise UndefinedError("every layer with a bound is dead, or of a network that diverged")
    layers = sorted(alive["layer"].unique(), key=layer_key)
    sources = sorted(alive["source_layer"].unique(), key=layer_key)
    present = sorted(alive["setting"].unique())
    shown = present[:MOST_SETTINGS]
    figure, axes = panels(len(shown), 2, 3.8, 3.6)
    width = 1.6 + 0.92 * len(sources)
    figure.set_size_inches(3.8 + width, len(shown) * max(3.6, 1.2 + 0.45 * len(layers)))
    axes[0, 0].get_gridspec().set_width_ratios([3.8, width])
    for row, code in zip(axes, shown, strict=True):
        of_setting = alive[alive["setting"] == code]
        _distances(row[0], of_setting)
        image = _ratios(row[1], of_setting, layers, sources)
        figure.colorbar(image, ax=row[1], label="median tightness")
        if len(shown) > 1:
            row[0].set_ylabel(f"{wrapped(settings[code].label)}\n{row[0].get_ylabel()}")
    drawn = table[table["setting"].isin(shown)]
    dead = len(drawn) - int(alive["setting"].isin(shown).sum())
    notes = [f"{dead} of {len(drawn)} pairs left out: the layer is dead, or the network diverged"] if dead else []
    note_missing(figure, [settings[code].values for code in present[MOST_SETTINGS:]], notes)
    return figure


def _pairs(dir: Dir, settings: list[Setting]) -> pd.DataFrame:
    """One row per network, layer and source layer, with a column for each of the four measures."""
    frame = with_setting(load_final(dir), settings)
    frame = frame[(frame["stage"] == "weight") & frame["measure"].isin([*OF_PAIR, *OF_LAYER])]
    frame = frame.astype(dict.fromkeys(("layer", "source_layer", "measure"), str))
    place = ["setting", "network", "layer"]
    both = _wide(frame, OF_PAIR, [*place, "source_layer"])
    return both.merge(_wide(frame, OF_LAYER, place), on=place)


def _wide(frame: pd.DataFrame, measures: tuple[str, ...], place: list[str]) -> pd.DataFrame:
    rows = frame[frame["measure"].isin(measures)]
    table = rows.set_index([*place, "measure"])["value"].unstack().reindex(columns=list(measures))
    return table.reset_index()


def _number(layer: str) -> int:
    """l of head.l, 0 of the features."""
    return head_number(layer) or 0


def _distances(ax: Axes, table: pd.DataFrame) -> None:
    bound, _ = style.clip(table["rank_bound"] + table["residual"])
    distance, _ = style.clip(table["distance"])
    apart = np.array([_number(l) - _number(j) for l, j in zip(table["layer"], table["source_layer"], strict=True)])
    tints = dict(zip(sorted(set(apart)), style.colours(len(set(apart))), strict=True))
    for steps, tint in reversed(tints.items()):
        at_distance = apart == steps
        look: dict[str, Any] = {"color": tint, "label": f"{steps}", "rasterized": True}
        ax.plot(bound[at_distance], distance[at_distance], ls="", marker="o", ms=3, mew=0, alpha=0.7, **look)
    low, high = np.nanmin([bound, distance]) / 2, np.nanmax([bound, distance]) * 2
    ax.plot([low, high], [low, high], color="black", lw=1.0, label="distance = bound")
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    ax.set(xlabel="bound: gap / (2λ) + residual", ylabel="distance of $W_l$ to rank K")
    above = int((table["tightness"] > 1).sum())
    ax.set_title(f"{above} of {len(table)} pairs above the bound")
    handles, labels = ax.get_legend_handles_labels()
    # The diagonal names itself; the others share the head of the legend.
    ax.legend(handles[-2::-1], labels[-2::-1], title="l - j", loc="upper left", handletextpad=0.1, borderpad=0.1)


def _ratios(ax: Axes, table: pd.DataFrame, layers: list[str], sources: list[str]) -> Any:
    quantiles = table.groupby(["layer", "source_layer"])["tightness"].quantile(np.array([0.05, 0.5, 0.95])).unstack()
    medians = quantiles[0.5].unstack().reindex(index=layers, columns=sources).to_numpy(dtype=float)
    low, high = np.nanmin(medians), np.nanmax(medians)
    scale = LogNorm(max(low, style.FLOOR), max(high, 2 * low, 2 * style.FLOOR))
    image = ax.imshow(medians, aspect="auto", cmap="viridis", norm=scale, interpolation="nearest")
    for key, (least, median, most) in zip(quantiles.index, quantiles.to_numpy(), strict=True):
        layer, source = key
        text = f"{median:.2g}\n[{least:.2g}, {most:.2g}]"
        colour = "white" if median > 0 and float(scale(median)) < 0.6 else "black"
        place = (sources.index(source), layers.index(layer))
        ax.text(*place, text, ha="center", va="center", fontsize=6.5, color=colour)
    ax.grid(visible=False)
    ax.set_xticks(range(len(sources)), [literal(name) for name in sources], rotation=40, ha="right")
    ax.set_yticks(range(len(layers)), [literal(name) for name in layers])
    ax.set(xlabel="source layer j", ylabel="layer l", title="distance / bound: median [5 %, 95 %]")
    return image
