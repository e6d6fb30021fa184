"""What an experiment claims: one type per check, every key of it typed.

    claims:
      below_dnc: {check: share_below, reference: dnc, at_least: 0.9, source: paper, statement: "Section 6.1: ..."}

A new check is a model here, a subclass of `Claim` with its name as the type of `check`, and a function marked with
`ncbench.report.verdicts.decide.judges`. Only what stands here can be named, so a run folder from anywhere names no
code. Standard library and pydantic: every configuration is checked with it before anything heavy is imported.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, model_validator

from ncbench.claims.along_axis import Boundary, Crossing, Monotone, Slope
from ncbench.claims.claim import AtLeast, Claim, Decided, OnSelection
from ncbench.claims.rules import (
    NO_LEVEL,
    Between,
    Layers,
    NonNegativeInt,
    Positive,
    Share,
    Text,
    broken,
    check_bounds,
    check_one_of,
    check_share,
    not_empty,
    texts,
)
from ncbench.claims.selection import Places, Selection

__all__ = [
    "CHECKS",
    "Boundary",
    "Claim",
    "Count",
    "Crossing",
    "EqualRanks",
    "Monotone",
    "Ordering",
    "ShareAbove",
    "ShareAtLevels",
    "ShareBelow",
    "ShareBetween",
    "Slope",
    "Value",
]


class ShareBelow(OnSelection, AtLeast):
    """The share of replicas below a number, or below their own theory line."""

    check: Literal["share_below"]
    below: float | None = None
    reference: Text | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "ShareBelow":
        check_one_of(self.check, self, ("below", "reference"))
        return self


class ShareAbove(OnSelection, AtLeast):
    """The share of replicas above a number, or above their own theory line."""

    check: Literal["share_above"]
    above: float | None = None
    reference: Text | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "ShareAbove":
        check_one_of(self.check, self, ("above", "reference"))
        return self


class ShareBetween(OnSelection, AtLeast):
    """The share of replicas in a closed range."""

    check: Literal["share_between"]
    between: Between


class ShareAtLevels(OnSelection, AtLeast):
    """The share of replicas that have converged, and to a loss within `absolute` of one of these theory lines.

    A line that a replica does not have, a solution that does not exist there, is no level of it.
    """

    check: Literal["share_at_levels"]
    levels: Annotated[tuple[Text, ...], BeforeValidator(texts), AfterValidator(not_empty)]
    absolute: Positive
    stationary: Positive  # converged: no entry of the gradient (grad_max) is larger

    @model_validator(mode="after")
    def _levels_are_losses(self) -> "ShareAtLevels":
        for key, plain in (("measure", "loss"), ("layers", ()), ("relative_to", None), ("inside", None)):
            if getattr(self, key) != plain:
                raise broken(key, getattr(self, key), "levels are of the loss itself; leave it out")
        for name in self.levels:
            if name in NO_LEVEL:
                raise broken("levels", name, f"must not have the name of a state: {', '.join(NO_LEVEL)}")
        return self


class Value(OnSelection, Decided):
    """A statistic over replicas near a number or theory line, or on one side of a bound."""

    check: Literal["value"]
    statistic: Literal["median", "mean", "min", "max", "best"] = "median"
    value: float | None = None
    reference: Text | None = None
    tolerance: Positive | None = None  # relative
    absolute: Positive | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _a_target_or_a_bound(self) -> "Value":
        targets, widths, bounds = (
            [key for key in keys if getattr(self, key) is not None]
            for keys in (("value", "reference"), ("tolerance", "absolute"), ("at_least", "at_most"))
        )
        near_target = len(targets) == len(widths) == 1 and not bounds
        if not near_target and not (bounds and not targets and not widths):
            rule = "value needs value or reference with tolerance or absolute, or else at_least or at_most"
            raise broken("", None, rule)
        if self.value == 0 and self.tolerance is not None:
            raise broken("tolerance", self.tolerance, "is relative, and value is 0; use absolute")
        if "by" in self.model_fields_set and self.by == "interval" and self.statistic in ("min", "max", "best"):
            raise broken("by", self.by, f"{self.statistic} has no interval; leave it out")
        check_bounds(self.at_least, self.at_most)
        return self


class Ordering(Claim, Decided):
    """One selection is smaller than another: in a share of the replicas, or between groups in the median."""

    check: Literal["ordering"]
    smaller: Selection
    larger: Selection
    at_least: Share | None = None

    @model_validator(mode="after")
    def _a_share_or_groups(self) -> "Ordering":
        same = self.smaller.where == self.larger.where and self.smaller.given == self.larger.given
        if same != (self.at_least is not None):
            rule = "give a share of replicas if, and only if, both selections have the same `where` and `given`"
            raise broken("at_least", self.at_least, rule)
        if self.at_least is not None:
            check_share(self.at_least, self.by)
        return self


class Count(OnSelection):
    """The number of replicas below, above or between, at least and at most a whole number."""

    check: Literal["count"]
    below: float | None = None
    above: float | None = None
    between: Between | None = None
    at_least: NonNegativeInt | None = None
    at_most: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _bounds(self) -> "Count":
        check_one_of(self.check, self, ("below", "above", "between"))
        if self.at_least is None and self.at_most is None:
            raise broken("", None, "count needs at_least or at_most")
        check_bounds(self.at_least, self.at_most)
        return self


class EqualRanks(Claim, Places, AtLeast):
    """The rank is the same in all chosen layers, in a share of the replicas."""

    check: Literal["equal_ranks"]
    measure: Text = "rank"
    layers: Layers

    def joined(self, how: Literal["max", "min"]) -> Selection:
        """The highest or lowest rank of the chosen layers."""
        places = {key: getattr(self, key) for key in Places.model_fields}
        return Selection.model_construct(**places, reduce_layers=how)


def _checks(base: type[Claim]) -> Iterator[tuple[str, type[Claim]]]:
    """The models that name their check, by that name."""
    for model in base.__subclasses__():
        names: tuple[Any, ...] = get_args(model.model_fields["check"].annotation)
        yield from ((name, model) for name in names)
        yield from _checks(model)


CHECKS = dict(_checks(Claim))
