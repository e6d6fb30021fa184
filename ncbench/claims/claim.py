"""Base classes of all claims: statement, source, expect, condition, min_replicas, and how an interval decides."""

from typing import Literal, get_args

from pydantic import model_validator

from ncbench.claims.rules import PositiveInt, Share, Text, Verdict, check_share
from ncbench.claims.selection import Condition, Keys, Selection

__all__ = ["SOURCES", "AtLeast", "Claim", "Decided", "OnSelection"]

Source = Literal["paper", "derived", "ours"]
SOURCES: tuple[Source, ...] = get_args(Source)
By = Literal["interval", "estimate"]


class Claim(Keys):
    """What every claim has. `source` says whose it is; `expect` is the verdict of this repository's own record.

    `condition` asks for a second verdict on the replicas that meet it, where the claim is not met by all.
    """

    check: str
    statement: Text
    source: Source
    expect: Verdict | None = None
    condition: Condition | None = None
    min_replicas: PositiveInt = 1


class OnSelection(Claim, Selection):
    """A claim about one selection, whose keys stand among its own."""

    @property
    def selection(self) -> Selection:
        """What it is about."""
        return Selection.model_construct(**{key: getattr(self, key) for key in Selection.model_fields})


class Decided(Keys):
    """The 95 % interval decides, or with `by: estimate` the measured value."""

    by: By = "interval"


class AtLeast(Decided):
    """A share of replicas, or the size of a correlation."""

    at_least: Share

    @model_validator(mode="after")
    def _an_interval_can_lie_there(self) -> "AtLeast":
        check_share(self.at_least, self.by)
        return self
