"""Figure of the loss during training, beside the theory lines."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.naming import describe, plain
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import note_missing, shared_legend
from ncbench.report.figures.labels import line_label, literal, loss_formulas, wrapped
from ncbench.report.figures.style import Plot, panels, styled, thin
from ncbench.report.layout import MOST_PANELS, divided, is_number_or_none, told_apart
from ncbench.report.selectors import require_finite
from ncbench.report.settings import load_setting_references, quartiles

MOST_NAMED = 6  # curves of a panel of medians: more numbers have a scale of colours instead of a legend
BAND = "interquartile range"


@styled
def loss(dir: Dir) -> Plot:
    """Full objective against the step: median over replicas, interquartile band, best and worst replica.

    Fit and regulariser are drawn thinner, theory lines from `references.json` with name, value and, below the plot,
    formula. The axis has a place for all of them; exact zeros and what is below 1e-16 are drawn at 1e-16. Up to six
    settings (networks that differ in nothing but the seed) have a panel each; of more the medians stand in one panel
    with their quartiles, a colour for each value of the number with the most values, and what else varies has a panel
    for each of its values together, at most six.
    """
    settings = find_settings(dir)
    frame = load_measures(dir, measures=["loss", "fit", "regulariser"], layers=[""])
    frame = with_setting(frame[frame["split"].isin(rows_of_split())], settings)
    if not (frame["measure"] == "loss").any():
        raise NoRecordsError("no loss recorded yet")
    require_finite(frame[frame["measure"] == "loss"]["value"], "the loss")
    lifted = frame["value"].between(0, style.FLOOR, inclusive="left")
    frame = frame.assign(value=frame["value"].mask(lifted, style.FLOOR))
    notes = [f"values below {style.FLOOR:g} drawn at {style.FLOOR:g}"] if lifted.any() else []
    lines = load_setting_references(dir, settings)
    drawn = sorted(frame["setting"].unique())
    if len(drawn) > style.MAX_PANELS:
        return _overlay(frame[frame["measure"] == "loss"], settings, drawn, notes)
    columns = min(len(drawn), 3) if len(drawn) != 4 else 2
    rows = -(-len(drawn) // columns)
    width = 6.4 if len(drawn) == 1 else 3.9 if columns == 2 else 3.4
    figure, axes = panels(rows, columns, width, 4.6 if len(drawn) == 1 else 3.2)
    names = list(dict.fromkeys(name for code in drawn for name in lines[code]))
    known = {name: [lines[code][name] for code in drawn if name in lines[code]] for name in names}
    looks = dict(zip(names, itertools.cycle(style.REFERENCE_STYLES)))
    for place, ax in enumerate(axes.flat):
        if place >= len(drawn):
            ax.set_axis_off()
            continue
        code = drawn[place]
        _loss_panel(ax, frame[frame["setting"] == code])
        handles = [_reference(ax, name, value, looks[name]) for name, value in lines[code].items()]
        # One value for all panels stands below with the formula; values of their own stand in the panels.
        style.step_axis(ax)
        varying = [line for name, line in zip(lines[code], handles, strict=True) if len(set(known[name])) > 1]
        if varying:
            ax.legend(handles=varying, loc="best", handlelength=2.6)
        _loss_limits(ax)
        ax.set_title(literal(settings[code].label))
        if place + columns < len(drawn):
            ax.set_xlabel("")
        if place % columns == 0:
            ax.set_ylabel("loss")
    formulas, letters = loss_formulas(dir), int(16 * width * columns)
    theory = [
        Line2D([], [], color=colour, ls=dashes, lw=1.4, label=line_label(name, known[name], formulas[name], letters))
        for name, (colour, dashes) in looks.items()
    ]
    legend = figure.legend(handles=theory, loc="outside lower center", handlelength=2.6) if theory else None
    note_missing(figure, [], notes, above=legend)
    figure.legend(handles=_key(list(axes.flat)), loc="outside upper center", ncols=3 if columns == 1 else 6)
    return figure


def _key(axes: list[Axes]) -> list[Any]:
    """One entry for each kind of curve, in the order of interest."""
    artists = {artist.get_label(): artist for ax in axes for artist in [*ax.lines, *ax.collections]}
    order = ["loss", "loss, median", BAND, "best replica", "worst replica", "fit", "regulariser"]
    return [artists[label] for label in order if label in artists]


def _loss_panel(ax: Axes, frame: pd.DataFrame) -> None:
    curves = {str(name): _curve(part) for name, part in frame.groupby("measure", observed=True)}
    for name, colour in (("regulariser", style.ORANGE), ("fit", style.SKY)):
        if name in curves:
            _line(ax, curves[name]["step"], curves[name]["median"], color=colour, lw=0.9, label=name)
    total = curves["loss"]
    single = int(total["replicas"].max()) < 2
    if not single:
        points = thin(total["step"], total["q25"], total["q75"])
        steps, low, high = (total[name][points] for name in ("step", "q25", "q75"))
        ax.fill_between(steps, low, high, color=style.BLUE, alpha=0.25, lw=0, label=BAND)
        for name, replica, dashes in _extremes(frame[frame["measure"] == "loss"]):
            _line(ax, replica["step"], replica["value"], color="#6B6B6B", ls=dashes, lw=0.9, label=name)
    label = "loss" if single else "loss, median"
    _line(ax, total["step"], total["median"], color=style.BLUE, lw=2.0, label=label)


def _curve(part: pd.DataFrame) -> dict[str, style.Values]:
    table = quartiles(part, ["step"])
    return {name: table[name].to_numpy(dtype=float) for name in table.columns}


def _extremes(frame: pd.DataFrame) -> list[tuple[str, dict[str, style.Values], Any]]:
    """The replicas with the lowest and the highest last loss; one that diverged (NaN) counts as highest."""
    last = frame.sort_values("step").groupby("network").tail(1).set_index("network")["value"].fillna(np.inf)
    curves: list[tuple[str, dict[str, style.Values], Any]] = []
    for name, network, dashes in (("best replica", last.idxmin(), "-"), ("worst replica", last.idxmax(), "--")):
        rows = frame[frame["network"] == network].sort_values("step")
        curves.append((name, {key: rows[key].to_numpy(dtype=float) for key in ("step", "value")}, dashes))
    return curves


def _reference(ax: Axes, name: str, value: float, look: tuple[str, Any]) -> Line2D:
    label = f"{literal(name.upper())} {value:.7g}"
    return ax.axhline(value, color=look[0], ls=look[1], lw=1.4, label=label)


def _overlay(frame: pd.DataFrame, settings: list[Setting], codes: list[int], notes: list[str]) -> Plot:
    """The rows of the loss of these settings, a curve each; no two curves of a panel have one colour."""
    name, others = _coloured(settings, codes)
    groups = divided(settings, codes, others)
    shown = list(groups.items())[:MOST_PANELS]
    figure, axes = style.small_panels(len(shown), 6.8, 4.2)
    table = quartiles(frame, ["setting", "step"])
    values = list(divided(settings, codes, [name]))
    tints, scale = _tints([value for (value,) in values])
    for ax, (further, members) in zip(axes, shown, strict=True):
        for code in members:
            value = settings[code].values[name]
            _overlaid(ax, table[table["setting"] == code], tints[value], literal(f"{name}={plain(value)}"))
        _loss_limits(ax)
        style.step_axis(ax)
        titled = dict(zip(others, further, strict=True))
        ax.set_title(wrapped(describe(titled), 44) if titled else f"{len(members)} settings")
    axes[0].set_ylabel("loss, median over replicas")
    legend = shared_legend(figure, axes, 4) if scale is None else None
    if scale is not None:
        figure.colorbar(scale, ax=axes, label=literal(name))
    drawn = [code for _, members in shown for code in members]
    missing = [settings[code].values for code in codes if code not in drawn]
    note_missing(figure, missing, ["band: quartiles", *notes], above=legend)
    return figure


def _coloured(settings: list[Setting], codes: list[int]) -> tuple[str, list[str]]:
    """The quantity that has the colours, and those that have the panels: the number with the most values, or a name."""
    columns = told_apart(settings, codes)
    numbers = [name for name in columns if all(map(is_number_or_none, columns[name]))]
    name = max(numbers or columns, key=lambda name: len(set(columns[name])))
    return name, [other for other in columns if other != name]


def _tints(values: list[Any]) -> tuple[dict[Any, Any], ScalarMappable | None]:
    """A colour of its own for each value; of many numbers by their size, with the scale."""
    if len(values) <= MOST_NAMED or not all(is_number_or_none(value) and value is not None for value in values):
        return dict(zip(values, style.colours(len(values)), strict=True)), None
    wide = min(values) > 0 and max(values) > 10 * min(values)
    scale = ScalarMappable((LogNorm if wide else Normalize)(min(values), max(values)), "viridis")
    return dict(zip(values, scale.to_rgba(np.array(values, dtype=float)), strict=True)), scale


def _overlaid(ax: Axes, table: pd.DataFrame, tint: Any, label: str) -> None:
    steps, median, low, high = (table[name].to_numpy(dtype=float) for name in ("step", "median", "q25", "q75"))
    points = thin(steps, low, high)
    ax.fill_between(steps[points], low[points], high[points], color=tint, alpha=0.2, lw=0)
    _line(ax, steps, median, color=tint, lw=1.2, label=label)


def _line(ax: Axes, steps: style.Values, values: style.Values, **look: Any) -> None:
    """Draws a curve with few points that still shows every extreme."""
    points = thin(steps, values)
    ax.plot(steps[points], values[points], **look)


def _loss_limits(ax: Axes) -> None:
    """A logarithmic axis on which all that is drawn has a place, linear where some of it is negative."""
    bands = [np.asarray(path.vertices)[:, 1] for band in ax.collections for path in band.get_paths()]
    drawn = np.concatenate([*(np.asarray(line.get_ydata(), dtype=float) for line in ax.lines), *bands])
    drawn = drawn[np.isfinite(drawn) & (drawn != 0)]  # a theory line at 0 has no place on it
    if not len(drawn) or drawn.min() < 0:
        return
    low, high = drawn.min(), drawn.max()
    ax.set_yscale("log")
    style.log_axis(ax.yaxis, low / 1.15, high * 1.15)
    ax.set_ylim(low / 1.15, high * 1.15)
