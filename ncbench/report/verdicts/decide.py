"""What a check of a claim found, how an interval decides it, and which function checks which type of claim."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from ncbench.claims.types import Claim
from ncbench.report.statistics import FEWEST, wilson
from ncbench.report.verdicts.needed import across, across_share

if TYPE_CHECKING:
    from ncbench.report.verdicts.selection import Sample

__all__ = [
    "Check",
    "Decision",
    "Interval",
    "checks_of",
    "decide",
    "failing_share",
    "judges",
    "lost",
    "not_finite",
    "replicas",
    "shown",
    "too_few",
]

MOST_FAILING = 10
Check = Callable[[Any, "Sample"], "Decision"]
CheckT = TypeVar("CheckT", bound=Check)
Interval = tuple[float, float] | None
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Decision:
    """Whether a claim holds (None: the records cannot decide, `reason` says why), in words and in numbers."""

    holds: bool | None
    measured: str
    size: int
    evidence: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def judges(*kinds: type[Claim]) -> Callable[[CheckT], CheckT]:
    """Marks a function as the check of these types of claims."""

    def mark(function: CheckT) -> CheckT:
        function.judges = kinds  # type: ignore[attr-defined]
        return function

    return mark


def checks_of(*modules: ModuleType) -> dict[type[Claim], Check]:
    """Type of claim -> its check, of the functions that are marked in these modules."""
    marked = [function for module in modules for function in vars(module).values() if hasattr(function, "judges")]
    return {kind: function for function in marked for kind in function.judges}


def decide(
    by: str,
    measured: str,
    size: int,
    estimate: float,
    interval: Interval,
    allowed: Bounds,
    evidence: Mapping[str, Any],
    units: str = "replicas",
) -> Decision:
    """The decision on a quantity that must lie in `allowed`, ends included (None: no bound there).

    By interval: it holds if all of the interval is allowed and fails if none of it is. By estimate, as is every
    quantity that has no interval: the interval is evidence only. `units` are what is resampled for it.
    """
    low, high = interval or (None, None)
    numbers = {"estimate": estimate, "low": low, "high": high, **evidence}
    if by == "estimate":
        return Decision(_inside(estimate, estimate, allowed), measured, size, numbers)
    if interval is None:
        reason = f"no interval from fewer than {FEWEST} {units}"
        return Decision(None, measured, size, numbers, reason)
    holds = _inside(*interval, allowed)
    reason = "" if holds is not None else across(estimate, interval, allowed, size if units == "replicas" else None)
    return Decision(holds, measured, size, numbers, reason)


def failing_share(
    at_least: float, by: str, met: "pd.Series[bool]", table: pd.DataFrame, evidence: Mapping[str, Any]
) -> Decision:
    """The decision on the share of replicas that meet a condition, with Wilson's interval and those that do not."""
    hits, size = int(met.sum()), len(table)
    if not size:
        return Decision(None, "0 replicas", 0, reason="no replica is left")
    interval = wilson(hits, size)
    low, high = (f"{100 * end:.1f}".removesuffix(".0") for end in interval)
    text = f"{hits} of {replicas(size)} ({100 * hits / size:.3g} %; 95 % interval {low} to {high} %){lost(table)}"
    if size == 1 and "threshold" in evidence:  # the number itself says more than its share
        text = f"{float(table['value'].iloc[0]):.6g} against {evidence['threshold']:.6g}; {text}"
    failing = [
        {"run": row["run"], "replica": int(row["replica"]), "value": row["value"]}
        for row in table[~met].head(MOST_FAILING).to_dict("records")
    ]
    numbers = {"hits": hits, "at_least": at_least, **evidence, **not_finite(table), "failing": failing}
    decision = decide(by, text, size, hits / size, interval, (at_least, None), numbers)
    return replace(decision, reason=across_share(hits, size, at_least)) if decision.holds is None else decision


def shown(interval: Interval) -> str:
    """An interval as it stands behind its estimate."""
    return f" (95 % interval {interval[0]:.4g} to {interval[1]:.4g})" if interval else ""


def replicas(number: int) -> str:
    """A number of replicas.

    >>> replicas(1)
    '1 replica'
    """
    return "1 replica" if number == 1 else f"{number} replicas"


def not_finite(table: pd.DataFrame) -> dict[str, int]:
    """How many values are not finite, as evidence."""
    return {"not_finite": int((~np.isfinite(table["value"])).sum())}


def lost(table: pd.DataFrame) -> str:
    """The same for the reader, where there are any."""
    number = not_finite(table)["not_finite"]
    return f", {number} not finite" if number else ""


def too_few(claim: Claim, decision: Decision) -> Decision:
    """Undecided, where fewer replicas were looked at than the claim asks for."""
    if decision.size >= claim.min_replicas:
        return decision
    return replace(decision, holds=None, reason=f"min_replicas={claim.min_replicas}, and there are {decision.size}")


def _inside(low: float, high: float, allowed: Bounds) -> bool | None:
    least = -math.inf if allowed[0] is None else allowed[0]
    most = math.inf if allowed[1] is None else allowed[1]
    if least <= low and high <= most:
        return True
    return False if high < least or low > most else None
