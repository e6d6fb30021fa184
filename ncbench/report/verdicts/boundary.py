"""Check of claims on a boundary: where a value crosses a threshold along one swept quantity, against another."""

import math
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.types import Boundary
from ncbench.report.statistics import FEWEST, crossing, percentiles, resampled
from ncbench.report.verdicts.decide import Decision, Interval, decide, judges, not_finite, replicas, shown
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample

__all__ = ["boundary"]

FEWEST_PLACES = 3
Array = np.ndarray[Any, np.dtype[Any]]


@judges(Boundary)
def boundary(claim: Boundary, sample: Sample) -> Decision:
    """Slope of log crossing against log `against`, near the claimed one.

    The crossing at a place of `against`: of `threshold`, by the medians over replicas along `axis`. The interval
    resamples the places; those without a crossing inside the axis are left out, and so are values that are not finite.
    """
    table = _on_axes(claim, sample)
    finite = table[np.isfinite(table["value"])]
    crossings: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for place in sorted(table["against"].unique()):
        rows = finite[finite["against"] == place]
        medians = rows.groupby("axis")["value"].median()
        where = crossing(list(medians.index), list(medians), claim.threshold)
        if math.isfinite(where):
            crossings.append({"against": float(place), "crossing": where, "replicas": _replicas(rows)})
        else:
            left_out.append({"against": float(place), "median": _side(medians, claim.threshold)})
    if len(crossings) < FEWEST_PLACES:
        raise NotEnoughDataError(
            f"{claim.threshold:g} is crossed along {claim.axis} at {len(crossings)} places of {claim.against}, "
            f"{FEWEST_PLACES} are needed"
        )
    lost = not_finite(table)["not_finite"]
    x, y = (np.log(np.array([entry[name] for entry in crossings])) for name in ("against", "crossing"))
    estimate = float(_slopes(x[None], y[None])[0])
    interval: Interval = None
    if len(crossings) >= FEWEST:
        interval = percentiles(resampled(lambda draws: _slopes(x[draws], y[draws]), len(crossings)))
    decades = float((x.max() - x.min()) / math.log(10))
    size = _replicas(finite)
    text = f"slope of the crossing of {claim.threshold:g} along {claim.axis} against {claim.against} {estimate:.4g}"
    text += f"{shown(interval)}; {replicas(size)}, {len(crossings)} places over {decades:.2g} decades"
    text += ", none at " + ", ".join(f"{entry['against']:g}" for entry in left_out) if left_out else ""
    text += f", {lost} values not finite" if lost else ""
    allowed = (claim.slope - claim.absolute, claim.slope + claim.absolute)
    evidence = {"allowed": allowed, "not_finite": lost, "decades": decades, "places": crossings, "left_out": left_out}
    return decide(claim.by, text, size, estimate, interval, allowed, evidence, units="places")


def _on_axes(claim: Boundary, sample: Sample) -> pd.DataFrame:
    """The values with columns `axis` and `against`, both positive numbers."""
    table = sample.values(claim.selection, claim.axis)
    table["against"] = sample.column(claim.against, table)
    for key, name in (("axis", claim.axis), ("against", claim.against)):
        if not pd.api.types.is_numeric_dtype(table[key]) or table[key].isna().any():
            raise NotEnoughDataError(f"{key}={name} is not a number for every replica")
        if (table[key] <= 0).any():
            raise NotEnoughDataError(f"{key}={name}: no place for values that are not positive")
    return table


def _replicas(table: pd.DataFrame) -> int:
    return table.groupby(["run", "replica"]).ngroups


def _side(medians: "pd.Series[float]", threshold: float) -> str:
    if medians.empty:
        return "not finite"
    return "below everywhere" if medians.max() < threshold else "above everywhere"


def _slopes(x: Array, y: Array) -> Array:
    """Least-squares slopes of b samples, (b, places) each; NaN where all places are one."""
    across = x - x.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.ptp(x, axis=1) == 0, np.nan, (across * y).sum(axis=1) / (across * across).sum(axis=1))
