"""Judgements: what follows for a paper, what is missing, several runs, claims.json, --check, foreign folders."""

import json
import math

import pytest
import yaml

from ncbench.records.small_files import BadRecordsError
from ncbench.report.__main__ import main
from ncbench.report.pages import report as report_page
from ncbench.report.verdicts import judge as claims
from ncbench.report.verdicts.judge import judge, write_claims
from tests.helpers.run_folders import write_records, write_run, write_values
from tests.helpers.stated_claims import BELOW, EQUAL, MONOTONE, claim, named, verdict

NAN, INF = math.nan, math.inf


PAPER = {
    "key": "doe27",
    "title": "A paper of somebody else's",
    "figures": {"1": "the loss"},
    "claims": {
        "below": {
            "figures": ["1"],
            "place": "Section 6.1",
            "says": "The loss ends below that of DNC.",
            "kind": "share",
            "open": ["n"],
            "decided_by": "a larger run",
            "standard": {"check": "share_below", "reference": "dnc", "at_least": 0.9},
        }
    },
}
OF_PAPER = {"statement": "Section 6.1.", "source": "paper", "paper_claim": "below", "check": "share_below"}
OF_PAPER |= {"reference": "dnc", "at_least": 0.9, "expect": "holds"}


def of_paper(tmp_path, losses, stated=OF_PAPER, **reproduces):
    """The verdict on a claim of a paper that the run carries."""
    run = write_values(tmp_path / "run", {"loss": losses}, named(stated), lines={"dnc": 0.2})
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["reproduces"] = {"paper": PAPER, "figure": "1", "forms": ["quick"], **reproduces}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    ((found,),) = (judgement.verdicts for judgement in judge(tmp_path))
    return found


def test_a_sentence_that_is_tested_in_two_places_has_to_hold_in_both(tmp_path):
    """Of four networks two are below the line, those of one width; what fails at the other is said in both rows."""
    places = [OF_PAPER | {"by": "estimate", "where": {"width": width}} for width in (10, 20)]
    swept = [{"width": width} for width in (10, 10, 20, 20)]
    run = write_values(
        tmp_path / "run", {"loss": [0.1, 0.1, 0.3, 0.3]}, named(*places), lines={"dnc": 0.2}, swept=swept
    )
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["reproduces"] = {"paper": PAPER, "figure": "1", "forms": ["quick"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    ((one, other),) = (judgement.verdicts for judgement in judge(tmp_path))
    assert [(found.outcome, found.verdict) for found in (one, other)] == [
        ("holds", "undecided"),
        ("fails", "undecided"),
    ]
    assert one.why == other.why
    assert one.why.startswith("fails in fig1 at our choice of what was not varied")


@pytest.mark.parametrize(
    ("losses", "reproduces", "outcome", "verdict", "why"),
    [
        ([0.1] * 64, {}, "holds", "reproduced", "fig1"),
        ([0.1] * 64, {"departs": ["n = 5"]}, "holds", "reproduced at other settings", "fig1 (n = 5)"),
        ([0.3] * 64, {}, "fails", "undecided", "fails in fig1 at our choice of what was not varied; the paper leaves"),
        ([0.3] * 64, {"departs": ["n = 5"]}, "fails", "undecided", "fails at settings that depart from the paper's: "),
        ([0.1] * 6, {}, "undecided", "undecided", "fig1: the interval reaches both sides of 90 %, about 35 replicas"),
    ],
)
def test_one_experiment_says_of_the_paper_what_follows_from_it_alone(
    tmp_path, losses, reproduces, outcome, verdict, why
):
    found = of_paper(tmp_path, losses, **reproduces)
    assert (found.outcome, found.verdict, found.agrees) == (outcome, verdict, outcome == "holds")
    assert found.why.startswith(why)
    assert "a larger run" not in found.why  # that is said where all records are known


def test_the_verdict_on_other_claims_is_the_outcome(tmp_path, mutant):
    for losses, outcome in (([0.1] * 64, "holds"), ([0.3] * 64, "fails"), ([0.1] * 6, "undecided")):
        for source in ("derived", "ours", "self_test"):
            found = verdict(tmp_path, BELOW | {"source": source}, {"loss": losses}, lines={"dnc": 0.2})
            assert (found.outcome, found.verdict, found.why) == (outcome, outcome, "")
    of_paper(tmp_path, [0.3] * 64, departs=["n = 5"])
    forgetful = mutant(claims, "departures(reproduces), reason", "(), reason")
    assert forgetful.judge(tmp_path)[0].verdicts[0].why.startswith("fails in fig1 at our choice")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (OF_PAPER | {"paper_claim": "belo"}, "paper_claim=belo: doe27 has no such claim (did you mean below?)"),
        ({key: OF_PAPER[key] for key in OF_PAPER if key != "paper_claim"}, "paper_claim=None: a value is needed"),
        (OF_PAPER | {"source": "ours"}, "paper_claim=below: is for source=paper"),
    ],
)
def test_a_claim_of_a_paper_is_one_of_its_table(tmp_path, stated, message):
    with pytest.raises(BadRecordsError) as caught:
        of_paper(tmp_path, [0.1], stated)
    assert message in str(caught.value)
    write_values(tmp_path / "run", {"loss": [0.1]}, named(OF_PAPER))  # reproduces a paper that is not known here
    with pytest.raises(BadRecordsError, match="paper_claim=below: p has no such claim"):
        judge(tmp_path)


