"""From varied settings to findings: what an experiment's record and `robustness.json` beside it say of the paper."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ncbench.records.variations import Variation, Varied
from ncbench.report.verdicts.settle import Finding, together

if TYPE_CHECKING:
    from ncbench.report.verdicts.judge import Judgement

__all__ = ["found_in", "variation_of"]


def variation_of(factor: str, value: str, judgement: "Judgement") -> Variation:
    """One setting from the judgement on its runs."""
    claims = {
        verdict.name: {
            "paper_claim": verdict.claim.paper_claim,
            "statement": verdict.claim.statement,
            "outcome": verdict.outcome,
            "measured": verdict.measured,
        }
        for verdict in judgement.verdicts
        if verdict.claim.source != "self_test"
    }
    return Variation(factor, value, judgement.hashes, claims)


def found_in(
    experiment: str,
    claims: Iterable[Mapping[str, Any]],
    departs: tuple[str, ...],
    varied: Varied | None,
    variation: str = "",
) -> dict[str, list[Finding]]:
    """Paper claim -> what an experiment's record and its varied settings say of it.

    `claims` are the entries of claims.json. A claim of the paper that several of them test holds if all of them hold.
    """
    named = [dict(claim) for claim in claims if claim.get("paper_claim")]
    found: dict[str, list[Finding]] = {}
    for key, outcome in _outcomes(named).items():
        reasons = [claim["evidence"].get("reason") for claim in named if claim["paper_claim"] == key]
        reason = "; ".join(dict.fromkeys(str(reason) for reason in reasons if reason))
        found[key] = [Finding(experiment, outcome, departs, reason=reason, variation=variation)]
    for other in varied.variations if varied else []:
        if other.factor:
            for key, outcome in _outcomes(list(other.claims.values())).items():
                if key in found:
                    found[key].append(Finding(experiment, outcome, departs, other.label, other.factor))
    return found


def _outcomes(claims: list[dict[str, Any]]) -> dict[str, str]:
    keys = dict.fromkeys(str(claim["paper_claim"]) for claim in claims if claim.get("paper_claim"))
    return {key: together(claim["outcome"] for claim in claims if claim.get("paper_claim") == key) for key in keys}
