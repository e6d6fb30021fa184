"""Checks of claims along an axis: a replicated or swept value, the layers from input to output, or the steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.types import Monotone, Slope
from ncbench.report.statistics import FEWEST, percentiles, rank_correlation, resampled
from ncbench.report.verdicts.decide import Decision, Interval, decide, judges, not_finite, replicas, shown
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample

__all__ = ["monotone", "slope"]

MOST_ROWS = 50
Array = np.ndarray[Any, np.dtype[Any]]


@judges(Monotone)
def monotone(claim: Monotone, sample: Sample) -> Decision:
    """Spearman's rank correlation of the value with the axis, over all replicas together, at least so far from zero."""
    table = _on_axis(claim, sample, 3)
    estimate, interval = _over_replicas(table, rank_correlation)
    up = claim.direction == "increasing" or (claim.direction == "either" and estimate >= 0)
    allowed = (claim.at_least, None) if up else (None, -claim.at_least)
    return _decision(claim, "rank correlation", table, estimate, interval, allowed)


@judges(Slope)
def slope(claim: Slope, sample: Sample) -> Decision:
    """Slope of the least-squares line through the medians at the places on the axis, near the claimed one.

    loglog: ln y against ln x; semilogx: y against ln x.
    """
    table = _on_axis(claim, sample, 2)
    logs = {"loglog": ("axis", "value"), "semilogx": ("axis",), "linear": ()}[claim.scale]
    for name in logs:
        if (table[name] <= 0).any():
            raise NotEnoughDataError(f"scale={claim.scale} needs positive {name}s")

    def fitted(x: Array, y: Array) -> float:
        places = np.unique(x)
        if len(places) < 2:
            return float("nan")
        medians = np.array([np.median(y[x == place]) for place in places])
        across = np.log(places) if "axis" in logs else places
        up = np.log(medians) if "value" in logs else medians
        across = across - across.mean()
        return float(across @ up / (across @ across))

    estimate, interval = _over_replicas(table, fitted)
    return _decision(
        claim, "slope", table, estimate, interval, (claim.slope - claim.absolute, claim.slope + claim.absolute)
    )


def _on_axis(claim: Monotone | Slope, sample: Sample, fewest: int) -> pd.DataFrame:
    table = sample.values(claim.selection, claim.axis)
    if not pd.api.types.is_numeric_dtype(table["axis"]) or table["axis"].isna().any():
        raise NotEnoughDataError(f"axis={claim.axis} is not a number for every replica")
    finite: pd.DataFrame = table[np.isfinite(table["value"])].astype({"axis": float})
    finite.attrs.update(not_finite(table))
    places = finite["axis"].nunique()
    if places < fewest:
        raise NotEnoughDataError(f"axis={claim.axis} has {places} places with finite values, {fewest} are needed")
    return finite


def _over_replicas(table: pd.DataFrame, statistic: Callable[[Array, Array], Any]) -> tuple[float, Interval]:
    """The statistic of all rows, and its interval: replicas are resampled with all their rows."""
    columns = ["axis", "value"]
    parts = [rows[columns].to_numpy(dtype=float) for _, rows in table.groupby(["run", "replica"])]

    def drawn(draws: Array) -> Array:
        samples = (np.concatenate([parts[i] for i in draw]) for draw in draws)
        return np.array([float(statistic(rows[:, 0], rows[:, 1])) for rows in samples])

    estimate = float(drawn(np.arange(len(parts))[None])[0])
    return estimate, percentiles(resampled(drawn, len(parts))) if len(parts) >= FEWEST else None


def _decision(
    claim: Monotone | Slope,
    what: str,
    table: pd.DataFrame,
    estimate: float,
    interval: Interval,
    allowed: tuple[float | None, float | None],
) -> Decision:
    size = table.groupby(["run", "replica"]).ngroups
    lost = table.attrs["not_finite"]
    places = table.groupby("axis")["value"]
    rows = pd.DataFrame(
        {"axis": places.median().index, "median": places.median().to_numpy(), "replicas": places.size()}
    )
    keep = (
        np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(int))
        if len(rows) > MOST_ROWS
        else slice(None)
    )
    evidence = {"allowed": allowed, "not_finite": lost, "places": rows.iloc[keep].to_dict("records")}
    text = f"{what} along {claim.axis} {estimate:.4g}{shown(interval)}; {replicas(size)}, {len(rows)} places"
    text += f", {lost} values not finite" if lost else ""
    return decide(claim.by, text, size, estimate, interval, allowed, evidence)
