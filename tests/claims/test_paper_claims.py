"""What a paper claims, once, with its check: how claims of experiments refer to it, and what is refused in one line."""

import re

import pytest

from ncbench.claims import paper_claims
from ncbench.claims.paper_claims import KINDS, PaperClaim, with_standards
from ncbench.claims.papers import package_papers, read_papers
from ncbench.claims.parse import parse_claims
from ncbench.claims.types import CHECKS
from ncbench.run.compose import compose_jobs

RANKS = {"check": "share_between", "measure": "rank", "layers": "intermediate", "stage": "pre", "reduce_layers": "max"}
RANKS |= {"between": [5, 8], "at_least": 0.9}
SIDES = {"smaller": {"measure": "rank", "layers": ["head.1"], "stage": "pre"}}
SIDES |= {"larger": {"measure": "rank", "layers": ["head.3"], "stage": "pre"}}
SAYS = {"figures": ["1"], "place": "Section 6.1", "says": "It is so."}


def of(kind, standard, **keys):
    return PaperClaim.model_validate({**SAYS, "kind": kind, "standard": standard, **keys})


TABLE = {
    "ranks": of("share", RANKS, given=["width 30", 5], open=["n"]),
    "grows": of("share", {"check": "ordering", "at_least": 0.9, **SIDES}),
    "untested": of("share", {}),
}


def expanded(**written):
    return with_standards({"mine": written}, TABLE, "doe27")["mine"]


def test_statement_source_and_check_come_from_the_table():
    claim = expanded(paper_claim="ranks", expect="fails")
    assert claim == RANKS | {
        "paper_claim": "ranks",
        "source": "paper",
        "statement": "Section 6.1: It is so.",
        "expect": "fails",
    }
    parsed = parse_claims({"mine": claim})["mine"]
    assert (parsed.source, parsed.paper_claim, parsed.between, parsed.expect) == ("paper", "ranks", (5.0, 8.0), "fails")
    assert TABLE["ranks"].given == ("width 30", "5")


