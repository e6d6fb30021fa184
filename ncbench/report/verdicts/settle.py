"""From what was found of a paper's claim, in records and at varied settings, to what may be said of the paper.

    reproduced                              it holds where every setting that the paper gives is followed
    reproduced at other settings            it holds, but only where a given setting is not followed, or at another
                                            value of a setting that the paper leaves open than the experiment's own
    not reproduced at our settings          it fails at our values of what the paper leaves open, varied ones too
    not reproduced at the paper's settings  it fails, and the paper leaves nothing open
    undecided                               none of these, with what would decide

A failure where a given setting is not followed says nothing about the paper. What the paper proves, constructs,
or computes by a closed form is so `by proof` or `by construction` and gets no verdict.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ncbench.claims.paper_claims import PaperClaim

__all__ = ["FAILS", "HOLDS", "UNDECIDED", "VERDICTS", "WITHOUT_VERDICT", "Finding", "Settled", "settle", "together"]

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
REPRODUCED, ELSEWHERE = "reproduced", "reproduced at other settings"
NOT_OURS, NOT_THEIRS = "not reproduced at our settings", "not reproduced at the paper's settings"
WITHOUT_VERDICT = {"construction": "by construction", "proof": "by proof"}
VERDICTS = (REPRODUCED, ELSEWHERE, NOT_OURS, NOT_THEIRS, UNDECIDED)


@dataclass(frozen=True)
class Finding:
    """The outcome of a claim in one experiment: as its file has it, or `varied` in one setting (model.width=40).

    `factor` is the setting that was varied, `departs` what the experiment does not follow of what the paper gives,
    `variation` what tells it from others of the figure, `reason` why an outcome is undecided.
    """

    experiment: str
    outcome: str
    departs: tuple[str, ...] = ()
    varied: str = ""
    factor: str = ""
    reason: str = ""
    variation: str = ""


@dataclass(frozen=True)
class Settled:
    """A verdict on a claim of a paper, and in words where it comes from."""

    verdict: str
    why: str


def settle(claim: PaperClaim, findings: Sequence[Finding]) -> Settled:
    """The verdict on a claim of a paper from everything that was found of it."""
    if claim.kind in WITHOUT_VERDICT:
        return Settled(WITHOUT_VERDICT[claim.kind], claim.decided_by or "")
    own = [finding for finding in findings if not finding.varied]
    # Found only by varying an experiment that departs from the paper's settings already, it supports nothing.
    holding = [finding for finding in findings if finding.outcome == HOLDS and not (finding.departs and finding.varied)]
    failing = [finding for finding in findings if finding.outcome == FAILS]
    followed = [finding for finding in holding if not finding.departs and not finding.varied]
    if followed:
        return Settled(REPRODUCED, _but(_places(followed), failing))
    if holding:
        return Settled(ELSEWHERE, _but(_places(holding), failing))
    accusing = [finding for finding in failing if not finding.departs]
    experiments = {finding.experiment for finding in accusing if not finding.varied}
    if experiments:
        of_them = [finding for finding in findings if finding.experiment in experiments and not finding.departs]
        return _failed(claim, of_them)
    if accusing:
        rule = "and not in the experiment itself"
        return Settled(UNDECIDED, _decided_by(f"fails at varied settings alone: {_places(accusing)}, {rule}", claim))
    if failing:
        rule = "which says nothing about the paper's own"
        return Settled(
            UNDECIDED, _decided_by(f"fails at settings that depart from the paper's: {_places(failing)}, {rule}", claim)
        )
    reasons = _listed({f"{finding.experiment}: {finding.reason}" for finding in own if finding.reason})
    return Settled(UNDECIDED, _decided_by(reasons or "no experiment here tests it", claim))


def _failed(claim: PaperClaim, findings: Sequence[Finding]) -> Settled:
    """The verdict where experiments that follow every given setting fail, from these experiments' findings alone."""
    failing = [finding for finding in findings if finding.outcome == FAILS]
    if not claim.open:
        return Settled(NOT_THEIRS, f"fails in {_places(failing)}; the paper leaves nothing open")
    left_open = f"the paper leaves open: {', '.join(claim.open)}"
    varied = sorted({finding.factor for finding in failing if finding.factor})
    if varied:
        unknown = [finding for finding in findings if finding.outcome == UNDECIDED]
        but = f"; undecided with {_places(unknown)}" if unknown else ""
        return Settled(NOT_OURS, f"{left_open}; varied: {', '.join(varied)}{but}")
    experiments = _places(failing)
    return Settled(
        UNDECIDED, _decided_by(f"fails in {experiments} at our choice of what was not varied; {left_open}", claim)
    )


def together(outcomes: Iterable[str]) -> str:
    """The outcome of a claim that an experiment tests in several places: it has to hold in all of them.

    >>> together(["holds", "undecided"]), together(["holds", "fails"]), together([])
    ('undecided', 'fails', 'undecided')
    """
    found = set(outcomes)
    return FAILS if FAILS in found else HOLDS if found == {HOLDS} else UNDECIDED


def _but(where: str, failing: Sequence[Finding]) -> str:
    return f"{where}; not with {_places(failing)}" if failing else where


def _decided_by(text: str, claim: PaperClaim) -> str:
    return f"{text}; would decide: {claim.decided_by}" if claim.decided_by else text


def _places(findings: Sequence[Finding]) -> str:
    """Where something was found: experiments, varied settings, departures."""
    names = []
    for finding in findings:
        settings = "; ".join(text for text in (finding.variation, finding.varied, *finding.departs) if text)
        names.append(f"{finding.experiment} ({settings})" if settings else finding.experiment)
    return _listed(names)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(dict.fromkeys(names)))
