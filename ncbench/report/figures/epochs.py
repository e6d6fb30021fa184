"""Curves over epochs: medians and quartiles over the networks of a setting, and where their terminal phase begins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

__all__ = [
    "OF_WEIGHT",
    "TERMINAL",
    "Look",
    "draw_curve",
    "is_reached",
    "legend_handles",
    "looks",
    "mark_terminal_phase",
]

TERMINAL = "start of the terminal phase"
CURVE = "_curve"  # the label of a line that is one, which no legend shows


@dataclass(frozen=True)
class Look:
    """How a curve is drawn, the marker of one that is a single point, and what the legend says of both.

    Only the training data's markers are filled, so that markers in one place are told apart.
    """

    dashes: Any
    marker: str
    label: str
    is_filled: bool = False


OF_WEIGHT = Look("-.", "D", "classifier W")
KNOWN = {"train": Look("-", "o", "training data", True), "test": Look("--", "s", "test data")}
OTHERS = [((0, (6, 1.5, 1, 1.5, 1, 1.5)), "^"), ((0, (9, 2)), "v"), ((0, (2, 1)), "P"), ((0, (4, 1, 4, 1, 1, 1)), "X")]


def looks(splits: Iterable[str]) -> dict[str, Look]:
    """The look of every split that is recorded, those of training and test first; one of another name has its name."""
    names = [split for split in dict.fromkeys(splits) if split]
    others = sorted(set(names) - set(KNOWN))
    known = {split: look for split, look in KNOWN.items() if split in names}
    return known | {
        name: Look(*OTHERS[place % len(OTHERS)], f"{name} data".replace("$", r"\$"))
        for place, name in enumerate(others)
    }


def legend_handles(
    axes: Iterable[Axes], tints: Mapping[int, tuple[Any, str]], drawn: Iterable[Look], reached: bool
) -> list[Line2D]:
    """A colour for each setting with a name, and each look: its dashes, its marker, or both, as these are drawn."""
    curves = [
        line for ax in axes for line in ax.lines if isinstance(line.get_label(), str) and line.get_label() == CURVE
    ]
    points = any(line.get_marker() not in ("", "None") for line in curves)
    lines = any(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).sum() > 1 for line in curves)
    colours = [Line2D([], [], color=tint, lw=2, label=name) for tint, name in tints.values() if name]
    black = [
        Line2D(
            [],
            [],
            color="black",
            ls=look.dashes if lines or not points else "",
            lw=1.4,
            marker=look.marker if points else "",
            ms=4,
            mfc="black" if look.is_filled else "none",
            label=look.label,
        )
        for look in drawn
    ]
    terminal = [Line2D([], [], color="black", ls=":", lw=1.4, label=TERMINAL)] if reached else []
    return [*colours, *black, *terminal]


def draw_curve(ax: Axes, table: pd.DataFrame, tint: Any, look: Look, floor: float | None = None) -> bool:
    """The median over networks against the epoch with a band between the quartiles; whether values were lifted.

    `table` holds median, q25 and q75 at every epoch; where the median is not finite the curve has a gap. With a
    `floor`, for a logarithmic axis, what is below it is drawn there, exact zeros among it. A value without one before
    or behind it is a point.
    """
    table = table.sort_values("epoch")
    epochs, *curves = (table[name].to_numpy(dtype=float) for name in ("epoch", "median", "q25", "q75"))
    finite = np.isfinite(curves[0])
    if not finite.any():
        return False
    curves = [np.where(finite, curve, np.nan) for curve in curves]
    middle, low, high = curves if floor is None else (np.maximum(curve, floor) for curve in curves)
    ax.fill_between(epochs, low, high, color=tint, alpha=0.18, lw=0)
    alone = np.flatnonzero(finite & ~np.r_[False, finite[:-1]] & ~np.r_[finite[1:], False])
    ax.plot(
        epochs,
        middle,
        color=tint,
        ls=look.dashes,
        lw=1.5,
        marker=look.marker if len(alone) else "",
        markevery=alone.tolist(),
        ms=4,
        mfc=tint if look.is_filled else "none",
        label=CURVE,
    )
    return floor is not None and bool((curves[0] < floor).any())


def is_reached(starts: pd.DataFrame, shown: Iterable[int]) -> bool:
    """Whether any network of these settings begins its terminal phase, and so any dotted line is drawn."""
    return bool(starts.loc[starts["setting"].isin(list(shown)), "epoch"].notna().any())


def mark_terminal_phase(
    axes: list[Axes], starts: pd.DataFrame, tints: Mapping[int, tuple[Any, str]], zero_error: float
) -> list[str]:
    """A dotted line at the median epoch at which the networks of each setting begin it; what is to be said of them.

    `starts` is that of `ncbench.report.terminal_phase`, `tints` the colour and the name of each setting. Only networks
    that reach it count; the sentences say of how many settings none, or not all, do. Of a network without a recorded
    training accuracy it is not known.
    """
    notes = []
    reached, unknown = 0, 0
    for code, (tint, name) in tints.items():
        epochs = starts[starts["setting"] == code]["epoch"]
        began = epochs[epochs.notna()]
        unknown += len(epochs) == 0
        if 0 < len(began) < len(epochs):
            of = f"{name}: " if name else ""
            notes.append(f"{of}{len(began)} of {len(epochs)} networks reach the terminal phase")
        if not len(began):
            continue
        reached += 1
        for ax in axes:
            ax.axvline(float(began.median()), color="#6B6B6B" if len(tints) == 1 else tint, ls=":", lw=1.2)
    if unknown:
        where = "" if unknown == len(tints) else f" in {unknown} of {len(tints)} settings"
        notes.append(f"no training accuracy is recorded{where}")
    if never := len(tints) - reached - unknown:
        where = f" in {never} of {len(tints)} settings" if unknown else " where no dotted line stands"
        notes.append("the terminal phase is not reached" + (where if len(tints) > 1 else ""))
    if reached:
        notes.append(f"terminal phase: training accuracy at least {zero_error:g} from there on")
    return notes
