"""What the check of a claim asks for, in one phrase: which value, where, which bound, of how many replicas.

It is made of the check's keys alone, and not of the claim's statement: a statement that no longer fits its check is
seen beside it.
"""

from ncbench.claims.claim import Claim, OnSelection
from ncbench.claims.selection import Selection
from ncbench.claims.types import (
    Boundary,
    Count,
    Crossing,
    EqualRanks,
    Monotone,
    Ordering,
    ShareAbove,
    ShareAtLevels,
    ShareBelow,
    ShareBetween,
    Slope,
    Value,
)
from ncbench.report.verdicts.describe import describe, describe_condition, describe_where

__all__ = ["asked"]


def asked(claim: Claim) -> str:
    """The check of a claim as a reader states it.

    >>> keys = {"statement": "s", "source": "ours", "measure": "rank", "layers": ("head.3",), "stage": "pre"}
    >>> asked(ShareBelow(check="share_below", below=2.5, at_least=0.5, **keys))
    'rank (head.3, pre) < 2.5 in at least 50 %'
    """
    if isinstance(claim, Ordering):
        return _ordering(claim)
    if isinstance(claim, EqualRanks):
        lowest = claim.joined("min").model_copy(update={"reduce_layers": None})
        return f"equal {describe(lowest)} in {_share(claim.at_least)}{describe_where(claim.where)}"
    assert isinstance(claim, OnSelection)  # every other check is about one selection
    selection = claim.selection
    given = f", given {describe_condition(selection.given)}" if selection.given else ""
    name = describe(selection.model_copy(update={"given": None}))
    return _on_selection(claim, name) + describe_where(selection.where) + given


def _on_selection(claim: Claim, name: str) -> str:
    """The phrase of a check about one selection, called `name`."""
    match claim:
        case ShareBelow():
            return f"{name} < {_bound(claim.below, claim.reference)} in {_share(claim.at_least)}"
        case ShareAbove():
            return f"{name} > {_bound(claim.above, claim.reference)} in {_share(claim.at_least)}"
        case ShareBetween():
            return f"{name} {_range(claim.between)} in {_share(claim.at_least)}"
        case ShareAtLevels():
            near = f"within {claim.absolute:g} of {' or '.join(claim.levels)}"
            return f"{name} {near} and grad_max <= {claim.stationary:g} in {_share(claim.at_least)}"
        case Count():
            return f"{name} {_beyond(claim)} in {_limits(claim.at_least, claim.at_most)}"
        case Value():
            return f"{claim.statistic} {name} {_near(claim)}"
    return _along_axis(claim, name)


def _along_axis(claim: Claim, name: str) -> str:
    match claim:
        case Monotone():
            size = f"at least {claim.at_least:g}"
            least = {"increasing": size, "decreasing": f"at most {-claim.at_least:g}", "either": f"{size} in size"}
            return f"rank correlation of {name} along {claim.axis} {least[claim.direction]}"
        case Slope():
            return f"{claim.scale} slope of {name} along {claim.axis} within {claim.absolute:g} of {claim.slope:g}"
        case Crossing():
            place = f"at {claim.value:g} within {100 * claim.tolerance:g} %"
            return f"{name} crossing {claim.threshold:g} along {claim.axis} once, {place}"
        case Boundary():
            where = f"where {name} crosses {claim.threshold:g} along {claim.axis}"
            return f"slope of {where} against {claim.against} within {claim.absolute:g} of {claim.slope:g}"
    raise AssertionError(f"no phrase for {type(claim).__name__}")


def _ordering(claim: Ordering) -> str:
    sides = (claim.smaller, claim.larger)
    if claim.at_least is None:  # two groups, each with its own replicas
        small, large = (describe(side) + describe_where(side.where) for side in sides)
        return f"median {small}, below median {large}"
    small, large = (describe(side.model_copy(update={"given": None})) for side in sides)
    both: Selection = claim.smaller
    given = f", given {describe_condition(both.given)}" if both.given else ""
    return f"{small} < {large} in {_share(claim.at_least)}{describe_where(both.where)}{given}"


def _near(claim: Value) -> str:
    """The target and its width, or the bounds, of a statistic."""
    if claim.value is None and claim.reference is None:
        return _limits(claim.at_least, claim.at_most)
    width = f"{claim.absolute:g}" if claim.tolerance is None else f"{100 * claim.tolerance:g} %"
    return f"within {width} of {_bound(claim.value, claim.reference)}"


def _beyond(claim: Count) -> str:
    if claim.between is not None:
        return _range(claim.between)
    return f"< {claim.below:g}" if claim.below is not None else f"> {claim.above:g}"


def _bound(number: float | None, line: str | None) -> str:
    return str(line) if number is None else f"{number:g}"


def _limits(least: float | None, most: float | None) -> str:
    bounds = (("at least", least), ("at most", most))
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def _range(between: tuple[float, float]) -> str:
    low, high = between
    return f"= {low:g}" if low == high else f"in {low:g} to {high:g}"


def _share(at_least: float) -> str:
    return f"at least {100 * at_least:g} %"