@pytest.mark.parametrize(
    ("stated", "record", "reason"),
    [
        (BELOW, {}, "the theory line dnc has no value for replicas of run run"),
        (BELOW, {"lines": {"dnc": None}}, "the theory line dnc has no value for replicas of run run"),
        (BELOW | {"measure": "nc9"}, {"lines": {"dnc": 1}}, "nc9 is not recorded in run run"),
        (BELOW | {"split": "test"}, {"lines": {"dnc": 1}}, "loss (test) is not recorded in run run"),
        (BELOW | {"step": 7}, {"lines": {"dnc": 1}}, "loss (step 7) is not recorded in run run"),
        (BELOW | {"where": {"depth": 3}}, {}, "depth is neither replicated nor swept in these runs (they have: seed)"),
        (BELOW, {"status": "failed", "lines": {"dnc": 1}}, "run run is failed, not done"),
        (
            BELOW,
            {"status": "failed", "error": "diverged: the loss is nan at step 8 (epoch 3)", "lines": {"dnc": 1}},
            "run run is failed (diverged: the loss is nan at step 8 (epoch 3)), not done",
        ),
        (
            claim("value", at_most=1, measure="rank", layers=["head.9"], stage="pre"),
            {},
            "rank (head.9, pre) is not recorded in run run",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, stated, record, reason):
    found = verdict(tmp_path, stated, {"loss": [0.1] * 64}, **record)
    assert (found.verdict, found.evidence["reason"]) == ("undecided", reason)
    assert found.measured.startswith("asked ")
    assert found.measured.endswith(f": {reason}")


def test_first_step_and_where(tmp_path):
    values = {"loss": {0: [3.0, 4.0], 1000: [1.0, 2.0]}}
    swept = [{"depth": 3}, {"depth": 4}]
    for keys, estimate in (({}, 1.5), ({"step": "first"}, 3.5), ({"step": 0, "where": {"depth": 4}}, 4.0)):
        found = verdict(tmp_path, claim("value", at_most=9, by="estimate", **keys), values, swept=swept)
        assert found.evidence["estimate"] == estimate


def test_runs_of_one_name_are_judged_together_by_the_claims_of_the_latest(tmp_path):
    for job, (decay, started) in enumerate([(1e-3, "2026-01-01"), (2e-3, "2026-01-03"), (4e-3, "2026-01-02")]):
        stated = named(MONOTONE | {"by": "estimate"}) if job == 1 else {}
        overrides = ("+experiment=fig1", f"objective.weight_decay={decay}", "logger=wandb", "hydra.run.dir=x", "seed=1")
        overrides += ("trainer.threads=1", "+trainer.keep_checkpoints=[0]", "trainer.progress=false")
        record = {"swept": [{"weight_decay": decay}] * 2, "config_hash": f"{job}", "started": started}
        write_values(tmp_path / str(job), {"loss": [job, job]}, stated, overrides=overrides, **record)
    write_values(tmp_path / "other", {"loss": [1.0]}, {}, name="a_figure")
    other, found = judge(tmp_path)
    assert (other.experiment, other.verdicts) == ("a_figure", [])
    assert (found.experiment, found.hashes, found.reproduces) == (
        "fig1",
        ["0", "1", "2"],
        {"paper": "p", "figure": "1"},
    )
    assert found.overrides == [*(f"objective.weight_decay={decay}" for decay in (0.001, 0.002, 0.004)), "seed=1"]
    assert (found.verdicts[0].verdict, found.verdicts[0].sample_size) == ("holds", 6)


def test_claims_json_is_deterministic_and_strict(tmp_path):
    write_values(tmp_path / "run", {"loss": [0.1, NAN]}, named(BELOW), lines={"dnc": 0.2})
    write_claims(judge(tmp_path), tmp_path / "a.json")
    write_claims(judge(tmp_path), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    (experiment,) = content["experiments"]
    assert (content["schema_version"], experiment["experiment"], experiment["overrides"]) == (3, "fig1", [])
    (stated,) = experiment["claims"]
    assert {key: stated[key] for key in BELOW} == BELOW
    judged = [stated[word] for word in ("outcome", "verdict", "why", "agrees", "sample_size")]
    assert judged == ["undecided", "undecided", "", False, 2]
    assert stated["evidence"]["failing"] == [{"run": "run", "replica": 1, "value": "nan"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: {a: {check: os.system, statement: a}}", "claims.a.check=os.system: unknown check"),
        ("claims: {b: {check: {a: 1}}}", "claims.b.check={'a': 1}: unknown check"),
        ("claims: {a: 1}", "claims.a=1: must be a mapping of keys"),
        ("claims: [{check: value}]", "claims: a list was the form before version 0.2"),
        ("reproduces: {paper: {key: a, title: b}}", "reproduces.paper: figures: a value is needed"),
        ("claims: [", "is not valid YAML"),
        ("claims: [!!python/object/apply:os.system [ls]]", "is not valid YAML"),
        ("3", "has to hold a mapping"),
    ],
)
def test_a_run_folder_cannot_name_code(tmp_path, capsys, text, message):
    run = write_values(tmp_path / "run", {"loss": [0.1]}, {})
    (run / "config.yaml").write_text(text)
    with pytest.raises(BadRecordsError) as caught:
        judge(tmp_path)
    assert message in str(caught.value)
    assert "config.yaml" in str(caught.value)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_foreign_folder_lacks_is_no_traceback(tmp_path, capsys):
    values = {"loss": [0.1], "head.1.pre.rank": [5], "head.2.pre.rank": [5]}
    run = write_values(tmp_path / "run", values, {})
    (run / "config.yaml").write_text(json.dumps({"claims": named(EQUAL | {"by": "estimate"})}) + "\n")
    assert (
        judge(tmp_path)[0].verdicts[0].evidence["reason"] == "the config.yaml of run run does not contain model.depth"
    )
    (run / "config.yaml").write_text("reproduces: 2024-05-23\n")
    write_claims(judge(tmp_path), tmp_path / "claims.json")
    assert '"reproduces": "2024-05-23"' in (tmp_path / "claims.json").read_text()
    (run / ".hydra" / "overrides.yaml").write_text("3")
    assert main([str(tmp_path)]) == 2
    assert "overrides.yaml: has to hold a list" in capsys.readouterr().err


def test_check_exits_1_when_a_verdict_is_not_the_expected_one(tmp_path, capsys):
    write_values(tmp_path / "run", {"loss": [0.1] * 64}, named(BELOW), lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 0
    said = "share_below of the paper -- asked loss < dnc in at least 90 %: 64 of 64 replicas (100 %; 95 % interval 94"
    assert capsys.readouterr().out.startswith(f"fig1: claim_0: holds (expected holds): {said}")
    write_values(tmp_path / "run", {"loss": [0.3] * 64}, named(BELOW), lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 1
    assert "fig1: claim_0: fails (expected holds)" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 0
    content = json.loads((tmp_path / "claims.json").read_text())
    assert content["experiments"][0]["claims"][0]["agrees"] is False
    write_values(tmp_path / "run", {"loss": [0.3] * 64}, named(BELOW | {"expect": "fails"}), lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 0


def test_check_draws_nothing_unless_it_is_asked_to(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        report_page, "write_report", lambda dir, out, *_, **__: drawn.append(dir) or out / "report.html"
    )
    write_values(tmp_path / "run", {"loss": [0.1] * 64}, named(BELOW), lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check", "--out", str(tmp_path / "out")]) == 0
    assert drawn == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["claims.json"]
    assert capsys.readouterr().out.startswith("fig1: claim_0: holds")
    assert main([str(tmp_path), "--check", "--draw"]) == 0
    assert len(drawn) == 1
    assert capsys.readouterr().out.startswith("report: ")
    assert main([str(tmp_path), "--draw"]) == 2
    assert "argument --draw: is for --check" in capsys.readouterr().err


def test_why_a_claim_of_a_paper_is_undecided_is_said_once(tmp_path, capsys):
    of_paper(tmp_path, [0.1] * 6)
    assert main([str(tmp_path), "--check"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.count("the interval reaches both sides of 90 %, about 35 replicas decide if the share stays") == 1
    assert line.endswith("stays [undecided: fig1]")


def test_check_without_claims(tmp_path, capsys):
    config = write_run(tmp_path / "run", [0, 1]) / "config.yaml"
    assert main([str(tmp_path), "--check"]) == 2
    assert f"{config}: is missing, and with it what the run claims" in capsys.readouterr().err
    config.write_text("name: dufm_k4\n")
    assert main([str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out.splitlines() == ["no claims"]
    assert json.loads((tmp_path / "claims.json").read_text())["experiments"][0]["claims"] == []


def test_a_directory_of_many_kinds_of_runs_is_judged(tmp_path):
    records = write_records(tmp_path / "records")
    assert [judgement.experiment for judgement in judge(records)] == ["dufm_k4"]


def test_a_theory_line_can_be_claimed_about_and_spectra_of_the_same_name_are_no_line(tmp_path):
    """0.1 x 4 seeds at K = 6, 10, 15: SRG over DNC falls from 0.9 to 0.7."""
    for K, srg in ((6, 0.09), (10, 0.08), (15, 0.07)):
        claim = {
            "statement": "the ratio of the closed forms falls with K",
            "source": "derived",
            "check": "monotone",
            "measure": "line:srg",
            "relative_to": "dnc",
            "axis": "classes",
            "direction": "decreasing",
            "at_least": 0.99,
            "by": "estimate",
            "expect": "holds",
        }
        run = tmp_path / str(K)
        swept = [{"classes": K}] * 4
        write_values(run, {"loss": [0.2] * 4}, named(claim), lines={"srg": srg, "dnc": 0.1}, swept=swept)
        references = json.loads((run / "references.json").read_text())
        extra = {**references[0], "measure": "spectra", "value": None, "values": {"head.1.pre": [1.0]}}
        (run / "references.json").write_text(json.dumps([*references, extra]))
    (judgement,) = judge(tmp_path)
    (found,) = judgement.verdicts
    assert found.verdict == "holds"
    assert found.measured.startswith(
        "asked rank correlation of line:srg/dnc along classes at most -0.99: rank correlation along classes -1"
    )


def test_a_diverged_replica_fails_though_its_last_values_are_finite(tmp_path):
    states = {"diverged": [{"replica": 1, "step": 3}], "dead": [{"replica": 2, "step": 9}]}
    stated = BELOW | {"by": "estimate"}
    found = verdict(tmp_path, stated, {"loss": [0.1, 0.1, 0.5, 0.1]}, lines={"dnc": 0.2}, replica_states=states)
    assert (found.verdict, found.evidence["hits"], found.evidence["not_finite"]) == ("fails", 2, 1)
    assert main([str(tmp_path / "run")]) == 0
    assert "1 diverged, 1 dead" in (tmp_path / "run" / "report.html").read_text()
