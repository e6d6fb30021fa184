"""Curves over epochs: medians and quartiles over the networks of a setting, and where their terminal phase begins."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

__all__ = ["TERMINAL", "draw_curve", "is_reached", "mark_terminal_phase"]

TERMINAL = "start of the terminal phase"


def draw_curve(ax: Axes, table: pd.DataFrame, tint: Any, dashes: str, floor: float | None = None) -> bool:
    """The median over networks against the epoch with a band between the quartiles; whether values were lifted.

    `table` holds median, q25 and q75 at every epoch. With a `floor`, for a logarithmic axis, what is below it is drawn
    there, exact zeros among it. One measurement alone is a point.
    """
    table = table[np.isfinite(table["median"].to_numpy(dtype=float))].sort_values("epoch")
    if table.empty:
        return False
    epochs, *curves = (table[name].to_numpy(dtype=float) for name in ("epoch", "median", "q25", "q75"))
    middle, low, high = curves if floor is None else (np.maximum(curve, floor) for curve in curves)
    ax.fill_between(epochs, low, high, color=tint, alpha=0.18, lw=0)
    ax.plot(epochs, middle, color=tint, ls=dashes, lw=1.5, marker="o" if len(epochs) == 1 else "", ms=4)
    return floor is not None and bool((curves[0] < floor).any())


def is_reached(starts: pd.DataFrame, shown: Iterable[int]) -> bool:
    """Whether any network of these settings begins its terminal phase, and so any dotted line is drawn."""
    return bool(starts.loc[starts["setting"].isin(list(shown)), "epoch"].notna().any())


def mark_terminal_phase(
    axes: list[Axes], starts: pd.DataFrame, tints: Mapping[int, tuple[Any, str]], zero_error: float
) -> list[str]:
    """A dotted line at the median epoch at which the networks of each setting begin it; what is to be said of them.

    `starts` is that of `ncbench.report.terminal_phase`, `tints` the colour and the name of each setting. Only networks
    that reach it count; the sentences say of how many settings none, or not all, do.
    """
    notes = []
    reached = 0
    for code, (tint, name) in tints.items():
        epochs = starts[starts["setting"] == code]["epoch"]
        began = epochs[epochs.notna()]
        if 0 < len(began) < len(epochs):
            of = f"{name}: " if name else ""
            notes.append(f"{of}{len(began)} of {len(epochs)} networks reach the terminal phase")
        if not len(began):
            continue
        reached += 1
        for ax in axes:
            ax.axvline(float(began.median()), color="#6B6B6B" if len(tints) == 1 else tint, ls=":", lw=1.2)
    if reached < len(tints):
        notes.append("the terminal phase is not reached" + ("" if len(tints) == 1 else " where no dotted line stands"))
    if reached:
        notes.append(f"terminal phase: training accuracy at least {zero_error:g} from there on")
    return notes
