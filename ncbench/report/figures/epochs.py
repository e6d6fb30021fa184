"""Curves over epochs: medians and quartiles over the networks of a setting, and where their terminal phase begins."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ncbench.records.settings import Setting
from ncbench.report.figures import style
from ncbench.report.figures.labels import literal
from ncbench.report.settings import quartiles
from ncbench.report.terminal_phase import ZERO_ERROR, terminal_starts

__all__ = ["TERMINAL", "draw_curve", "mark_terminal_phase", "tints_of"]

TERMINAL = "start of the terminal phase"


def tints_of(codes: list[int], settings: list[Setting]) -> dict[int, tuple[Any, str]]:
    """The colour and the name of each setting; one alone is blue and has no name."""
    if len(codes) == 1:
        return {codes[0]: (style.BLUE, "")}
    return {
        code: (tint, literal(settings[code].label)) for code, tint in zip(codes, style.colours(len(codes)), strict=True)
    }


def draw_curve(ax: Axes, rows: pd.DataFrame, tint: Any, dashes: str, *, log: bool, marker: str = "") -> bool:
    """The median over networks against the epoch with a band between the quartiles; whether zeros were lifted.

    On a logarithmic axis values below 1e-16, exact zeros among them, are drawn at 1e-16.
    """
    table = quartiles(rows[np.isfinite(rows["value"].to_numpy(dtype=float))], ["epoch"]).sort_values("epoch")
    if table.empty:
        return False
    epochs, middle, low, high = (table[name].to_numpy(dtype=float) for name in ("epoch", "median", "q25", "q75"))
    lifted = False
    if log:
        (middle, lifted), (low, _), (high, _) = style.clip(middle), style.clip(low), style.clip(high)
    ax.fill_between(epochs, low, high, color=tint, alpha=0.18, lw=0)
    ax.plot(epochs, middle, color=tint, ls=dashes, lw=1.5, marker=marker, ms=3)
    return lifted


def mark_terminal_phase(axes: list[Axes], frame: pd.DataFrame, tints: dict[int, tuple[Any, str]]) -> list[str]:
    """A dotted line at the median epoch at which the networks of each setting begin it; what is to be said of them.

    Only networks that reach it count; the sentences say of how many settings none, or not all, do.
    """
    starts = terminal_starts(frame)
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
        notes.append(f"terminal phase: training accuracy at least {ZERO_ERROR:g} from there on")
    return notes
