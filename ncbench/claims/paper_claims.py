"""What a paper claims, as its file `paper/KEY.yaml` lists it; an experiment's claim takes its standard from there.

    claims:
      ranks_5_to_8:
        figures: ["2 top"]
        place: "Section 6.1"
        says: "The intermediate layers have rank 5 to 8."
        kind: share
        given: ["width 30"]
        open: ["n"]
        standard: {check: share_between, measure: rank, layers: intermediate, stage: pre, between: [5, 8], ...}

The sentence, its place and its check stand there once. An experiment refers to them, `{paper_claim: ranks_5_to_8}`, so
that one sentence is held to one standard in all experiments.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ncbench.claims.rules import Text, broken, texts
from ncbench.claims.selection import Keys

__all__ = ["KINDS", "PaperClaim", "with_standards"]

Kind = Literal["existence", "share", "trend", "value", "ordering", "construction", "proof"]
# Which checks can test which kind of sentence: "is found" is existence, "all runs" a share, "falls with" a trend. What
# a paper proves, constructs, or computes by a closed form no run decides: our code for it has tests, and no verdict.
KINDS: Mapping[str, tuple[str, ...]] = {
    "existence": ("count", "value"),
    "share": ("share_below", "share_above", "share_between", "share_at_levels", "equal_ranks", "ordering"),
    "trend": ("monotone", "slope", "boundary"),
    "value": ("value", "share_below", "share_above", "share_between", "slope", "equal_ranks", "crossing"),
    "ordering": ("ordering", "value", "share_below", "share_above"),
    "construction": (),
    "proof": (),
}


Texts = Annotated[tuple[Text, ...], BeforeValidator(texts)]


class PaperClaim(Keys):
    """A sentence, caption or picture of a paper: where it stands, what it says, in our words, and how it is tested.

    `given` are the settings that the paper gives for it, `open` those that it leaves open. `standard` are the keys of
    its check; without them no experiment here tests it. `decided_by` says what would decide it where none does.
    """

    figures: Texts
    place: Text
    says: Text
    kind: Kind
    given: Texts = ()
    open: Texts = ()
    decided_by: Text | None = None
    standard: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _checked_as_its_kind(self) -> "PaperClaim":
        check = self.standard.get("check")
        if self.standard and check not in KINDS[self.kind]:
            checked_by = ", ".join(KINDS[self.kind]) or "no run"
            raise broken("standard.check", check, f"kind={self.kind} is checked by {checked_by}")
        if (
            self.kind == "existence"
            and check == "value"
            and self.standard.get("statistic") not in ("best", "min", "max")
        ):
            raise broken("standard.statistic", self.standard.get("statistic"), "existence is of best, min or max")
        for key in ("statement", "source", "paper_claim", "expect"):
            if key in self.standard:
                raise broken(f"standard.{key}", self.standard[key], "is no part of a check")
        return self

    @property
    def statement(self) -> str:
        """Place and sentence, as a page shows them."""
        return f"{self.place}: {self.says}"


def with_standards(claims: Any, table: Mapping[str, PaperClaim], paper: str) -> Any:
    """The claims of an experiment with statement, source and check of those that refer to the paper's table.

    Keys of the standard may be repeated and not changed; other keys (where, given, step, ...) may be added. Claims
    that are no mapping of mappings are returned as they are, for `parse_claims` to refuse.

    Raises:
        ValueError: an unknown `paper_claim`, one that has no standard, or a key with another value than the paper's
            table has.
    """
    if not isinstance(claims, Mapping):
        return claims
    return {name: _with_standard(f"claims.{name}", written, table, paper) for name, written in claims.items()}


def _with_standard(where: str, written: Any, table: Mapping[str, PaperClaim], paper: str) -> Any:
    if not isinstance(written, Mapping) or written.get("paper_claim") is None:
        return written
    key = written["paper_claim"]
    if not isinstance(key, str) or key not in table:
        known = f"(known: {', '.join(table)})" if table else "(its table of claims is empty)"
        raise ValueError(f"{where}.paper_claim={key}: {paper or 'reproduces.paper=null'} has no such claim {known}")
    claim = table[key]
    if not claim.standard:
        raise ValueError(f"{where}.paper_claim={key}: it has no standard in the table of {paper}, so nothing tests it")
    fixed = {"statement": claim.statement, "source": "paper", **claim.standard}
    return _merged(where, written, fixed, key)


def _merged(where: str, written: Mapping[str, Any], fixed: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Written keys and those of the standard, in nested mappings too."""
    merged = dict(written)
    for name, value in fixed.items():
        own = merged.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            merged[name] = _merged(f"{where}.{name}", own, value, key)
        elif own is not None and not _equal(own, value):
            rule = f"the standard of {key} is {value}, the same in every experiment"
            raise ValueError(f"{where}.{name}={' '.join(str(own).split())}: {rule}")
        else:
            merged[name] = value
    return merged


def _equal(own: Any, value: Any) -> bool:
    return (
        (list(own) == list(value))
        if isinstance(own, list | tuple) and isinstance(value, list | tuple)
        else own == value
    )
