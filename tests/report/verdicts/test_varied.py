"""From a record and the varied settings beside it to findings on the claims of a paper."""

import json

import pytest
import yaml

from ncbench.records.variations import Variation, Varied, write_varied
from ncbench.report.pages.index import read_tables
from ncbench.report.verdicts import varied as varying
from ncbench.report.verdicts.judge import judge, write_claims
from ncbench.report.verdicts.settle import Finding
from ncbench.report.verdicts.varied import found_in, variation_of
from tests.helpers.own_paper import claims
from tests.helpers.run_folders import write_run


def stated(outcome, paper_claim="falls", **evidence):
    return {"paper_claim": paper_claim, "outcome": outcome, "evidence": evidence}


def setting(factor, value, **outcomes):
    return Variation(factor, value, ["1"], {name: stated(outcome, name) for name, outcome in outcomes.items()})


def varied(*variations, hashes=("0123abcd",)):
    return Varied("fig1", list(hashes), "python scripts/robustness.py fig1", "1 of 2 cores", 3.0, list(variations))


def test_a_record_without_varied_settings():
    own = {"outcome": "fails", "evidence": {}}  # a claim of this project
    found = found_in("fig1", [stated("holds"), own], ("n = 5",), None)
    assert found == {"falls": [Finding("fig1", "holds", ("n = 5",))]}
    (finding,) = found_in("fig1", [stated("holds")], (), None, "50 seeds")["falls"]
    assert finding.variation == "50 seeds"


def test_a_sentence_that_several_claims_test_holds_if_all_of_them_hold(mutant):
    listed = [stated("holds"), stated("undecided", reason="too few"), stated("undecided", reason="too few")]
    assert found_in("fig1", listed, (), None) == {"falls": [Finding("fig1", "undecided", reason="too few")]}
    (finding,) = found_in("fig1", [*listed, stated("fails")], (), None)["falls"]
    assert finding.outcome == "fails"
    last = mutant(varying, "together(claim[", "max(claim[")
    assert last.found_in("fig1", listed, (), None)["falls"][0].outcome == "undecided"
    assert last.found_in("fig1", [stated("holds"), stated("fails")], (), None)["falls"][0].outcome == "holds"


def test_varied_settings_count_and_the_experiment_with_few_seeds_does_not(mutant):
    few = setting("", "", falls="fails")
    beside = varied(few, setting("model.width", "40", falls="holds", other="fails"), setting("n", "2", falls="fails"))
    found = found_in("fig1", [stated("undecided")], ("rate 1",), beside)
    assert found == {
        "falls": [
            Finding("fig1", "undecided", ("rate 1",)),
            Finding("fig1", "holds", ("rate 1",), "model.width=40", "model.width"),
            Finding("fig1", "fails", ("rate 1",), "n=2", "n"),
        ]
    }  # `other` is a claim that the record does not have
    greedy = mutant(varying, "        if other.factor:\n", "        if True:\n")
    assert len(greedy.found_in("fig1", [stated("undecided")], (), beside)["falls"]) == 4


def test_a_setting_is_what_its_judgement_says_without_self_tests(tmp_path):
    own = {"statement": "A sum is a sum.", "source": "self_test", "check": "share_above", "above": 0.0, "at_least": 0.1}
    write_run(tmp_path / "run", list(range(8)), claims=claims() | {"sum": own})
    (judgement,) = judge(tmp_path)
    found = variation_of("model.width", "40", judgement)
    assert (found.label, found.hashes) == ("model.width=40", ["0123abcd"])
    assert {name: (entry["paper_claim"], entry["outcome"]) for name, entry in found.claims.items()} == {
        "loss_falls": ("loss_falls", "holds"),
        "all_below_srg": ("all_below_srg", "fails"),
    }
    assert found.claims["all_below_srg"]["statement"] == "Section 2: Every run ends below the SRG solution."


@pytest.mark.parametrize(
    ("beside", "verdict"),
    [
        (None, "undecided"),
        (varied(setting("model.width", "40", loss_falls="fails")), "not reproduced at our settings"),
        (varied(setting("model.width", "40", loss_falls="undecided")), "undecided"),
        (varied(setting("model.width", "40", loss_falls="holds")), "reproduced at other settings"),
        (varied(setting("", "", loss_falls="holds")), "undecided"),  # the experiment itself, with fewer seeds
        (
            varied(setting("model.width", "40", loss_falls="fails"), hashes=["ffff"]),
            "undecided",
        ),  # another configuration
    ],
)
def test_the_index_reads_the_varied_settings_beside_a_record(tmp_path, beside, verdict):
    run = write_run(tmp_path / "run", list(range(8)), scale=2, claims=claims("loss_falls"))  # fails: above 0.2
    write_claims(judge(run), run / "claims.json")
    if beside is not None:
        write_varied(beside, run)
    (table,) = [table for table in read_tables(tmp_path, tmp_path)[0] if table.paper.key == "doe27"]
    (claim,) = [claim for claim in table.claims if claim.name == "loss_falls"]
    assert claim.settled.verdict == verdict


def test_no_varied_setting_makes_a_departing_experiment_accuse(tmp_path):
    run = write_run(tmp_path / "run", list(range(8)), scale=2, claims=claims(), departs=["six classes"])
    write_claims(judge(run), run / "claims.json")
    write_varied(varied(setting("model.width", "40", loss_falls="fails", all_below_srg="fails")), run)
    (table,) = [table for table in read_tables(tmp_path, tmp_path)[0] if table.paper.key == "doe27"]
    assert {claim.settled.verdict for claim in table.claims} == {"undecided"}
    assert (table.coverage.claims, table.coverage.covered, table.coverage.decided) == (3, 2, 0)
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["reproduces"]["departs"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_claims(judge(run), run / "claims.json")
    (table,) = [table for table in read_tables(tmp_path, tmp_path)[0] if table.paper.key == "doe27"]
    assert table.coverage.decided == 2
    written = json.loads((run / "claims.json").read_text())["experiments"][0]["claims"]
    alone = {claim["name"]: claim["verdict"] for claim in written}
    assert alone["loss_falls"] == "undecided"  # the record alone does not know what was varied
