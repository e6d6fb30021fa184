"""Checks of claims on one value per replica: shares, counts, a statistic near a number, one selection below another."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.types import Claim, Selection
from ncbench.report.statistics import FEWEST, percentiles, resampled
from ncbench.report.verdicts.decide import Decision, Interval, decide, failing_share, lost, not_finite, replicas, shown
from ncbench.report.verdicts.describe import describe
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample, within

__all__ = ["count", "equal_ranks", "ordering", "share", "value"]

EXACT = ("min", "max", "best")  # an extreme of the sample is what it is: resampling gives no interval for it


def share(claim: Claim, sample: Sample) -> Decision:
    """Shard of replicas whose value lies below, above or between; one that is not finite counts as failing."""
    table = sample.values(claim.selection)
    below: Any = claim.below
    above: Any = claim.above
    threshold: dict[str, Any] = {"between": claim.between, "threshold": below if above is None else above}
    if claim.reference is not None:
        line = sample.lines(claim.reference, table)
        below, above = (line, None) if claim.check == "share_below" else (None, line)
        threshold = {"threshold": float(line.median()), "reference": claim.reference}
    return failing_share(claim, within(table["value"], below, above, claim.between), table, threshold)


def equal_ranks(claim: Claim, sample: Sample) -> Decision:
    """Shard of replicas in which the measure has one value in all chosen layers and stages."""
    low, high = (sample.values(replace(claim.selection, over_layers=how)) for how in ("min", "max"))
    if (high["parts"] < 2).any():
        raise NotEnoughDataError("one layer cannot differ from itself, at least two have to be chosen")
    return failing_share(claim, high["value"] == low["value"], high, {})


def count(claim: Claim, sample: Sample) -> Decision:
    """Number of replicas whose value lies below, above or between; one that is not finite does neither."""
    table = sample.values(claim.selection)
    hits = int(within(table["value"], claim.below, claim.above, claim.between).sum())
    text = f"{hits} of {replicas(len(table))}{lost(table)}"
    evidence = {"at_least": claim.at_least, "at_most": claim.at_most, **not_finite(table)}
    return decide(claim, text, len(table), hits, None, (claim.at_least, claim.at_most), evidence, exact=True)


def value(claim: Claim, sample: Sample) -> Decision:
    """A statistic over replicas near a number or a theory line, or on one side of a bound.

    Median and best replica (lowest final loss) are taken over the finite values, the others need all to be finite.
    The interval of median and mean is bootstrapped.
    """
    table = sample.values(claim.selection)
    finite = table[np.isfinite(table["value"])]
    if finite.empty or (len(finite) < len(table) and claim.statistic in ("mean", "min", "max")):
        raise NotEnoughDataError(f"{len(table) - len(finite)} of {len(table)} replicas have no finite value")
    values = finite["value"].to_numpy(dtype=float)
    target, allowed = _target(claim, sample, table)
    evidence: dict[str, Any] = {"target": target, "allowed": allowed, **not_finite(table)}
    interval: Interval = None
    if claim.statistic == "best":
        best = _best(sample, finite)
        estimate = float(best["value"])
        evidence |= {"run": best["run"], "replica": int(best["replica"])}
    else:
        statistic = getattr(np, claim.statistic)
        estimate = float(statistic(values))
        if claim.statistic not in EXACT and len(values) >= FEWEST:
            interval = percentiles(resampled(lambda draws: statistic(values[draws], axis=1), len(values)))
    text = f"{claim.statistic} {describe(claim.selection)} {estimate:.6g}{shown(interval)}"
    text += f", {100 * abs(estimate / target - 1):.2f} % from {target:.6g}" if target else ""
    text += f"; {replicas(len(table))}{lost(table)}"
    exact = claim.statistic in EXACT
    return decide(claim, text, len(table), estimate, interval, allowed, evidence, exact=exact)


def ordering(claim: Claim, sample: Sample) -> Decision:
    """`smaller` is smaller than `larger`: in a share of the replicas that carry both, or else in the medians."""
    assert claim.smaller is not None
    assert claim.larger is not None
    small, large = sample.values(claim.smaller), sample.values(claim.larger)
    both = small.merge(large, on=["run", "replica"], suffixes=("", "_larger"))
    if claim.at_least is not None:
        return failing_share(claim, both["value"] < both["value_larger"], both, {})
    if len(both):
        raise NotEnoughDataError(f"{len(both)} replicas are in smaller and in larger")
    a, b = (one.loc[np.isfinite(one["value"]), "value"].to_numpy(dtype=float) for one in (small, large))
    if not (len(a) and len(b)):
        raise NotEnoughDataError("one side has no finite value")
    interval: Interval = None
    if min(len(a), len(b)) >= FEWEST:
        draws = [_medians(one, seed) for seed, one in enumerate((a, b))]
        interval = percentiles(draws[0] - draws[1])
    medians = [float(np.median(one)) for one in (a, b)]
    difference = medians[0] - medians[1]
    text = f"medians {medians[0]:.6g} and {medians[1]:.6g}, difference {difference:.4g}{shown(interval)}"
    text += f"; {len(small)} and {len(large)} replicas"
    evidence = {"medians": medians, "replicas": [len(small), len(large)], **not_finite(pd.concat([small, large]))}
    below_zero = float(np.nextafter(0, -1))  # equal is not smaller
    return decide(claim, text, len(small) + len(large), difference, interval, (None, below_zero), evidence)


def _medians(values: "np.ndarray[Any, np.dtype[np.float64]]", seed: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return resampled(lambda draws: np.median(values[draws], axis=1), len(values), seed)


def _target(
    claim: Claim, sample: Sample, table: pd.DataFrame
) -> tuple[float | None, tuple[float | None, float | None]]:
    """The number to be met, if there is one, and the range it allows."""
    target = claim.value
    if claim.reference is not None:
        lines = sample.lines(claim.reference, table).unique()
        if len(lines) > 1:
            raise NotEnoughDataError(
                f"{claim.reference} differs between replicas; relative_to compares each with its own"
            )
        target = float(lines[0])
    if target is None:
        return None, (claim.at_least, claim.at_most)
    width = claim.absolute if claim.tolerance is None else abs(target) * claim.tolerance
    assert width is not None
    return target, (target - width, target + width)


def _best(sample: Sample, table: pd.DataFrame) -> "pd.Series[Any]":
    losses = sample.values(Selection())
    ranked = table.merge(losses, on=["run", "replica"], suffixes=("", "_loss")).dropna(subset="value_loss")
    if ranked.empty:
        raise NotEnoughDataError("no replica has a finite loss")
    return ranked.iloc[int(ranked["value_loss"].to_numpy().argmin())]
