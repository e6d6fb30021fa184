"""What an experiment claims: `claims:` of its yaml as frozen dataclasses, every key checked.

    claims:
      - {check: share_below, reference: dnc, at_least: 0.9, expect: reproduced, says: "Section 6.1: ..."}

`check` names an entry of the closed table CHECKS, which says what keys that check takes;
`ncbench.report.verdicts.judge` has the function of the same name. `expect` is the verdict that this repository's own
record is known to have: a change of it is news. Standard library only: every configuration is checked with it before
anything heavy is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ncbench.claims.parse import LAYER_WORDS, READERS, Keys, near, refuse
from ncbench.claims.rules import TARGETS, WIDTHS, check_claim, check_selection

__all__ = ["CHECKS", "Claim", "Condition", "Selection", "parse_claims"]


@dataclass(frozen=True)
class Selection:
    """Which recorded values: one per replica, after `over_layers` has joined the layers'.

    `measure` is a recorded one, or sigma: the `index`-th (from 1) over the first singular value. `layers` are names or
    globs, or `intermediate` (head.1 ... head.L-1), `inner` (from head.2 on), `head`, `all`; empty: values of the whole
    network. `relative_to` divides by the replica's own theory line of that name, `relative_to_first` by the same
    layer's value at the first measurement. `source` keeps the values with that source layer, where a layer has one for
    each. `meeting` keeps the replicas that meet a condition.
    """

    measure: str = "loss"
    index: int | None = None
    layers: tuple[str, ...] = ()
    stage: str | None = None
    split: str = "train"
    at: str | int = "last"
    over_layers: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    relative_to: str | None = None
    relative_to_first: bool = False
    source: str | None = None
    meeting: "Condition | None" = None


@dataclass(frozen=True)
class Condition:
    """Keeps the replicas whose selected value lies below, above or (ends included) between the given numbers."""

    selection: Selection
    below: float | None = None
    above: float | None = None
    between: tuple[float, float] | None = None


@dataclass(frozen=True)
class Claim:
    """One claim; `given` holds its keys as they were written."""

    says: str
    check: str
    expect: str
    given: Mapping[str, Any]
    selection: Selection = Selection()
    provided: Condition | None = None
    smaller: Selection | None = None
    larger: Selection | None = None
    below: float | None = None
    above: float | None = None
    between: tuple[float, float] | None = None
    reference: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    value: float | None = None
    tolerance: float | None = None  # relative
    absolute: float | None = None
    statistic: str = "median"
    axis: str = ""
    direction: str = ""
    slope: float | None = None
    scale: str = ""
    threshold: float | None = None
    against: str = ""
    by: str = "interval"
    min_replicas: int = 1


_PLACES = ("layers", "stage", "source", "split", "at", "over_layers", "where")
_VALUES = ("measure", "index", *_PLACES, "relative_to", "relative_to_first")
_SELECT = (*_VALUES, "meeting")
_RANKS = ("measure", "stage", "split", "at", "where")
_BOUNDS = ("below", "above", "between")
_CONDITION = Keys((), (_BOUNDS,), _VALUES)  # no condition inside a condition

CHECKS = {
    "share_below": Keys(("at_least",), (("below", "reference"),), (*_SELECT, "by")),
    "share_above": Keys(("at_least",), (("above", "reference"),), (*_SELECT, "by")),
    "share_between": Keys(("at_least", "between"), (), (*_SELECT, "by")),
    "value": Keys((), (), (*_SELECT, "statistic", *TARGETS, *WIDTHS, "at_least", "at_most", "by")),
    "monotone": Keys(("axis", "direction", "at_least"), (), (*_SELECT, "by")),
    "slope": Keys(("axis", "scale", "slope", "absolute"), (), (*_SELECT, "by")),
    "boundary": Keys(("axis", "against", "threshold", "slope", "absolute"), (), (*_SELECT, "by")),
    "ordering": Keys(("smaller", "larger"), (), ("at_least", "by")),
    "count": Keys((), (_BOUNDS,), (*_SELECT, "at_least", "at_most")),
    "equal_ranks": Keys(("layers", "at_least"), (), (*_RANKS, "by")),
}


def parse_claims(claims: Sequence[Any]) -> tuple[Claim, ...]:
    """The claims of an experiment; ValueError of one line where one is wrong: `claims[2].at_least=2: must be ...`."""
    if isinstance(claims, str | Mapping) or not isinstance(claims, Sequence):
        refuse("claims", claims, "must be a list")
    return tuple(_claim(f"claims[{place}]", given) for place, given in enumerate(claims))


def _claim(prefix: str, given: Any) -> Claim:
    if not isinstance(given, Mapping):
        refuse(prefix, given, "must be a mapping of keys")
    if "check" not in given:
        raise ValueError(f"{prefix}.check: a value is needed; one of {', '.join(CHECKS)}")
    check = given["check"]
    if not isinstance(check, str) or check not in CHECKS:
        refuse(f"{prefix}.check", check, f"unknown check {near(check, CHECKS)}")
    keys = CHECKS[check]
    keys = Keys(("says", "expect", *keys.needs), keys.one_of, ("check", "provided", "min_replicas", *keys.takes))
    values = _read(prefix, given, keys, check)
    if check == "equal_ranks":
        values = {"measure": "rank", **values}
    own = {f.name for f in fields(Claim)}
    claim = Claim(
        check=check,
        given=dict(given),
        selection=_selection(prefix, values, joined=check != "equal_ranks"),
        **{key: value for key, value in values.items() if key in own},
    )
    check_claim(prefix, claim)
    return claim


def _read(prefix: str, given: Mapping[str, Any], keys: Keys, what: str) -> dict[str, Any]:
    """The keys' values, read and checked one by one."""
    for key, value in given.items():
        if key not in keys.all:
            refuse(f"{prefix}.{key}", value, f"{what} takes no such key {near(key, keys.all)}")
    for key in keys.needs:
        if key not in given:
            raise ValueError(f"{prefix}.{key}: a value is needed by {what}")
    for group in keys.one_of:
        if sum(key in given for key in group) != 1:
            raise ValueError(f"{prefix}: {what} needs exactly one of {', '.join(group)}")
    nested = {"provided": _condition, "meeting": _condition, "smaller": _nested_selection, "larger": _nested_selection}
    readers = {**READERS, **nested}
    return {key: readers[key](f"{prefix}.{key}", value) for key, value in given.items() if key != "check"}


