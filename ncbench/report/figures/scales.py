"""The colour scales of the figures: one for each kind of quantity, the same in every figure of a page."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.colors import Normalize

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir
from ncbench.records.settings import find_settings

__all__ = ["COSINES", "RANKS", "rank_scale"]

RANKS = ("rank", "effective_rank", "stable_rank", "soft_rank")
COSINES: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}


def rank_scale(dir: Dir, most: int, drawn: Iterable[float] = ()) -> Normalize:
    """From 0 to the highest numerical or effective rank of the class means that the runs in `dir` have recorded.

    Of more than `most` settings the ranks of the weights count too, as one figure of the page has both. Where a figure
    is asked for more, the scale reaches to the highest of its `drawn` values. Colours are those of viridis.
    """
    frame = load_measures(dir, measures=["rank", "effective_rank"])
    frame = frame[frame["split"].isin(rows_of_split())]
    if len(find_settings(dir)) <= most:
        frame = frame[frame["stage"] != "weight"]
    values = np.concatenate([frame["value"].to_numpy(dtype=float), np.fromiter(drawn, dtype=float)])
    return Normalize(0.0, float(np.max(values, where=np.isfinite(values), initial=1.0)))