def test_keys_may_be_added_and_repeated_and_a_null_is_none(mutant):
    claim = expanded(
        paper_claim="ranks", where={"decay": 1e-3}, by="estimate", at_least=0.9, between=(5, 8), stage=None
    )
    assert {key: claim[key] for key in RANKS} == RANKS
    assert (claim["where"], claim["by"]) == ({"decay": 1e-3}, "estimate")
    claim = expanded(paper_claim="grows", smaller={"step": "first", "layers": ["head.1"], "stage": None}, larger=None)
    assert claim["smaller"] == SIDES["smaller"] | {"step": "first"}
    assert claim["larger"] == SIDES["larger"]
    flat = mutant(paper_claims, "isinstance(value, Mapping) and isinstance(own, Mapping)", "False")
    with pytest.raises(ValueError, match="the same in every experiment"):
        flat.with_standards({"mine": {"paper_claim": "grows", "smaller": {"step": "first"}}}, TABLE, "doe27")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"at_least": 0.5}, "claims.mine.at_least=0.5: the standard of ranks is 0.9, the same in every experiment"),
        ({"between": [1, 8]}, "claims.mine.between=[1, 8]: the standard of ranks is [5, 8], the same in every exp"),
        ({"check": "share_above"}, "claims.mine.check=share_above: the standard of ranks is share_between, the sa"),
        ({"statement": "Else."}, "claims.mine.statement=Else.: the standard of ranks is Section 6.1: It is so., t"),
        ({"source": "ours"}, "claims.mine.source=ours: the standard of ranks is paper, the same in every experiment"),
        (
            {"paper_claim": "rank"},
            "claims.mine.paper_claim=rank: doe27 has no such claim (known: ranks, grows, untested)",
        ),
        ({"paper_claim": ["ranks"]}, "claims.mine.paper_claim=['ranks']: doe27 has no such claim"),
        (
            {"paper_claim": "untested"},
            "claims.mine.paper_claim=untested: it has no standard in the table of doe27, so nothing tests it",
        ),
        (
            {"paper_claim": "grows", "larger": {"layers": ["head.2"]}},
            "claims.mine.larger.layers=['head.2']: the standard of grows is ['head.3'], the same in every experiment",
        ),
        ({"paper_claim": "grows", "larger": 3}, "claims.mine.larger=3: the standard of grows is {'measure': 'rank',"),
    ],
)
def test_one_standard_for_one_sentence(written, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        expanded(**{"paper_claim": "ranks"} | written)
    assert "\n" not in str(caught.value)


def test_a_planted_bug_is_seen(mutant):
    lenient = mutant(paper_claims, "own is not None and not _equal(own, value)", "False")
    loosened = lenient.with_standards({"mine": {"paper_claim": "ranks", "at_least": 0.1}}, TABLE, "doe27")
    assert loosened["mine"]["at_least"] == 0.9
    own_first = mutant(
        paper_claims, "            raise ValueError(f\"{where}.{name}={' '", "            str(f\"{where}.{name}={' '"
    )
    kept = own_first.with_standards({"mine": {"paper_claim": "ranks", "at_least": 0.1}}, TABLE, "doe27")
    assert kept["mine"]["at_least"] == 0.1  # what has to be refused


def test_other_claims_are_left_as_they_are():
    others = {"own": {"check": "count", "statement": "a"}, "gone": None, "wrong": 3, "none": {"paper_claim": None}}
    assert with_standards(others, TABLE, "doe27") == others
    for claims in (None, [], "none"):
        assert with_standards(claims, TABLE, "doe27") == claims


def test_a_paper_without_a_table_and_no_paper_have_no_claim():
    for paper, said in (("doe27", "doe27"), ("", "reproduces.paper=null")):
        with pytest.raises(ValueError, match=re.escape(f"{said} has no such claim (its table of claims is empty)")):
            with_standards({"mine": {"paper_claim": "ranks"}}, {}, paper)


PAPER = "title: a\nfigures: {1: b}\nclaims:\n  ranks: {%s}\n"
GOOD = {"figures": "[1]", "place": "Section 1", "says": "It is so.", "kind": "share"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"figures": "[2]"}, "claims.ranks.figures=2: must be among the figures 1"),
        ({"figures": "1"}, "claims.ranks.figures: must be a list of texts"),
        ({"kind": "always"}, "claims.ranks.kind: must be one of existence, share, trend"),
        ({"place": "' '"}, "claims.ranks.place"),
        ({"opened": "[n]"}, "claims.ranks.opened: unknown key (known: figures, place, says, kind, given, open"),
        ({"open": "n"}, "claims.ranks.open: must be a list of texts"),
        ({"standard": "{check: slope}"}, "standard.check=slope: kind=share is checked by share_below, share_above"),
        ({"standard": "{at_least: 1}"}, "standard.check=None: kind=share is checked by"),
        ({"kind": "proof", "standard": "{check: value}"}, "standard.check=value: kind=proof is checked by no run"),
        (
            {"kind": "existence", "standard": "{check: value, at_most: 1}"},
            "standard.statistic=None: existence is of best, min or max",
        ),
        (
            {"kind": "existence", "standard": "{check: value, statistic: mean, at_most: 1}"},
            "standard.statistic=mean: existence is of best, min or max",
        ),
        ({"standard": "{check: share_above, expect: holds}"}, "standard.expect=holds: is no part of a check"),
        ({"standard": "{check: share_above, source: ours}"}, "standard.source=ours: is no part of a check"),
        ({"says": None}, "claims.ranks.says: a value is needed"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, keys, message):
    (tmp_path / "paper").mkdir()
    written = {key: value for key, value in (GOOD | keys).items() if value is not None}
    text = PAPER % ", ".join(f"{key}: {value}" for key, value in written.items())
    (tmp_path / "paper" / "doe27.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"doe27\.yaml: ") as caught:
        read_papers([tmp_path])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_kind_is_checked_by_checks_that_there_are_and_every_check_tests_some_kind():
    assert {check for checks in KINDS.values() for check in checks} == set(CHECKS)
    for kind, checks in KINDS.items():
        for check in checks:
            keys = {"statistic": "best"} if (kind, check) == ("existence", "value") else {}
            assert of(kind, {"check": check, **keys}).kind == kind
        for check in set(CHECKS) - set(checks):
            with pytest.raises(ValueError, match=f"kind={kind} is checked by"):
                of(kind, {"check": check})


def refusal(written):
    try:
        parse_claims({"mine": written})
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("key", sorted(package_papers()))
def test_every_standard_of_a_paper_here_is_a_check(key):
    """As an experiment would state it; what only an experiment can add (layers, a stage) is added."""
    for name, claim in package_papers()[key].claims.items():
        assert claim.says.endswith("."), name
        if claim.standard:
            (written,) = with_standards({"mine": {"paper_claim": name}}, {name: claim}, key).values()
            assert re.search("^$|needed|add layers|if, and only if", refusal(written)), name


def test_a_composed_experiment_has_its_claims_written_out(tmp_path):
    (tmp_path / "paper").mkdir()
    standard = "{check: share_below, below: 0.5, at_least: 0.9}"
    text = PAPER % ", ".join(f"{key}: {value}" for key, value in (GOOD | {"standard": standard}).items())
    (tmp_path / "paper" / "doe27.yaml").write_text(text)
    (tmp_path / "experiment").mkdir()
    path = tmp_path / "experiment" / "fig1.yaml"
    lines = ["# @package _global_", "defaults: [/experiment/dufm_k10, _self_]", "name: fig1"]
    lines += ["reproduces: {paper: doe27, figure: 1, forms: [quick], variation: null, picture: null, departs: null}"]
    parent = compose_jobs(["+experiment=dufm_k10"], multirun=False)[0].config.claims
    lines += ["claims:", *(f"  {name}: null" for name in parent)]
    path.write_text("\n".join([*lines, "  ranks: {paper_claim: ranks, where: {seed: [1]}}", ""]))
    command = {"multirun": False, "config_dirs": [str(tmp_path)]}
    (job,) = compose_jobs(["+experiment=fig1"], **command)
    claim = parse_claims(job.config.claims)["ranks"]
    assert (claim.check, claim.below, claim.at_least, claim.where) == ("share_below", 0.5, 0.9, {"seed": [1]})
    assert claim.statement == "Section 1: It is so."
    with pytest.raises(ValueError, match=r"claims\.ranks\.below=0\.6: the standard of ranks is 0\.5"):
        compose_jobs(["+experiment=fig1", "+claims.ranks.below=0.6"], **command)
