"""Counts over the claims of a paper: what is covered, what is decided, and that nothing undecided is hidden."""

import pytest

from ncbench.claims.paper_claims import PaperClaim
from ncbench.claims.papers import Paper
from ncbench.report.verdicts import coverage as coverages
from ncbench.report.verdicts.coverage import claims_of_paper, cover
from ncbench.report.verdicts.settle import VERDICTS, Finding, Settled

SAYS = {"figures": ["1"], "place": "Section 1", "says": "It falls.", "kind": "share"}
PAPER = Paper(
    key="doe27",
    title="A paper of somebody else's",
    figures={"1": "the loss"},
    claims={
        "holds": SAYS,
        "elsewhere": SAYS,
        "fails": SAYS,
        "fails_open": SAYS | {"open": ["n"]},
        "unclear": SAYS,
        "untested": SAYS,
        "proved": SAYS | {"kind": "proof"},
    },
)
FOUND = {
    "holds": [Finding("fig1", "holds")],
    "elsewhere": [Finding("fig1", "holds", ("n = 5",))],
    "fails": [Finding("fig1", "fails")],
    "fails_open": [Finding("fig1", "fails"), Finding("fig1", "fails", (), "n=2", "n")],
    "unclear": [Finding("fig1", "undecided", reason="too few")],
}


def covered(*names):
    return cover([claim for claim in claims_of_paper(PAPER, FOUND) if claim.name in names])


def test_counts_by_hand(mutant):
    whole = cover(claims_of_paper(PAPER, FOUND))
    assert (whole.claims, whole.covered, whole.decided, whole.proved) == (6, 5, 4, 1)
    assert whole.verdicts == {
        "reproduced": 1,
        "reproduced at other settings": 1,
        "not reproduced at our settings": 1,
        "not reproduced at the paper's settings": 1,
        "undecided": 2,
        "by proof": 1,
    }
    assert whole.text == "4 of 6 claims decided, 5 covered; 1 by proof or construction"
    silent = mutant(
        coverages,
        "counts = Counter(claim.settled.verdict for claim in claims)",
        "counts = Counter(c.settled.verdict for c in covered)",
    )
    assert silent.cover(claims_of_paper(PAPER, FOUND)).verdicts["undecided"] == 1


def test_every_claim_is_counted_once_whatever_was_found():
    for missing in FOUND:
        found = {name: findings for name, findings in FOUND.items() if name != missing}
        counts = cover(claims_of_paper(PAPER, found))
        assert sum(counts.verdicts.values()) == len(PAPER.claims)
        assert counts.verdicts["undecided"] == counts.claims - counts.decided
        assert counts.covered == 4


@pytest.mark.parametrize(
    ("names", "shown", "text"),
    [
        (("holds", "elsewhere", "fails", "fails_open"), VERDICTS[3], "4 of 4 claims decided, 4 covered"),
        (("holds", "elsewhere", "fails_open", "unclear"), VERDICTS[2], "3 of 4 claims decided, 4 covered"),
        (("holds", "elsewhere"), VERDICTS[1], "2 of 2 claims decided, 2 covered"),
        (("holds", "unclear", "untested"), VERDICTS[0], "1 of 3 claims decided, 2 covered"),
        (("unclear",), "undecided", "0 of 1 claim decided, 1 covered"),
        (("untested",), None, "0 of 1 claim decided, 0 covered"),
        (("proved",), "by proof", "1 by proof or construction"),
        (("proved", "untested"), None, "0 of 1 claim decided, 0 covered; 1 by proof or construction"),
        ((), None, "no claims listed"),
    ],
)
def test_a_cell_shows_the_gravest_verdict_and_says_how_many_are_decided(names, shown, text):
    found = covered(*names)
    assert (found.shown, found.text) == (shown, text)


def test_a_claim_without_a_record_is_undecided_and_not_covered():
    (claim,) = [claim for claim in claims_of_paper(PAPER, FOUND) if claim.name == "untested"]
    assert (claim.covered, claim.decided) == (False, False)
    assert claim.settled == Settled("undecided", "no experiment here tests it")
    assert claim.claim == PaperClaim(**SAYS)


def test_findings_on_claims_that_the_table_does_not_have_count_nowhere():
    found = FOUND | {"of_nobody": [Finding("fig1", "holds")]}
    assert claims_of_paper(PAPER, found) == claims_of_paper(PAPER, FOUND)
