"""Verdicts on claims of papers: every branch by hand, a plain twin over all small sets of findings, planted bugs."""

import itertools

import pytest

from ncbench.claims.paper_claims import PaperClaim
from ncbench.report.verdicts import settle as settling
from ncbench.report.verdicts.settle import VERDICTS, Finding, Settled, settle, together

LEFT_OPEN = PaperClaim(figures=["1"], place="Section 1", says="It falls.", kind="share", open=["n", "width"])
ALL_GIVEN = LEFT_OPEN.model_copy(update={"open": ()})
DECIDED_BY = LEFT_OPEN.model_copy(update={"decided_by": "a larger run"})
DEPARTS = ("n = 5",)


def found(outcome, varied="", departs=(), experiment="fig1", reason=""):
    return Finding(experiment, outcome, departs, varied, varied.partition("=")[0], reason)


BRANCHES = [
    (LEFT_OPEN, [found("holds")], "reproduced", "fig1"),
    (LEFT_OPEN, [Finding("fig1", "holds", variation="50 seeds")], "reproduced", "fig1 (50 seeds)"),
    (LEFT_OPEN, [found("holds"), found("fails", "n=2")], "reproduced", "fig1; not with fig1 (n=2)"),
    (
        LEFT_OPEN,
        [found("holds"), found("fails", departs=DEPARTS, experiment="fig2")],
        "reproduced",
        "fig1; not with fig2 (n = 5)",
    ),
    (LEFT_OPEN, [found("holds", departs=DEPARTS)], "reproduced at other settings", "fig1 (n = 5)"),
    (
        LEFT_OPEN,
        [found("fails"), found("holds", "n=2")],
        "reproduced at other settings",
        "fig1 (n=2); not with fig1",
    ),
    (
        LEFT_OPEN,
        [found("fails", departs=DEPARTS), found("holds", "n=2", DEPARTS)],
        "undecided",  # what departs and is varied besides supports nothing
        "fails at settings that depart from the paper's: fig1 (n = 5), which says nothing about the paper's own",
    ),
    (ALL_GIVEN, [found("fails")], "not reproduced at the paper's settings", "fails in fig1; the paper leaves nothing"),
    (
        LEFT_OPEN,
        [found("fails"), found("fails", "n=2"), found("fails", "width=9")],
        "not reproduced at our settings",
        "the paper leaves open: n, width; varied: n, width",
    ),
    (
        LEFT_OPEN,
        [found("fails"), found("fails", "n=2"), found("undecided", "width=9")],
        "not reproduced at our settings",
        "the paper leaves open: n, width; varied: n; undecided with fig1 (width=9)",
    ),
    (
        LEFT_OPEN,
        [found("fails")],
        "undecided",
        "fails in fig1 at our choice of what was not varied; the paper leaves open: n, width",
    ),
    (
        LEFT_OPEN,
        [found("fails"), found("undecided", "n=2")],
        "undecided",
        "fails in fig1 at our choice of what was not varied; the paper leaves open: n, width",
    ),
    (
        DECIDED_BY,
        [found("fails", departs=DEPARTS), found("fails", "n=2", DEPARTS)],
        "undecided",
        "fails at settings that depart from the paper's: fig1 (n = 5), fig1 (n=2; n = 5), which says nothing about the "
        "paper's own; would decide: a larger run",
    ),
    (
        ALL_GIVEN,
        [found("fails", departs=DEPARTS)],
        "undecided",
        "fails at settings that depart from the paper's: fig1 (n = 5), which says nothing about the paper's own",
    ),
    (
        ALL_GIVEN,
        [found("undecided"), found("fails", "n=2")],
        "undecided",
        "fails at varied settings alone: fig1 (n=2), and not in the experiment itself",
    ),
    (
        LEFT_OPEN,
        [found("fails"), found("undecided", experiment="fig2"), found("fails", "n=2", experiment="fig2")],
        "undecided",
        "fails in fig1 at our choice of what was not varied; the paper leaves open: n, width",
    ),
    (LEFT_OPEN, [found("undecided", reason="too few")], "undecided", "fig1: too few"),
    (DECIDED_BY, [], "undecided", "no experiment here tests it; would decide: a larger run"),
]


