"""Figure of the outcome of every claim while one setting at a time, which the paper leaves open, is varied."""

import textwrap
from pathlib import Path

from ncbench.records.runs import Dir, NoRecordsError, as_paths
from ncbench.records.variations import Varied, read_varied
from ncbench.report.figures import style
from ncbench.report.figures.style import Plot, panels, styled

# The colour repeats what the mark says.
SHOWN = {"holds": ("✓", style.GREEN), "fails": ("✗", style.VERMILLION), "undecided": ("○", "#999999")}
CELL = 0.42  # inches


@styled
def robustness(dir: Dir) -> Plot:
    """One row per claim, the paper's own first, one column per setting; the first column is the experiment itself.

    Read from the robustness.json that `scripts/robustness.py` wrote. Raises NoRecordsError where there is none.
    """
    found = [varied for path in as_paths(dir) if (varied := read_varied(Path(path))) is not None]
    if not found:
        raise NoRecordsError("no settings were varied")
    return _drawn(found[0])


def _drawn(varied: Varied) -> Plot:
    claims = {name: claim for variation in varied.variations for name, claim in variation.claims.items()}
    names = sorted(claims, key=lambda name: claims[name].get("paper_claim") is None)  # stable: otherwise as written
    columns = [variation.label for variation in varied.variations]
    figure, axes = panels(1, 1, 3.6 + CELL * len(columns), 1.6 + CELL * len(names))
    ax = axes[0, 0]
    for row, name in enumerate(names):
        for column, variation in enumerate(varied.variations):
            outcome = str(variation.claims.get(name, {}).get("outcome", ""))
            mark, colour = SHOWN.get(outcome, ("", "none"))
            ax.text(column, row, mark, color=colour, ha="center", va="center", fontsize=13, fontweight="bold")
    factors = [variation.factor for variation in varied.variations]
    for column in range(1, len(factors)):
        if factors[column] != factors[column - 1]:
            ax.axvline(column - 0.5, color="#BBBBBB", lw=0.8)
    ax.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), [_label(name, claims[name].get("paper_claim") is not None) for name in names])
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    figure.suptitle("✓ holds   ✗ fails   ○ undecided\nbold: claims of the paper", fontsize=9)
    for tick, name in zip(ax.get_yticklabels(), names, strict=True):
        tick.set_fontweight("bold" if claims[name].get("paper_claim") else "normal")
    return figure


def _label(name: str, of_paper: bool) -> str:
    return textwrap.fill(name.replace("_", " "), 34 if of_paper else 36)
