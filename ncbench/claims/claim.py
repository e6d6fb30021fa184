"""Base classes of all claims: statement, source, paper_claim, expect, min_replicas, and how an interval decides."""

from typing import Literal, get_args

from pydantic import model_validator

from ncbench.claims.rules import Outcome, PositiveInt, Share, Text, broken, check_share
from ncbench.claims.selection import Keys, Selection

__all__ = ["SOURCES", "AtLeast", "Claim", "Decided", "OnSelection"]

Source = Literal["paper", "derived", "ours", "self_test"]
SOURCES: tuple[Source, ...] = get_args(Source)
By = Literal["interval", "estimate"]


class Claim(Keys):
    """What every claim has. `source` says whose it is; `expect` is the outcome of this repository's own record.

    A claim of a paper names its entry in the paper's table. A self-test follows from algebra or from the construction
    of what it is about: it tests the code and makes no verdict.
    """

    check: str
    statement: Text
    source: Source
    paper_claim: Text | None = None
    expect: Outcome | None = None
    min_replicas: PositiveInt = 1

    @model_validator(mode="after")
    def _a_paper_claims_it(self) -> "Claim":
        if self.source == "paper" and self.paper_claim is None:
            rule = "a value is needed where source is paper: the name of an entry under claims of paper/KEY.yaml"
            raise broken("paper_claim", None, rule)
        if self.source != "paper" and self.paper_claim is not None:
            raise broken("paper_claim", self.paper_claim, "is for source=paper")
        return self


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
