"""scripts/robustness.py: one setting at a time, judged by the experiment's own claims, continued when started again."""

import json
import sys

import pytest
import robustness
import yaml
from matplotlib.image import imread

from ncbench.records.variations import read_varied
from ncbench.run.compose import compose_command

OPEN = """# @package _global_
defaults:
  - /experiment/dufm_k10
  - _self_
name: tiny
reproduces: null
replicate: {{seed: 8}}
schedule: {{steps: 30}}
measure: {{points: 3}}
open: {open}
claims:
{nulls}
  loss_is_small: {{statement: It falls below one half., source: ours, check: share_below, below: 0.5, at_least: 0.1}}
  it_is_so: {{statement: A sum is a sum., source: self_test, check: share_above, above: 0.0, at_least: 0.1}}
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the script on a tiny experiment whose `open:` is given; returns its exit status."""
    inherited = compose_command(["+experiment=dufm_k10"], multirun=False).jobs[0].config
    original = robustness.compose_command
    folder = tmp_path / "own" / "experiment"
    folder.mkdir(parents=True)

    def run(open_settings, *arguments):
        nulls = "\n".join(f"  {name}: null" for name in inherited.claims)
        settings = json.dumps({**dict.fromkeys(inherited.open), **yaml.safe_load(open_settings)})
        (folder / "tiny.yaml").write_text(OPEN.format(open=settings, nulls=nulls))
        directories = {"config_dirs": [str(tmp_path / "own")]}
        monkeypatch.setattr(
            robustness, "compose_command", lambda o, multirun: original(o, multirun=multirun, **directories)
        )
        real = robustness.train
        monkeypatch.setattr(robustness, "train", lambda line: real([*line, "--config-dir", str(tmp_path / "own")]))
        monkeypatch.setattr(sys, "argv", ["robustness.py", "tiny", "--out", str(tmp_path / "out"), *arguments])
        try:
            return robustness.main()
        finally:
            monkeypatch.undo()

    return run


def test_each_setting_differs_from_the_experiment_in_one_key(command, tmp_path, capsys):
    assert command("{model.width: [12, 24], optimizer: [gd]}", "--seeds", "6") == 0
    varied = read_varied(tmp_path / "out" / "tiny")
    assert [variation.label for variation in varied.variations] == [
        "as in the experiment",
        "model.width=12",
        "model.width=24",
        "optimizer=gd",
    ]
    for variation in varied.variations:
        assert list(variation.claims) == ["loss_is_small"]  # a self-test makes no verdict anywhere
        assert variation.claims["loss_is_small"]["outcome"] in ("holds", "fails", "undecided")
    hashes = [tuple(variation.hashes) for variation in varied.variations]
    assert len(set(hashes)) == 4
    assert varied.experiment_hashes not in [list(own) for own in hashes]  # fewer seeds are another configuration
    runs = sorted((tmp_path / "out" / "tiny").rglob("run.json"))
    assert [json.loads(path.read_text())["replicas"] for path in runs] == [6] * 4
    assert imread(tmp_path / "out" / "tiny" / "robustness.png").ndim == 3
    before = {path: path.stat().st_mtime_ns for path in runs}
    capsys.readouterr()
    assert command("{model.width: [12, 24], optimizer: [gd]}", "--seeds", "6") == 0
    assert capsys.readouterr().out.count("already done") == 4
    assert {path: path.stat().st_mtime_ns for path in runs} == before


def test_wrong_input_is_one_line_and_nothing_is_trained(command, tmp_path, capsys):
    assert command("{}") == 2
    assert "tiny: its file has no `open:` settings to vary" in capsys.readouterr().err
    assert command("{model.width: 12}") == 2
    assert "open.model.width=12: must be a list of values" in capsys.readouterr().err
    assert command("{model.width: [12]}", "--record") == 2
    assert "--record: tiny has no record in docs/results" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_setting_that_no_run_can_have_stops_it(command, tmp_path, capsys):
    assert command("{model.wdith: [12]}", "--seeds", "2") == 2
    assert "model.wdith" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # it is found before the experiment itself is trained
