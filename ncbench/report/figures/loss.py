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
from ncbench.records.runs import Dir
from ncbench.report.figures import style
from ncbench.report.figures.labels import line_label, literal, loss_formulas
from ncbench.report.figures.style import Plot, panels, styled, thin
from ncbench.report.selectors import NoRecordsError, require_finite
from ncbench.report.settings import Setting, find_settings, load_setting_references, quartiles, with_setting

BAND = "interquartile range"


@styled
def loss(dir: Dir) -> Plot:
    """Full objective against the step: median over replicas, interquartile band, best and worst replica.

    Fit and regulariser are drawn thinner, theory lines from `references.json` with name, value and, below the
    plot, formula. Up to six settings (runs, or groups of replicas with the same swept values) have a panel each;
    of more the medians are overlaid.
    """
    settings = find_settings(dir)
    frame = load_measures(dir, measures=["loss", "fit", "regulariser"], layers=[""])
    frame = with_setting(frame[frame["split"].isin(rows_of_split())], settings)
    if not (frame["measure"] == "loss").any():
        raise NoRecordsError("no loss recorded yet")
    require_finite(frame[frame["measure"] == "loss"]["value"], "the loss")
    lines = load_setting_references(dir, settings)
    drawn = sorted(frame["setting"].unique())
    if len(drawn) > style.MAX_PANELS:
        return _overlay(frame, [settings[code] for code in drawn], drawn)
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
        _loss_limits(ax, frame[frame["setting"] == code], list(lines[code].values()))
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
    if theory:
        figure.legend(handles=theory, loc="outside lower center", handlelength=2.6)
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


def _line(ax: Axes, steps: style.Values, values: style.Values, **look: Any) -> None:
    points = thin(steps, values)
    ax.plot(steps[points], values[points], **look)


def _curve(part: pd.DataFrame) -> dict[str, style.Values]:
    table = quartiles(part, ["step"])
    return {name: table[name].to_numpy(dtype=float) for name in table.columns}


def _extremes(frame: pd.DataFrame) -> list[tuple[str, dict[str, style.Values], Any]]:
    """The replicas with the lowest and the highest final loss; one that diverged (NaN) counts as highest."""
    last = frame[frame["step"] == frame["step"].max()].set_index("replica")["value"].fillna(np.inf)
    curves: list[tuple[str, dict[str, style.Values], Any]] = []
    for name, replica, line in (("best replica", last.idxmin(), "-"), ("worst replica", last.idxmax(), "--")):
        rows = frame[frame["replica"] == replica].sort_values("step")
        curves.append((name, {key: rows[key].to_numpy(dtype=float) for key in ("step", "value")}, line))
    return curves


def _reference(ax: Axes, name: str, value: float, look: tuple[str, Any]) -> Line2D:
    label = f"{literal(name.upper())} {value:.7g}"
    return ax.axhline(value, color=look[0], ls=look[1], lw=1.4, label=label)


def _loss_limits(ax: Axes, frame: pd.DataFrame, references: list[float]) -> None:
    """The axis follows loss and theory; fit and regulariser may extend it by a factor of 4."""
    values = frame["value"].where(np.isfinite(frame["value"]) & (frame["value"] > 0))
    total = pd.concat([values[frame["measure"] == "loss"], pd.Series([v for v in references if v > 0])])
    if total.notna().any():
        low = np.nanmax([values.min(), total.min() / 4]) / 1.15
        high = min(total.max(), total.min() * 1e8) * 1.15
        if low >= high:  # only fit or regulariser are positive, and lie above the theory lines
            return
        ax.set_yscale("log")
        style.log_axis(ax.yaxis, low, high)
        ax.set_ylim(low, high)


def _overlay(frame: pd.DataFrame, settings: list[Setting], codes: list[int]) -> Plot:
    figure, axes = panels(1, 1, 6.8, 4.2)
    ax = axes[0, 0]
    table = quartiles(frame[frame["measure"] == "loss"], ["setting", "step"])
    name, numbers = _first_number(settings)
    ordered = sorted(set(numbers))
    if name is not None:
        wide = ordered[0] > 0 and ordered[-1] > 10 * ordered[0]
        scale = ScalarMappable((LogNorm if wide else Normalize)(ordered[0], ordered[-1]), "viridis")
        tints = list(scale.to_rgba(np.array(numbers)))
        figure.colorbar(scale, ax=ax, label=literal(name))
    else:
        tints = style.colours(len(settings))
    for setting, code, tint in zip(settings, codes, tints, strict=True):
        part = table[table["setting"] == code]
        steps, median = part["step"].to_numpy(dtype=float), part["median"].to_numpy(dtype=float)
        _line(ax, steps, median, color=tint, lw=1.2, label=literal(setting.label))
    if name is None and len(settings) <= 20:
        figure.legend(loc="outside right upper")
    _loss_limits(ax, frame[frame["measure"] == "loss"], [])
    style.step_axis(ax)
    ax.set_ylabel("loss, median over replicas")
    ax.set_title(f"{len(settings)} settings")
    return figure


def _first_number(settings: list[Setting]) -> tuple[str | None, list[float]]:
    """The first swept quantity that is a number in every setting, and its values."""
    for name in settings[0].values:
        values = [setting.values.get(name) for setting in settings]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            return name, [float(value) for value in values if value is not None]
    return None, []
