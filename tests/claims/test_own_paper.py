"""A stranger's paper: one file of its figures and claims and one experiment outside the repository, by --config-dir.

Listed, trained, judged and shown in an index, also where the stranger's folder is not known any more.
"""

import json
import shutil

import pytest

from ncbench.report.__main__ import main as report
from ncbench.train import main as train

PAPER = """arxiv: "2701.00001"
title: "A paper of somebody else's"
figures:
  1: the loss of a small unconstrained features model
  2: its ranks
claims:
  loss_falls:
    figures: ["1"]
    place: "Figure 1"
    says: "The loss ends below one half."
    kind: share
    given: ["K = 4"]
    open: ["width"]
    standard: {check: share_below, below: 0.5, at_least: 0.5}
  loss_vanishes:
    figures: ["1"]
    place: "Section 2"
    says: "Some run ends at zero."
    kind: existence
    standard: {check: count, below: 1.0e-9, at_least: 1}
  ranks_fall:
    figures: ["2"]
    place: "Figure 2"
    says: "The ranks fall."
    kind: trend
"""
EXPERIMENT = """# @package _global_
# Paper    arXiv 2701.00001, Figure 1: the loss falls below its start.
# Command  python -m ncbench.train --config-dir DIR +experiment=doe27/fig1
# Expected the loss ends below 0.5 in every replica.
# Cost     a second.
defaults:
  - override /dataset: labels
  - override /model: dufm
  - override /objective: dufm
  - override /optimizer: heavy_ball
  - override /schedule: full_batch
name: doe27_fig1
reproduces: {paper: doe27, figure: 1, forms: [quick]}
dataset: {classes: 4, per_class: 2}
model: {depth: 3, width: 6}
schedule: {steps: 200}
measure: {points: 4}
replicate: {seed: 6}
claims:
  loss_falls: {paper_claim: loss_falls, expect: holds}
  loss_vanishes: {paper_claim: loss_vanishes, expect: fails}
  loss_is_not_zero:
    statement: "The loss does not reach zero."
    source: ours
    check: share_above
    above: 0.0
    at_least: 0.5
"""


@pytest.fixture
def own(tmp_path):
    """A folder of configuration outside the repository."""
    folder = tmp_path / "own"
    (folder / "paper").mkdir(parents=True)
    (folder / "paper" / "doe27.yaml").write_text(PAPER)
    (folder / "experiment" / "doe27").mkdir(parents=True)
    (folder / "experiment" / "doe27" / "fig1.yaml").write_text(EXPERIMENT)
    return folder


def test_a_paper_of_ones_own_is_listed_trained_judged_and_indexed(own, tmp_path, capsys):
    config_dir = ["--config-dir", str(own)]
    assert train(["--list", "doe27", *config_dir, "--names"]) == 0
    assert capsys.readouterr().out == "doe27/fig1\n"
    assert train(["--list", *config_dir]) == 0
    listed = capsys.readouterr().out
    (row,) = (line for line in listed.splitlines() if line.startswith("doe27/fig1 "))
    assert "arXiv" in row
    assert "2701.00001" in listed  # wrapped below it
    assert "dufm_k10" in listed
    run = tmp_path / "run"
    assert train([*config_dir, "+experiment=doe27/fig1", f"hydra.run.dir={run}", "trainer.progress=false"]) == 0
    shutil.rmtree(own)  # as where the run is downloaded: the stranger's files are not there
    capsys.readouterr()
    assert report([str(run), "--check", "--draw"]) == 0
    checked = capsys.readouterr().out
    assert "doe27_fig1: loss_falls: holds (expected holds): Figure 1: The loss ends below one half." in checked
    assert "doe27_fig1: loss_vanishes: fails (expected fails): Section 2: Some run ends at zero." in checked
    assert "[not reproduced at the paper's settings: fails in doe27_fig1; the paper leaves nothing open]" in checked
    assert "The loss does not reach zero." in checked
    page = (run / "report.html").read_text()
    assert "arXiv 2701.00001, Figure 1" in page
    assert page.index("What the paper says") < page.index("The loss ends below one half")
    assert page.index("ends below one half") < page.index("Checks of this project") < page.index("not reach zero")
    (experiment,) = json.loads((run / "claims.json").read_text())["experiments"]
    assert experiment["reproduces"]["paper"]["title"] == "A paper of somebody else's"
    assert list(experiment["reproduces"]["paper"]["claims"]) == ["loss_falls", "loss_vanishes", "ranks_fall"]
    assert [(claim["name"], claim["source"], claim["verdict"]) for claim in experiment["claims"]] == [
        ("loss_falls", "paper", "reproduced"),
        ("loss_vanishes", "paper", "not reproduced at the paper's settings"),
        ("loss_is_not_zero", "ours", "holds"),
    ]
    assert report([str(run), "--index"]) == 0
    index = (run / "README.md").read_text()
    assert "## arXiv 2701.00001: A paper of somebody else's" in index
    (row,) = [line for line in index.splitlines() if line.startswith("| arXiv 2701.00001 |")]
    assert [cell.strip() for cell in row.strip("| ").split("|")][1:4] == ["3", "2", "2"]
    (row,) = [line for line in index.splitlines() if "`doe27_fig1`" in line]
    assert row.startswith("| **1** the loss of a small unconstrained features model |")
    assert "| ✗ not reproduced at the paper's settings; 2 of 2 claims decided, 2 covered |" in row
    (row,) = [line for line in index.splitlines() if line.startswith("| **2** its ranks |")]
    assert "· not yet; 0 of 1 claim decided, 0 covered | 1 undecided |" in row
    listed = (run / "paper_claims.md").read_text()
    assert "| `loss_falls`, 1, share | Figure 1: The loss ends below one half. | K = 4 / width |" in listed


def test_a_claim_that_its_table_does_not_have_or_holds_to_another_standard_is_one_line(own, tmp_path, capsys):
    path = own / "experiment" / "doe27" / "fig1.yaml"
    for written, said in (
        (
            "paper_claim: loss_fell",
            "claims.loss_falls.paper_claim=loss_fell: doe27 has no such claim (known: loss_falls",
        ),
        (
            "paper_claim: ranks_fall",
            "claims.loss_falls.paper_claim=ranks_fall: it has no standard in the table of doe27",
        ),
        (
            "paper_claim: loss_falls, below: 0.6",
            "claims.loss_falls.below=0.6: the standard of loss_falls is 0.5",
        ),
    ):
        path.write_text(EXPERIMENT.replace("paper_claim: loss_falls", written))
        assert train(["--config-dir", str(own), "+experiment=doe27/fig1", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert said in error
    assert not (tmp_path / "run").exists()


def test_a_paper_that_no_folder_has_and_a_word_that_no_paper_has_are_one_line(own, tmp_path, capsys):
    (own / "paper" / "doe27.yaml").unlink()
    assert train(["--config-dir", str(own), "+experiment=doe27/fig1", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert train(["--list", "doe27", "--config-dir", str(own)]) == 2
    assert train(["--list", "--config-dir", str(tmp_path / "none")]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "reproduces.paper=doe27: must be one of" in first
    assert "or have a file paper/doe27.yaml in --config-dir" in first
    assert "--list doe27: must be among" in second
    assert third.endswith("none: no such directory")
    assert not (tmp_path / "run").exists()
