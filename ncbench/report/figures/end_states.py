"""Figure of the solutions that training ends at: the final loss of every replica on the levels of the theory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from ncbench.records.naming import plain
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import Setting, find_settings
from ncbench.report.end_states import ABSOLUTE, NO_KNOWN_LEVEL, NOT_CONVERGED, STATES, STATIONARY, classify, counted
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_missing
from ncbench.report.figures.axis import is_power_of_two, is_wide, jittered, power_of_two
from ncbench.report.figures.labels import literal, wrapped
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import require_finite
from ncbench.report.settings import end_points, load_setting_references

GREY = "#808080"
MOST_SETTINGS = 24
HIGHEST = 2.0  # times the lowest loss of its setting: a replica above stands at the upper edge and flattens no other
BOUND = "bound"  # a line with this in its name bounds the loss: it is drawn, and no replica ends "at" it
LOOKS: dict[str, dict[str, Any]] = {
    NO_KNOWN_LEVEL: {"color": "black", "marker": "x", "mew": 1.0},
    NOT_CONVERGED: {"color": GREY, "marker": "o", "mfc": "none"},
}


@styled
def end_states(dir: Dir, absolute: float = ABSOLUTE, stationary: float = STATIONARY) -> Plot:
    """The final loss of every replica, a column per setting, with the theory lines of the loss as levels.

    Colour and marker say at which level a replica has ended (`ncbench.report.end_states.classify`): within `absolute`
    of it, with a gradient (`grad_max`) of at most `stationary`. Black crosses have converged elsewhere, hollow circles
    have not converged; diverged replicas without a finite loss are counted in the legend. Lines that bound the loss
    (with "bound" in the name) are drawn in grey, and nothing ends at them. Replicas above twice the lowest loss of
    their setting stand as triangles at the upper edge. Where the settings have different DNC lines, losses and levels
    are drawn as multiples of the setting's own.

    At most 24 settings are drawn. Raises ValueError where `absolute` or `stationary` is not positive and finite, and
    its subclass NoRecordsError where no loss, no gradient or no theory line of the loss is recorded.
    """
    settings, points = find_settings(dir), end_points(dir)
    if points.empty:
        raise NoRecordsError("no loss recorded yet")
    require_finite(points["loss"], "the loss")
    if points["gradient"].isna().all():
        raise NoRecordsError("no gradient (grad_max) recorded: nothing says which replicas have converged")
    shown = sorted(points["setting"].unique())
    left_out, shown = shown[MOST_SETTINGS:], shown[:MOST_SETTINGS]
    points = points[points["setting"].isin(shown)]
    lines = [load_setting_references(dir, settings)[code] for code in shown]
    levels = [
        {name: value for name, value in each.items() if BOUND not in name and name not in STATES} for each in lines
    ]
    if not any(levels):
        raise NoRecordsError("no theory line of the loss to compare with")
    names = list(dict.fromkeys(name for each in levels for name in each))
    looks = {name: _look(number) for number, name in enumerate(names)} | LOOKS
    figure, axes = panels(1, 1, max(4.8, 2.6 + 0.45 * len(shown)), 4.0)
    ax, states = axes[0, 0], []
    units = _units(lines)
    points["drawn"] = points["loss"] / points["setting"].map(dict(zip(shown, units, strict=True)))
    drawn_lines = [
        {name: value / unit for name, value in each.items()} for each, unit in zip(lines, units, strict=True)
    ]
    highest, above = _bounds(ax, points, drawn_lines, shown)
    for place, code in enumerate(shown):
        part = points[points["setting"] == code].sort_values("network")
        bounds = {"absolute": absolute, "stationary": stationary}
        of_part = classify(list(part["loss"]), list(part["gradient"]), levels[place], **bounds)
        states += of_part
        losses = part["drawn"].to_numpy(dtype=float)
        for name, value in drawn_lines[place].items():
            colour = looks[name]["color"] if name in looks else GREY
            ax.hlines(value, place - 0.45, place + 0.45, color=colour, lw=1.0, alpha=0.7, label=f"level {name}")
        x = jittered(place, len(part), range(len(shown)))
        for name in dict.fromkeys(state for state in of_part if state in looks):
            chosen = np.array([state == name for state in of_part]) & np.isfinite(losses)
            inside = chosen & (losses <= highest[place])
            outside = chosen & ~inside
            if inside.any():
                ax.plot(x[inside], losses[inside], ls="", ms=4.5, alpha=0.85, label=name, **looks[name])
            if outside.any():  # on the edge itself, and whole
                edge = {**looks[name], "marker": "^", "clip_on": False, "transform": ax.get_xaxis_transform()}
                ax.plot(x[outside], np.ones(outside.sum()), ls="", ms=5, label=f"{name}, above", **edge)
    _columns(ax, [settings[code] for code in shown])
    _names(ax, drawn_lines[-1])
    ax.set_ylabel("final loss" if set(units) == {1.0} else "final loss / DNC loss")
    legend = _legend(figure, counted(states, names), looks, lines, above)
    note_missing(figure, [settings[code].values for code in left_out], above=legend)
    return figure


def _units(lines: list[dict[str, float]]) -> list[float]:
    """What the losses of each setting are divided by: its DNC line, where all have one and they differ, or else 1."""
    dnc = [each.get("dnc", np.nan) for each in lines]
    return dnc if np.all(np.array(dnc) > 0) and len(set(dnc)) > 1 else [1.0] * len(lines)


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of the level of this number; after six the colours come again with other markers."""
    colours, markers = style.PALETTE, style.MARKERS
    return {"color": colours[number % 6], "marker": markers[(number + number // 6) % 6], "mew": 0}


def _bounds(
    ax: Axes, points: pd.DataFrame, lines: list[dict[str, float]], shown: list[int]
) -> tuple[list[float], pd.DataFrame]:
    """Sets the y axis; returns the largest loss drawn of every setting, and the replicas that are above it."""
    finite = points[np.isfinite(points["loss"])]
    lowest = finite.groupby("setting")["drawn"].min().reindex(shown)
    limits = HIGHEST * lowest.where(lowest > 0, np.inf)
    above = finite[finite["drawn"] > finite["setting"].map(limits)]
    drawn = list(finite.drop(above.index)["drawn"])
    for code, of_setting in zip(shown, lines, strict=True):
        drawn += [value for value in of_setting.values() if lowest[code] / HIGHEST <= value <= limits[code]]
    low, high = min(drawn), max(drawn)
    if is_wide([low, high]):
        ax.set_yscale("log")
        ax.set_ylim(low / 1.1, high * 1.1)
    else:
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - room, high + room)
    return [float(limits[code]) for code in shown], above


def _columns(ax: Axes, settings: list[Setting]) -> None:
    """A column per setting, with the values that vary below it."""
    values = {name: [setting.values.get(name) for setting in settings] for name in settings[0].values}
    columns = {name: _texts(column) for name, column in values.items() if len(set(map(str, column))) > 1}
    texts = ["\n".join(of_setting) for of_setting in zip(*columns.values(), strict=True)]
    ax.set_xticks(range(len(settings)), texts or [wrapped(setting.label) for setting in settings])
    ax.set_xlim(-0.6, len(settings) - 0.4)
    ax.grid(visible=False, axis="x")
    ax.set_xlabel(literal(", ".join(columns)))


def _texts(values: list[Any]) -> list[str]:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    powers = len(numbers) == len(values) and is_power_of_two(numbers)
    return [power_of_two(value) if powers else literal(plain(value)) for value in values]


def _names(ax: Axes, lines: Mapping[str, float]) -> None:
    """The names of the last column's levels at the right edge, none on top of another."""
    low, high = ax.get_ylim()
    places: dict[str, float] = {}
    for name, value in sorted(lines.items(), key=lambda line: line[1]):
        if low < value < high and all(abs(value - other) > 0.04 * (high - low) for other in places.values()):
            places[name] = value
    right = ax.secondary_yaxis("right")
    right.set_yticks(list(places.values()), [literal(name) for name in places])
    right.tick_params(length=0)
    right.spines[:].set_visible(False)


def _legend(
    figure: Plot, counts: dict[str, int], looks: Mapping[str, Any], lines: list[dict[str, float]], above: pd.DataFrame
) -> Legend:
    handles = []
    for name, count in counts.items():
        values = {each[name] for each in lines if name in each}
        level = f" {values.pop():.6g}" if len(values) == 1 and name not in STATES else ""
        look = looks.get(name, {"color": "none"})
        handles.append(Line2D([], [], ls="", ms=5, label=literal(f"{name}{level}: {count}"), **look))
    if len(above):
        text = f"above the axis: {len(above)}, up to {above['drawn'].max():.3g}"
        handles.append(Line2D([], [], ls="", ms=5, marker="^", color=GREY, label=text))
    fitting = legend_columns(figure, [handle.get_label() for handle in handles])
    return figure.legend(handles=handles, loc="outside lower center", ncols=fitting)
