"""Rows of the recorded tables that several figures and pages show: final losses, ranks, DNC1, the number of classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ncbench.records.layers import WHOLE_NETWORK, head_number, layers_between
from ncbench.records.load import load_spectra
from ncbench.records.runs import BadRecordsError, Dir, named_runs, read_yaml
from ncbench.records.schema import CONFIG

if TYPE_CHECKING:
    from ncbench.report.settings import Setting

__all__ = [
    "Curve",
    "NoRecordsError",
    "UndefinedError",
    "curves_over",
    "final_loss",
    "head_depths",
    "intermediate_rank",
    "last_dnc1",
    "mean_over_layers",
    "num_classes",
    "output_rows",
    "require_finite",
]


MOST_CURVES = 6


class NoRecordsError(ValueError):
    """The directory has runs, but none of the records that this figure shows."""


class UndefinedError(NoRecordsError):
    """The records that this figure shows are there, but none of their values can be drawn (NaN or infinite)."""


@dataclass(frozen=True)
class Curve:
    """The settings of one curve: their codes by the number on the axis; `values` is what they share besides."""

    values: dict[str, Any]
    codes: dict[float, list[int]]


def curves_over(
    settings: Sequence["Setting"], codes: Iterable[int], what: str, x: str | None = None
) -> tuple[str, list[Curve]]:
    """The number that stands on the axis of a figure of these settings, and a curve for each value of the others.

    `x` is by default the number with the most values. A quantity that says the same as one before it (each determines
    the other) is none of its own. Settings of several runs that differ in nothing are one point.

    Raises NoRecordsError, with `what` in its sentence, where there are no two numbers to compare, or more than six
    curves would be drawn; ValueError for an `x` that is no number that varies.
    """
    known = list(codes)
    columns = _told_apart(settings, known)
    numbers = {name: len(set(column)) for name, column in columns.items() if all(map(_is_number_or_none, column))}
    if x is not None and x not in numbers:
        raise BadRecordsError(f"x={x!r} has to be a number that varies, one of {list(numbers)}")
    if not numbers:
        raise NoRecordsError(f"fewer than two runs {what} to compare")
    x = x or max(numbers, key=lambda name: numbers[name])
    others = [name for name in columns if name != x]
    curves: dict[tuple[Any, ...], Curve] = {}
    for code in known:
        values = {name: settings[code].values[name] for name in others}
        curve = curves.setdefault(tuple(values.values()), Curve(values, {}))
        if settings[code].values[x] is not None:
            curve.codes.setdefault(float(settings[code].values[x]), []).append(code)
    if len(curves) > MOST_CURVES:
        rule = f"a figure has room for {MOST_CURVES} curves"
        have = "has" if len(others) == 1 else "together have"
        raise NoRecordsError(f"{' and '.join(others)} {have} {len(curves)} values; {rule}")
    drawn = [Curve(curve.values, dict(sorted(curve.codes.items()))) for curve in curves.values() if curve.codes]
    if len({number for curve in drawn for number in curve.codes}) < 2:
        raise NoRecordsError(f"fewer than two runs {what} to compare")
    return x, drawn


def _told_apart(settings: Sequence["Setting"], codes: list[int]) -> dict[str, list[Any]]:
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


def _is_number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))


def require_finite(values: Iterable[float], what: str) -> None:
    """Raises UndefinedError where none of the recorded values of `what` is finite."""
    if not np.isfinite(np.asarray(values, dtype=float)).any():
        raise UndefinedError(f"{what} is recorded, but none of its values is finite")


def final_loss(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the loss of every replica."""
    return frame[(frame["measure"] == "loss") & (frame["layer"] == WHOLE_NETWORK)]


def head_depths(frame: pd.DataFrame) -> "pd.Series[float]":
    """L of every row's setting: the last layer of the head that anything is recorded of; NaN where there is none."""
    numbers = [head_number(str(layer)) for layer in frame["layer"].cat.categories]
    of_codes = np.array([np.nan if number is None else number for number in numbers])
    of_rows = pd.Series(of_codes[frame["layer"].cat.codes.to_numpy()], frame.index)
    return of_rows.groupby(frame["setting"]).transform("max")


def output_rows(frame: pd.DataFrame, measure: str, stage: str = "pre") -> pd.DataFrame:
    """Rows of a measure of head.L, the network's output, at its one stage `pre` (or of its `weight`)."""
    numbers = {layer: head_number(str(layer)) for layer in frame["layer"].cat.categories}
    last = frame["layer"].map(numbers).astype(float) == head_depths(frame)
    return frame[last & (frame["measure"] == measure) & (frame["stage"] == stage)]


def mean_over_layers(
    frame: pd.DataFrame,
    measure: str,
    stage: str,
    word: str = "intermediate",
    by: Sequence[str] = ("setting", "replica"),
) -> pd.DataFrame:
    """Mean of a measure at one stage over the layers that a word of `records.layers` names, one row per group of `by`.

    L is counted over all rows of the setting: the output has no post-activation, the last hidden layer has.
    """
    depths = head_depths(frame)
    chosen = pd.Series(False, frame.index)
    for L in depths.dropna().unique():
        chosen |= (depths == L) & frame["layer"].isin(layers_between(word, int(L)))
    rows = frame[chosen & (frame["measure"] == measure) & (frame["stage"] == stage)]
    return rows.groupby(list(by), observed=True)["value"].mean().reset_index()


def intermediate_rank(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of the pre-activation class means of head.1 ... head.L-1, one row per setting and replica."""
    return mean_over_layers(frame, "rank", "pre")


def last_dnc1(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of DNC1 after the last activation: head.L-1, or `features` where L = 1."""
    rows = frame[(frame["measure"] == "dnc1") & (frame["stage"] == "post")]
    rows = rows.assign(order=rows["layer"].cat.codes)
    return rows[rows["order"] == rows.groupby("setting")["order"].transform("max")]


def num_classes(dir: Dir) -> dict[str, int]:
    """K of every run that says it: `dataset.classes`, or as many as the class means have singular values."""
    known: dict[str, int] = {}
    for name, run in named_runs(dir).items():
        config = read_yaml(run / CONFIG) if (run / CONFIG).is_file() else None
        dataset = config.get("dataset") if isinstance(config, dict) else None
        classes = dataset.get("classes") if isinstance(dataset, dict) else None
        if isinstance(classes, int):
            known[name] = classes
    means = load_spectra(dir, steps="last")
    means = means[means["stage"] != "weight"]
    for run_name, most in means.groupby("run", observed=True)["index"].max().items():
        known.setdefault(str(run_name), int(most) + 1)
    return known
