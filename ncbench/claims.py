"""What an experiment claims: `claims:` of its yaml as frozen dataclasses, every key checked.

    claims:
      - {check: share_below, reference: dnc, at_least: 0.9, expect: reproduced, says: "Section 6.1: ..."}

`check` names an entry of the closed table CHECKS, which says what keys that check takes; `ncbench.report.claims` has
the function of the same name. `expect` is the verdict that this repository's own record is known to have: a change of
it is news. Standard library only: every configuration is checked with it before anything heavy is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ncbench.claim_keys import READERS, Keys, near, refuse, whole

__all__ = ["CHECKS", "Claim", "Condition", "Selection", "parse_claims"]


@dataclass(frozen=True)
class Selection:
    """Which recorded values: one per replica, after `over_layers` has joined the layers'.

    `measure` is a recorded one, or sigma: the `index`-th (from 1) over the first singular value. `layers` are names or
    globs, or `intermediate` (head.1 ... head.L-1), `head`, `all`; empty: values of the whole network. `relative_to`
    divides by the replica's own theory line of that name.
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
    by: str = "interval"
    min_replicas: int = 1


_SELECT = ("measure", "index", "layers", "stage", "split", "at", "over_layers", "where", "relative_to")
_RANKS = ("measure", "stage", "split", "at", "where")
_BOUNDS = ("below", "above", "between")
_TARGETS = ("value", "reference")
_WIDTHS = ("tolerance", "absolute")
_CONDITION = Keys((), (_BOUNDS,), _SELECT)

CHECKS = {
    "share_below": Keys(("at_least",), (("below", "reference"),), (*_SELECT, "by")),
    "share_above": Keys(("at_least",), (("above", "reference"),), (*_SELECT, "by")),
    "share_between": Keys(("at_least", "between"), (), (*_SELECT, "by")),
    "value": Keys((), (), (*_SELECT, "statistic", *_TARGETS, *_WIDTHS, "at_least", "at_most", "by")),
    "monotone": Keys(("axis", "direction", "at_least"), (), (*_SELECT, "by")),
    "slope": Keys(("axis", "scale", "slope", "absolute"), (), (*_SELECT, "by")),
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
    _check_threshold(prefix, claim)
    if check in _RULES:
        _RULES[check](prefix, claim)
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
    readers = {**READERS, "provided": _condition, "smaller": _nested_selection, "larger": _nested_selection}
    return {key: readers[key](f"{prefix}.{key}", value) for key, value in given.items() if key != "check"}


def _condition(prefix: str, given: Any) -> Condition:
    if not isinstance(given, Mapping):
        refuse(prefix, given, "must be a mapping of keys")
    values = _read(prefix, given, _CONDITION, "provided")
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
        for key in ("stage", "over_layers", "index"):
            if values.get(key) is not None:
                refuse(f"{prefix}.{key}", values[key], "is for chosen layers; add layers")
    if selection.layers and joined and values.get("axis") != "layer" and selection.over_layers is None:
        (first, *more) = selection.layers
        if more or first in ("intermediate", "head", "all") or "*" in first or selection.stage is None:
            raise ValueError(f"{prefix}.over_layers: a value is needed where several layers or stages are chosen")
    return selection


def _check_threshold(prefix: str, claim: Claim) -> None:
    """`at_least` is a share, a correlation or a number, as the check says."""
    if claim.at_least is None or claim.check == "value":
        return
    key, value = f"{prefix}.at_least", claim.given["at_least"]
    if claim.check == "count":
        whole(0)(key, value)
    elif not 0 <= value <= 1:
        refuse(key, value, "must be in [0, 1]")
    elif value == 1 and claim.by == "interval":
        refuse(key, value, "no interval lies at 1; use by: estimate, or less than 1")


def _value_rules(prefix: str, claim: Claim) -> None:
    targets, widths, bounds = (
        [key for key in keys if key in claim.given] for keys in (_TARGETS, _WIDTHS, ("at_least", "at_most"))
    )
    near_one, bounded = len(targets) == len(widths) == 1, not targets and not widths and bounds
    if not (near_one and not bounds) and not bounded:
        raise ValueError(
            f"{prefix}: value needs value or reference with tolerance or absolute, or else at_least or at_most"
        )
    if claim.value == 0 and claim.tolerance is not None:
        refuse(f"{prefix}.tolerance", claim.tolerance, "is relative, and value is 0; use absolute")
    if claim.given.get("by") == "interval" and claim.statistic in ("min", "max", "best"):
        refuse(f"{prefix}.by", "interval", f"{claim.statistic} has none; leave it out")


def _axis_rules(prefix: str, claim: Claim) -> None:
    chosen, key = claim.selection, f"{prefix}.axis"
    if claim.axis == "step" and "at" in claim.given:
        refuse(f"{prefix}.at", chosen.at, "with axis=step every step is taken")
    if claim.axis == "layer" and not (chosen.layers and chosen.stage and chosen.over_layers is None):
        refuse(key, claim.axis, "needs layers and stage, and takes no over_layers")
    if claim.axis == "layer" and claim.scale in ("loglog", "semilogx"):
        refuse(f"{prefix}.scale", claim.scale, "layers are counted, not measured; use linear")


def _ordering_rules(prefix: str, claim: Claim) -> None:
    assert claim.smaller is not None
    assert claim.larger is not None
    paired = claim.smaller.where == claim.larger.where
    if paired != (claim.at_least is not None):
        rule = "needed where both selections have the same `where` (a share of replicas), and only there"
        raise ValueError(f"{prefix}.at_least={claim.at_least}: {rule}")


def _count_rules(prefix: str, claim: Claim) -> None:
    if claim.at_least is None and claim.at_most is None:
        raise ValueError(f"{prefix}: count needs at_least or at_most")
    if claim.at_most is not None:
        whole(0)(f"{prefix}.at_most", claim.given["at_most"])


_RULES = {
    "value": _value_rules,
    "monotone": _axis_rules,
    "slope": _axis_rules,
    "ordering": _ordering_rules,
    "count": _count_rules,
}
