"""docs/adding.md: the measure, the experiments and the paper that it shows, done as it says."""

import re
from pathlib import Path

import pytest
import yaml

from ncbench.claims.papers import read_papers
from ncbench.report import load_measures
from ncbench.report.__main__ import main as report
from ncbench.run.compose import compose_command
from ncbench.train import main as train

PAGE = Path(__file__).resolve().parents[2].joinpath("docs", "adding.md").read_text()
YAML = re.findall(r"^ *```yaml\n(.*?)```", PAGE, re.M | re.S)


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The current folder with what the page writes into it."""
    (measure,) = re.findall(r"```python\n(\s*# mine\.py\n.*?)```", section("Add a measure"), re.S)
    (tmp_path / "mine.py").write_text("\n".join(line[3:] for line in measure.splitlines()) + "\n")
    folder = tmp_path / "MINE" / "experiment" / "doe27"
    folder.mkdir(parents=True)
    full, quick = (block for block in YAML if "defaults:" in block)
    (folder / "fig3_width.yaml").write_text(full)
    (folder / "fig3_width_quick.yaml").write_text(quick.replace("/experiment/sukenik24/", "/experiment/doe27/"))
    (tmp_path / "MINE" / "paper").mkdir()
    (tmp_path / "MINE" / "paper" / "doe27.yaml").write_text(next(block for block in YAML if "arxiv:" in block))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    return tmp_path


def test_a_measure_in_two_lines_of_yaml(mine):
    moments = yaml.safe_load(next(block for block in YAML if "moments:" in block))
    (mine / "MINE" / "experiment" / "measured.yaml").write_text(
        "# @package _global_\ndefaults:\n  - dufm_k10\n  - _self_\nname: measured\n"
        + yaml.safe_dump(
            {**moments, "replicate": {"seed": 2}, "schedule": {"steps": 10}, "trainer": {"progress": False}}
        )
    )
    assert train(["--config-dir", "MINE", "+experiment=measured", "hydra.run.dir=run", "measure.points=2"]) == 0
    found = load_measures(mine / "run", measures=["mean_norm"])
    assert len(found) > 0
    assert (found["value"] > 0).all()
    assert report(["run"]) == 0
    assert "mean norm of the class means" in (mine / "run" / "report.html").read_text()


def test_the_experiment_and_its_quick_form(mine):
    full, quick = (
        compose_command([f"+experiment=doe27/{name}"], multirun=False, config_dirs=["MINE"]).jobs
        for name in ("fig3_width", "fig3_width_quick")
    )
    assert [job.config.model.width for job in full] == [20, 30, 64]
    assert list(full[0].config.claims) == ["dnc_at_large_width", "below_dnc_at_width_20"]
    assert {job.config.replicate["seed"] for job in quick} == {50}
    assert quick[0].config.claims["below_dnc_at_width_20"]["at_least"] == 0.8


def test_the_paper_is_one(mine):
    paper = read_papers([mine / "MINE"])["doe27"]
    assert list(paper.figures) == ["1", "2 left"]
    assert list(paper.claims) == ["loss_falls"]
    assert train(["--config-dir", "MINE", "--list", "doe27"]) == 0
