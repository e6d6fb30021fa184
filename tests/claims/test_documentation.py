"""What docs/claims.md shows is what the package takes: every claim parses, and the whole experiment runs."""

import re
from pathlib import Path

import yaml

from ncbench.claims.claim import SOURCES
from ncbench.claims.papers import read_papers
from ncbench.claims.parse import parse_claims
from ncbench.claims.selection import Selection
from ncbench.claims.types import CHECKS
from ncbench.report.verdicts.judge import judge
from ncbench.train import main as train

PAGE = Path(__file__).resolve().parents[2].joinpath("docs", "claims.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
(WHOLE,) = [block for block in BLOCKS if "# @package _global_" in block]


def test_every_claim_of_the_page_is_one():
    shown = [yaml.safe_load(block)["claims"] for block in BLOCKS if block.startswith("claims:")]
    assert [list(parse_claims(claims)) for claims in shown] == [["below_dnc"], ["collapsed_runs_have_lower_loss"]]


def test_every_check_key_and_source_is_on_the_page():
    for word in (*CHECKS, *Selection.model_fields, *SOURCES, "condition", "min_replicas", "expect"):
        assert f"`{word}`" in PAGE or f"`{word}:" in PAGE, word


def test_the_paper_of_the_page_is_one(tmp_path):
    (text,) = [block for block in BLOCKS if block.startswith("# MINE/paper/doe27.yaml")]
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "doe27.yaml").write_text(text)
    assert list(read_papers([tmp_path])["doe27"].figures) == ["1", "2 left"]


def test_the_whole_experiment_of_the_page_runs_and_is_judged(tmp_path):
    """With fewer steps and seeds than the page has: what is tested is the form."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "widths.yaml").write_text(WHOLE)
    command = ["--config-dir", str(tmp_path), "+experiment=widths", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    assert train([*command, "schedule.steps=50", "replicate.seed=6", "measure.points=3", "trainer.progress=false"]) == 0
    (judgement,) = judge(tmp_path / "runs")
    verdicts = {verdict.name: verdict for verdict in judgement.verdicts}
    assert {name: verdict.sample_size for name, verdict in verdicts.items()} == {"below_dnc": 6, "rank_at_most_6": 12}
    assert verdicts["below_dnc"].claim.expect == "reproduced"  # inherited
    assert {verdict.claim.source for verdict in verdicts.values()} == {"ours"}
