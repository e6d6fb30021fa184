"""Which settings share a panel, a curve and an axis of a figure: each has a place of its own, none are merged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ncbench.records.naming import sort_key
from ncbench.records.runs import NoRecordsError
from ncbench.records.settings import Setting
from ncbench.records.small_files import BadRecordsError

__all__ = [
    "MOST_CURVES",
    "MOST_PANELS",
    "Curve",
    "Layout",
    "Panel",
    "divided",
    "is_number_or_none",
    "panels_over",
    "taken_together",
    "told_apart",
]

MOST_CURVES = 6  # of a panel: as many as there are colours that nobody confuses
MOST_PANELS = 6


@dataclass(frozen=True)
class Curve:
    """The settings of one curve: the code of each by the number on the axis; `values` is what they share."""

    values: dict[str, Any]
    codes: dict[float, int]
    place: int  # among the curves of the figure: the same look in every panel


@dataclass(frozen=True)
class Panel:
    """Curves in one panel; `values` is what all of them share."""

    values: dict[str, Any]
    curves: list[Curve]


@dataclass(frozen=True)
class Layout:
    """What stands on the axis, the panels, and the codes of the settings that have no place in them."""

    x: str
    panels: list[Panel]
    left_out: list[int]

    @property
    def curves(self) -> list[Curve]:
        """The curves of all panels."""
        return [curve for panel in self.panels for curve in panel.curves]


def panels_over(settings: Sequence[Setting], codes: Iterable[int], what: str, x: str | None = None) -> Layout:
    """The number on the axis of a figure of these settings, a curve for each value of the others, panels for more.

    `x` is by default the number with the most values. A quantity that says the same as one before it (each determines
    the other) is none of its own. More than six curves become panels: the quantity with the most values, at most six,
    tells the curves of a panel apart, the others the panels, of which at most six are drawn.

    Raises NoRecordsError, with `what` in its sentence, where there are no two numbers to compare; ValueError for an `x`
    that is no number that varies.
    """
    known = list(codes)
    columns = told_apart(settings, known)
    numbers = {name: len(set(column)) for name, column in columns.items() if all(map(is_number_or_none, column))}
    if x is not None and x not in numbers:
        raise BadRecordsError(f"x={x!r} has to be a number that varies, one of {list(numbers)}")
    if not numbers:
        raise NoRecordsError(f"fewer than two runs {what} to compare")
    x = x or max(numbers, key=lambda name: numbers[name])
    placed = [code for code in known if settings[code].values[x] is not None]
    others = [name for name in columns if name != x]
    by_curve = _of_curves(divided(settings, placed, others), {name: len(set(columns[name])) for name in others})
    groups = divided(settings, placed, [name for name in others if name not in by_curve])
    looks = {key: place for place, key in enumerate(divided(settings, placed, by_curve))}
    panels = []
    for members in list(groups.values())[:MOST_PANELS]:
        curves = []
        for key, of_curve in divided(settings, members, by_curve).items():
            at = sorted((float(settings[code].values[x]), code) for code in of_curve)
            curves.append(Curve(dict(zip(by_curve, key, strict=True)), dict(at), looks[key]))
        first = settings[members[0]].values
        panels.append(Panel({name: first[name] for name in others if name not in by_curve}, curves))
    layout = Layout(x, panels, [])
    drawn = {code for curve in layout.curves for code in curve.codes.values()}
    if len({number for curve in layout.curves for number in curve.codes}) < 2:
        raise NoRecordsError(f"fewer than two runs {what} to compare")
    return Layout(x, panels, [code for code in known if code not in drawn])


def _of_curves(groups: dict[tuple[Any, ...], list[int]], sizes: dict[str, int]) -> list[str]:
    """The quantities that tell the curves of a panel apart: all, or the one with the most values that has room."""
    if len(groups) <= MOST_CURVES:
        return list(sizes)
    fitting = [name for name in sizes if sizes[name] <= MOST_CURVES]
    return [max(fitting, key=lambda name: sizes[name])] if fitting else []


def divided(
    settings: Sequence[Setting], codes: Iterable[int], names: Sequence[str]
) -> dict[tuple[Any, ...], list[int]]:
    """The codes by the values of these quantities, in the order of the values."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for code in codes:
        groups.setdefault(tuple(settings[code].values[name] for name in names), []).append(code)
    return dict(sorted(groups.items(), key=lambda group: list(map(sort_key, group[0]))))


def told_apart(settings: Sequence[Setting], codes: Sequence[int]) -> dict[str, list[Any]]:
    """The values of these settings by the name of every quantity that varies and does not say the same as another."""
    columns: dict[str, list[Any]] = {}
    for name in settings[codes[0]].values if codes else ():
        column = [settings[code].values[name] for code in codes]
        size = len(set(column))
        alike = (
            other
            for other in columns.values()
            if len(set(other)) == size and len(set(zip(other, column, strict=True))) == size
        )
        if size > 1 and not any(alike):
            columns[name] = column
    return columns


def taken_together(settings: Sequence[Setting], cells: Iterable[Iterable[int]]) -> list[str]:
    """The quantities in which settings of one cell differ: what a figure takes together that has one value per cell."""
    return sorted({name for codes in cells for name in told_apart(settings, list(codes))})


def is_number_or_none(value: Any) -> bool:
    """Whether a value is a number, and no truth value, or missing.

    >>> is_number_or_none(2), is_number_or_none(None), is_number_or_none(True), is_number_or_none("2")
    (True, True, False, False)
    """
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))
