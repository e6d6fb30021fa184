"""The rules between the keys of a claim: what one key asks of the others, and the one-line error where it is not so."""

from typing import TYPE_CHECKING

from ncbench.claims.parse import refuse, whole

if TYPE_CHECKING:
    from ncbench.claims.types import Claim, Selection

__all__ = ["TARGETS", "WIDTHS", "check_claim", "check_selection"]

TARGETS = ("value", "reference")
WIDTHS = ("tolerance", "absolute")


def check_claim(prefix: str, claim: "Claim") -> None:
    """ValueError of one line where a claim breaks a rule of its check."""
    _check_threshold(prefix, claim)
    if claim.check in _RULES:
        _RULES[claim.check](prefix, claim)


def check_selection(prefix: str, selection: "Selection") -> None:
    """The same for what `source` and `relative_to_first` of a selection ask for."""
    if selection.source is not None and selection.index is not None:
        refuse(f"{prefix}.source", selection.source, "sigma has no source layers")
    if selection.relative_to_first:
        key = f"{prefix}.relative_to_first"
        if selection.at == "first":
            refuse(key, True, "at: first is divided by itself")
        if selection.relative_to is not None or selection.measure.startswith("line:"):
            refuse(key, True, "a theory line has no first measurement, take one of the two")


def _check_threshold(prefix: str, claim: "Claim") -> None:
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


def _value_rules(prefix: str, claim: "Claim") -> None:
    targets, widths, bounds = (
        [key for key in keys if key in claim.given] for keys in (TARGETS, WIDTHS, ("at_least", "at_most"))
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


def _axis_rules(prefix: str, claim: "Claim") -> None:
    chosen, key = claim.selection, f"{prefix}.axis"
    if claim.axis == "step" and "at" in claim.given:
        refuse(f"{prefix}.at", chosen.at, "with axis=step every step is taken")
    if claim.axis == "layer" and not (chosen.layers and chosen.stage and chosen.over_layers is None):
        refuse(key, claim.axis, "needs layers and stage, and takes no over_layers")
    if claim.axis == "layer" and claim.scale in ("loglog", "semilogx"):
        refuse(f"{prefix}.scale", claim.scale, "layers are counted, not measured; use linear")


def _ordering_rules(prefix: str, claim: "Claim") -> None:
    assert claim.smaller is not None
    assert claim.larger is not None
    same = [getattr(claim.smaller, key) == getattr(claim.larger, key) for key in ("where", "meeting")]
    if all(same) != (claim.at_least is not None):
        rule = "needed where both selections have the same `where` and `meeting` (a share of replicas), and only there"
        raise ValueError(f"{prefix}.at_least={claim.at_least}: {rule}")


def _boundary_rules(prefix: str, claim: "Claim") -> None:
    for key, name in (("axis", claim.axis), ("against", claim.against)):
        if name in ("layer", "step"):
            refuse(f"{prefix}.{key}", name, "must be a replicated or swept value")
    if claim.axis == claim.against:
        refuse(f"{prefix}.against", claim.against, "has to differ from axis")


def _count_rules(prefix: str, claim: "Claim") -> None:
    if claim.at_least is None and claim.at_most is None:
        raise ValueError(f"{prefix}: count needs at_least or at_most")
    if claim.at_most is not None:
        whole(0)(f"{prefix}.at_most", claim.given["at_most"])


_RULES = {
    "value": _value_rules,
    "monotone": _axis_rules,
    "slope": _axis_rules,
    "boundary": _boundary_rules,
    "ordering": _ordering_rules,
    "count": _count_rules,
}