def _condition(prefix: str, given: Any) -> Condition:
    if not isinstance(given, Mapping):
        refuse(prefix, given, "must be a mapping of keys")
    values = _read(prefix, given, _CONDITION, prefix.rpartition(".")[2])
    return Condition(_selection(prefix, values), **{key: values[key] for key in _BOUNDS if key in values})


def _nested_selection(prefix: str, given: Any) -> Selection:
    if not isinstance(given, Mapping):
        refuse(prefix, given, "must be a mapping of keys")
    return _selection(prefix, _read(prefix, given, Keys(takes=_SELECT), prefix.rpartition(".")[2]))


def _selection(prefix: str, values: Mapping[str, Any], joined: bool = True) -> Selection:
    """The keys of a selection; `joined`: the layers' values have to become one."""
    selection = Selection(**{key: values[key] for key in _SELECT if key in values})
    if (selection.measure == "sigma") != (selection.index is not None):
        raise ValueError(f"{prefix}.index={selection.index}: needed by measure=sigma, and by no other")
    if not selection.layers:
        for key in ("stage", "over_layers", "index", "source"):
            if values.get(key) is not None:
                refuse(f"{prefix}.{key}", values[key], "is for chosen layers; add layers")
    check_selection(prefix, selection)
    if selection.layers and joined and values.get("axis") != "layer" and selection.over_layers is None:
        (first, *more) = selection.layers
        if more or first in LAYER_WORDS or "*" in first or selection.stage is None:
            raise ValueError(f"{prefix}.over_layers: a value is needed where several layers or stages are chosen")
    return selection
