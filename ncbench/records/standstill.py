"""Whether training had come to rest: how much changed between the last two measured steps of a run."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ncbench.records.layers import rows_of_split
from ncbench.records.load import load_measures
from ncbench.records.storage import recorded_steps

__all__ = ["standstill"]


def standstill(folder: str | os.PathLike[str], without: Collection[int] = ()) -> dict[str, Any] | None:
    """Change of the objective and of the effective ranks from the last measured step but one to the last.

    `{"steps": [s, t], "loss": |J_t - J_s| / |J_t|, "effective_rank": max |r_t - r_s|}`, of the medians over the
    replicas (but those in `without`, which diverged), the maximum over the class means of every layer and stage of the
    training split. A number is None where the run has not recorded it; None in all where fewer than two steps are
    recorded.
    """
    steps = recorded_steps(Path(folder))[-2:]
    if len(steps) < 2:
        return None
    frame = load_measures(Path(folder), measures=["loss", "effective_rank"])
    frame = frame[
        frame["split"].isin(rows_of_split()) & frame["step"].isin(steps) & frame["stage"].isin(["", "pre", "post"])
    ]
    frame = frame[~frame["replica"].isin(list(without))]
    medians = frame.groupby(["measure", "layer", "stage", "step"], observed=True)["value"].median().unstack("step")
    if medians.shape[1] < 2:
        return {"steps": steps, "loss": None, "effective_rank": None}
    moved = (medians[steps[1]] - medians[steps[0]]).abs()
    loss, end = (table.get(("loss", "", ""), float("nan")) for table in (moved, medians[steps[1]]))
    rank = moved[moved.index.get_level_values("measure") == "effective_rank"].max()
    return {"steps": steps, "loss": _finite(loss / abs(end) if end else end), "effective_rank": _finite(rank)}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
