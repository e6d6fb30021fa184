"""Figure of how often training finds a DNC solution: Figure 3 right of arXiv 2405.14468."""

import math
from typing import Any

import numpy as np

from ncbench.records.runs import Dir
from ncbench.report.figures import style
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import NoRecordsError
from ncbench.report.settings import Setting, find_settings, loss_over_dnc
from ncbench.report.statistics import wilson

NEAR = 0.01  # a replica whose loss is within this part of the DNC loss has found a DNC solution


@styled
def dnc_share(dir: Dir) -> Plot:
    """Share of replicas that found a DNC solution against the first swept number, with Wilson intervals of 95 %.

    A replica has found one if its final loss is within 1 % of the DNC loss of its own configuration; the share of those
    that end below it (by more than 1 %) is drawn too. Raises NoRecordsError without two settings with a DNC line.
    """
    settings = find_settings(dir)
    frame = loss_over_dnc(dir)
    if frame.empty:
        raise NoRecordsError("no run with a DNC line")
    known = [code for code in sorted(frame["setting"].unique()) if _number(settings[code]) is not None]
    several = {name for code in known for name in settings[code].values}
    if len(several) > 1:
        raise NoRecordsError(f"{', '.join(sorted(several))} vary; the share is drawn against one of them alone")
    if len(known) < 2:
        raise NoRecordsError("fewer than two runs with a DNC line to compare")
    name = next(iter(settings[known[0]].values))
    figure, axes = panels(1, 1, 4.6, 3.4)
    ax = axes[0, 0]
    kinds = (
        ("DNC (within 1 % of its loss)", style.BLUE, "o", (1 - NEAR, 1 + NEAR)),
        ("below DNC", style.ORANGE, "s", (-math.inf, 1 - NEAR)),
    )
    for label, colour, marker, (least, most) in kinds:
        rows = []
        for code in known:
            values = frame.loc[frame["setting"] == code, "value"]
            hits = int(values.between(least, most).sum())
            rows.append((_number(settings[code]), hits / len(values), *wilson(hits, len(values))))
        x, share, low, high = (np.array(column, dtype=float) for column in zip(*sorted(rows), strict=True))
        bars = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
        ax.errorbar(x, share, bars, color=colour, marker=marker, ms=4.5, capsize=2, label=label)
    ax.set(xlabel=literal(name), ylabel="share of replicas", ylim=(-0.03, 1.03))
    ax.set_title(f"{int(frame.groupby('setting')['value'].size().min())} replicas each, bars: 95 %")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _number(setting: Setting) -> float | None:
    value: Any = next(iter(setting.values.values()), None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
