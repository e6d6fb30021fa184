"""Every claim of a paper, in every experiment, on made-up records in which the paper is right and in which it is wrong.

A check that calls a planted falsehood true, or that finds it undecidable with the experiment's own replicas, cannot be
what a verdict rests on. The truths are planted too: a check that nothing satisfies would accuse.
"""

from collections import Counter

import pytest

from ncbench.claims.paper_claims import KINDS
from ncbench.claims.papers import package_papers, paper_of
from ncbench.claims.parse import parse_claims
from ncbench.report import statistics
from ncbench.run.compose import compose_jobs, experiments
from tests.helpers.planted_trial import complaints, tried

PAIRS = sorted(
    {
        (claim.kind, claim.standard["check"])
        for paper in package_papers().values()
        for claim in paper.claims.values()
        if claim.standard
    }
)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    """What is planted has no doubt: the bootstrap needs no 2000 draws."""
    monkeypatch.setattr(statistics, "RESAMPLES", 40)


@pytest.fixture(scope="module")
def cases():
    """(kind, check) -> (experiment, name, claim, its keys, configuration) of every claim of a paper."""
    found = {}
    for experiment in sorted(experiments()):
        (job, *_) = compose_jobs([f"+experiment={experiment}"], multirun=False)
        paper = paper_of(job.config.reproduces)
        for name, claim in parse_claims(job.config.claims).items():
            if claim.source == "paper":
                kind = paper.claims[claim.paper_claim].kind
                case = (experiment, name, claim, job.config.claims[name], job.config)
                found.setdefault((kind, claim.check), []).append(case)
    return found


@pytest.mark.parametrize(("kind", "check"), PAIRS)
def test_planted_falsehoods_are_caught_and_truths_are_seen(kind, check, cases, tmp_path, record_property):
    assert check in KINDS[kind]
    wrong, known, planted = {}, {}, Counter()
    for number, (experiment, name, claim, written, config) in enumerate(cases.get((kind, check), [])):
        same = (claim.model_dump_json(exclude={"expect"}), str(config.replicate), str(config.grid), str(config.model))
        if same not in known:
            known[same] = tried(tmp_path / str(number), claim, written, config)
            planted.update(wished for _, wished, *_ in known[same])
        found = complaints(known[same])
        if found:
            wrong[f"{experiment}: {name}"] = found
    record_property("planted", dict(planted))
    print(f"{kind} by {check}: {len(cases.get((kind, check), []))} claims, {len(known)} tried, records {dict(planted)}")
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


def test_every_claim_of_a_paper_is_among_them(cases):
    assert set(cases) <= set(PAIRS)
    tested = {claim.paper_claim for of_pair in cases.values() for _, _, claim, *_ in of_pair}
    with_standard = {name for paper in package_papers().values() for name, of in paper.claims.items() if of.standard}
    print(f"{sum(map(len, cases.values()))} claims of experiments, {len(tested)} of {len(with_standard)} sentences")
    assert tested <= with_standard
    assert {kind for kind, _ in cases} == {kind for kind, checks in KINDS.items() if checks}
