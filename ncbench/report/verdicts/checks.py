"""Checks of claims on one value per replica: shares, counts, a statistic near a number, one selection below another."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.selection import Selection
from ncbench.claims.types import Count, EqualRanks, Ordering, ShareAbove, ShareBelow, ShareBetween, Value
from ncbench.report.statistics import FEWEST, percentiles, resampled, wilson
from ncbench.report.verdicts.decide import (
    Decision,
    Interval,
    decide,
    failing_share,
    judges,
    lost,
    not_finite,
    replicas,
    shown,
)
from ncbench.report.verdicts.layers import within
from ncbench.report.verdicts.needed import across_share
from ncbench.report.verdicts.selection import NotEnoughDataError, Sample

__all__ = ["count", "equal_ranks", "ordering", "share_between", "share_beyond", "value"]

EXACT = ("min", "max", "best")  # an extreme of the sample is what it is: resampling gives no interval for it


@judges(ShareBelow, ShareAbove)
def share_beyond(claim: ShareBelow | ShareAbove, sample: Sample) -> Decision:
    """Share of replicas whose value lies below, or above, a number or their own theory line.

    A value that is not finite counts as failing.
    """
    table = sample.values(claim.selection)
    below = isinstance(claim, ShareBelow)
    bound: Any = claim.below if isinstance(claim, ShareBelow) else claim.above
    evidence: dict[str, Any] = {"threshold": bound}
    if claim.reference is not None:
        bound = sample.lines(claim.reference, table)
        evidence = {"threshold": float(bound.median()), "reference": claim.reference}
    met = within(table["value"], below=bound) if below else within(table["value"], above=bound)
    return failing_share(claim.at_least, claim.by, met, table, evidence)


@judges(ShareBetween)
def share_between(claim: ShareBetween, sample: Sample) -> Decision:
    """Share of replicas whose value lies in a closed range; one that is not finite counts as failing."""
    table = sample.values(claim.selection)
    met = within(table["value"], between=claim.between)
    return failing_share(claim.at_least, claim.by, met, table, {"between": claim.between})


@judges(EqualRanks)
def equal_ranks(claim: EqualRanks, sample: Sample) -> Decision:
    """Share of replicas in which the measure has one value in all chosen layers and stages."""
    low, high = (sample.values(claim.joined(how)) for how in ("min", "max"))
    if (high["parts"] < 2).any():
        raise NotEnoughDataError("equal_ranks needs at least two layers")
    return failing_share(claim.at_least, claim.by, high["value"] == low["value"], high, {})


@judges(Count)
def count(claim: Count, sample: Sample) -> Decision:
    """Number of replicas whose value lies below, above or between.

    One that is not finite does neither; `at_most` holds only if it would with all of these counted.
    """
    table = sample.values(claim.selection)
    hits = int(within(table["value"], claim.below, claim.above, claim.between).sum())
    text = f"{hits} of {replicas(len(table))}{lost(table)}"
    most = hits + not_finite(table)["not_finite"]
    evidence = {"at_least": claim.at_least, "at_most": claim.at_most, **not_finite(table)}
    decision = decide("estimate", text, len(table), hits, None, (claim.at_least, claim.at_most), evidence)
    if decision.holds and claim.at_most is not None and hits <= claim.at_most < most:
        reason = f"with those that are not finite there could be more than {claim.at_most}"
        return replace(decision, holds=None, reason=reason)
    return decision


@judges(Value)
def value(claim: Value, sample: Sample) -> Decision:
    """A statistic over replicas near a number or a theory line, or on one side of a bound.

    The median is taken over the finite values, mean and extremes need all to be finite, the best replica (lowest final
    loss of those that `where` keeps) its own. The interval of median and mean is bootstrapped, that of a share (the
    mean of `inside`) is Wilson's: resampling replicas that all lie inside gives an interval without a width.
    """
    table = sample.values(claim.selection)
    finite = table[np.isfinite(table["value"])]
    if finite.empty or (len(finite) < len(table) and claim.statistic in ("mean", "min", "max")):
        raise NotEnoughDataError(f"{len(table) - len(finite)} of {len(table)} replicas have no finite value")
    values = finite["value"].to_numpy(dtype=float)
    target, allowed = _target(claim, sample, table)
    evidence: dict[str, Any] = {"target": target, "allowed": allowed, **not_finite(table)}
    interval: Interval = None
    share = claim.statistic == "mean" and claim.inside is not None
    if claim.statistic == "best":
        best = _best(claim, sample, table)
        estimate = float(best["value"])
        evidence |= {"run": best["run"], "replica": int(best["replica"])}
    else:
        statistic = getattr(np, claim.statistic)
        estimate = float(statistic(values))
        if share:
            interval = wilson(int(values.sum()), len(values))
        elif claim.statistic not in EXACT and len(values) >= FEWEST:
            interval = percentiles(resampled(lambda draws: statistic(values[draws], axis=1), len(values)))
    text = f"{estimate:.6g}{shown(interval)}"
    text += f", {100 * abs(estimate / target - 1):.2f} % from {target:.6g}" if target else ""
    text += f"; {replicas(len(table))}{lost(table)}"
    by = "estimate" if claim.statistic in EXACT else claim.by
    decision = decide(by, text, len(finite), estimate, interval, allowed, evidence)
    bounds = [bound for bound in allowed if bound is not None]
    if share and decision.holds is None and len(bounds) == 1:
        return replace(decision, reason=across_share(int(values.sum()), len(values), bounds[0]))
    return decision


@judges(Ordering)
def ordering(claim: Ordering, sample: Sample) -> Decision:
    """`smaller` is smaller than `larger`: in a share of the replicas that carry both, or else in the medians."""
    small, large = sample.values(claim.smaller), sample.values(claim.larger)
    both = small.merge(large, on=["run", "replica"], suffixes=("", "_larger"))
    if claim.at_least is not None:
        return failing_share(claim.at_least, claim.by, both["value"] < both["value_larger"], both, {})
    if len(both):
        raise NotEnoughDataError(f"{len(both)} replicas are in both groups, smaller and larger, which must not overlap")
    a, b = (side.loc[np.isfinite(side["value"]), "value"].to_numpy(dtype=float) for side in (small, large))
    if not (len(a) and len(b)):
        raise NotEnoughDataError("one side has no finite value")
    interval: Interval = None
    if min(len(a), len(b)) >= FEWEST:
        draws = [_medians(values, seed) for seed, values in enumerate((a, b))]
        interval = percentiles(draws[0] - draws[1])
    medians = [float(np.median(values)) for values in (a, b)]
    difference = medians[0] - medians[1]
    text = f"medians {medians[0]:.6g} and {medians[1]:.6g}, difference {difference:.4g}{shown(interval)}"
    text += f"; {len(small)} and {len(large)} replicas"
    evidence = {"medians": medians, "replicas": [len(small), len(large)], **not_finite(pd.concat([small, large]))}
    below_zero = float(np.nextafter(0, -1))  # equal is not smaller
    return decide(claim.by, text, len(a) + len(b), difference, interval, (None, below_zero), evidence)


def _medians(values: "np.ndarray[Any, np.dtype[np.float64]]", seed: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return resampled(lambda draws: np.median(values[draws], axis=1), len(values), seed)


def _target(
    claim: Value, sample: Sample, table: pd.DataFrame
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


def _best(claim: Value, sample: Sample, table: pd.DataFrame) -> "pd.Series[Any]":
    """The row of the replica of lowest final loss, of those that `where` keeps and that are in the table."""
    losses = sample.values(Selection().model_copy(update={"where": claim.where}))
    ranked = table.merge(losses, on=["run", "replica"], suffixes=("", "_loss")).dropna(subset="value_loss")
    if ranked.empty:
        raise NotEnoughDataError("no replica has a finite loss")
    best = ranked.iloc[int(ranked["value_loss"].to_numpy().argmin())]
    if not np.isfinite(best["value"]):
        raise NotEnoughDataError(
            f"replica {best['replica']} of run {best['run']} has the lowest loss and no finite value"
        )
    return best