@pytest.mark.parametrize(("claim", "findings", "verdict", "why"), BRANCHES)
def test_every_branch_by_hand(claim, findings, verdict, why):
    settled = settle(claim, findings)
    assert settled.verdict == verdict
    assert settled.why.startswith(why) if why.endswith("nothing") else settled.why == why
    assert settle(claim, findings[::-1]) == settled  # no order counts


def test_the_branches_reach_every_verdict():
    assert {verdict for _, _, verdict, _ in BRANCHES} == set(VERDICTS)


@pytest.mark.parametrize("kind", ["proof", "construction"])
def test_what_is_proved_or_constructed_gets_no_verdict(kind):
    claim = PaperClaim(figures=["1"], place="Section 1", says="It is so.", kind=kind, decided_by="a proof")
    assert settle(claim, [found("fails")]) == Settled(f"by {kind}", "a proof")


def twin(claim, findings):
    """The rules one after the other, in the words of docs/claims.md."""
    outcomes = {(f.outcome, bool(f.departs), bool(f.varied)) for f in findings}
    if ("holds", False, False) in outcomes:
        return "reproduced"
    if ("holds", True, False) in outcomes or ("holds", False, True) in outcomes:
        return "reproduced at other settings"
    if ("fails", False, False) not in outcomes:
        return "undecided"
    if not claim.open:
        return "not reproduced at the paper's settings"
    return "not reproduced at our settings" if ("fails", False, True) in outcomes else "undecided"


def small_sets():
    """All sets of at most three findings of one experiment."""
    each = [
        found(outcome, varied, departs)
        for outcome in ("holds", "fails", "undecided")
        for varied in ("", "n=2")
        for departs in ((), DEPARTS)
    ]
    return [findings for size in range(4) for findings in itertools.combinations(each, size)]


def test_all_small_sets_of_findings_as_the_twin_says():
    for claim in (LEFT_OPEN, ALL_GIVEN):
        for findings in small_sets():
            assert settle(claim, findings).verdict == twin(claim, findings), findings


def accused(settled):
    return settled.verdict.startswith("not reproduced")


def test_a_failure_with_departures_never_accuses(mutant):
    careless = mutant(
        settling, "accusing = [finding for finding in failing if not finding.departs]", "accusing = failing"
    )
    caught = 0
    for claim in (LEFT_OPEN, ALL_GIVEN):
        for findings in small_sets():
            if not any(f.outcome == "fails" and not f.departs and not f.varied for f in findings):
                assert not accused(settle(claim, findings)), findings
                caught += accused(careless.settle(claim, findings))
    assert caught


def test_an_open_setting_that_nothing_varied_never_accuses(mutant):
    hasty = mutant(settling, "    if varied:\n", "    if True:\n")
    unvaried = [findings for findings in small_sets() if not any(f.varied for f in findings)]
    assert not any(accused(settle(LEFT_OPEN, findings)) for findings in unvaried)
    assert any(accused(hasty.settle(LEFT_OPEN, findings)) for findings in unvaried)


def test_another_planted_bug_is_seen(mutant):
    flattering = mutant(
        settling, "if not finding.departs and not finding.varied]\n    if followed", "]\n    if followed"
    )
    findings = [found("holds", departs=DEPARTS)]
    assert (flattering.settle(LEFT_OPEN, findings).verdict, settle(LEFT_OPEN, findings).verdict) == (
        "reproduced",
        "reproduced at other settings",
    )


def test_a_claim_tested_in_several_places_holds_in_all_of_them():
    assert together(["holds", "holds"]) == "holds"
    assert together(["holds", "undecided"]) == "undecided"
    assert together(["undecided", "fails", "holds"]) == "fails"
    assert together([]) == "undecided"
