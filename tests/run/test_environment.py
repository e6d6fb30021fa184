"""Values that a configuration asks of the environment: the run has them, its folder the question."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import yaml
from omegaconf import OmegaConf

from ncbench import train
from ncbench.measure.__main__ import main as measure
from ncbench.records.load import load_replicas
from ncbench.records.settings import find_settings
from ncbench.run.compose import compose_jobs
from ncbench.run.environment import as_written, asked_of_environment
from ncbench.run.logger import open_logger

PROJECT, STEPS = "project-of-the-environment", "20"
ASKED = {
    "logger.project": "${oc.env:NCBENCH_PROJECT}",
    "model.activation": "${oc.env:NCBENCH_ACTIVATION,relu}",
    "schedule.steps": "${oc.env:NCBENCH_STEPS}",
}
GIVEN = [f"{'+' if key == 'logger.project' else ''}{key}={text}" for key, text in ASKED.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which the command line leaves three values to the environment."""
    folder = tmp_path_factory.mktemp("asked") / "run"
    small = ["+experiment=dufm_k10", "replicate.seed=2", "measure.points=3", "trainer.progress=false", "logger=csv"]
    command = [*small, *GIVEN, f"hydra.run.dir={folder}", "claims=null"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NCBENCH_PROJECT", PROJECT)
        patch.setenv("NCBENCH_STEPS", STEPS)
        assert train.main([*command, "references=[]"]) == 0
        assert train.main([*command, "references=[]"]) == 0  # found again by the hash of the values
    return folder


def test_no_file_of_the_record_has_the_value(run):
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path.name for path in files if PROJECT.encode() in path.read_bytes()] == []
    for folder in (run, run / ".hydra"):
        kept = yaml.safe_load((folder / "config.yaml").read_text())
        assert kept["logger"]["project"] == ASKED["logger.project"]
        assert kept["model"]["activation"] == ASKED["model.activation"]
        assert kept["schedule"]["steps"] == int(STEPS)  # what was computed
    overrides = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())
    assert set(GIVEN) <= set(overrides)
    assert not any("${" in str(value) for value in load_replicas(run).to_numpy().flat)
    info = json.loads((run / "run.json").read_text())
    assert (info["steps"], info["status"]) == (int(STEPS), "done")


def test_such_a_record_is_not_resolved_and_shares_its_setting_with_no_other(run, tmp_path, capsys):
    assert measure([str(run)]) == 2
    assert "must be a value; interpolations of a recorded run are not followed" in capsys.readouterr().err
    for name in ("a", "b"):
        shutil.copytree(run, tmp_path / name)
    assert [setting.runs for setting in find_settings(tmp_path)] == [("a",), ("b",)]


def test_wandb_is_told_what_stands_in_the_record(run, monkeypatch):
    told = SimpleNamespace(WandbRun=lambda folder, **said: said["config"])
    monkeypatch.setitem(sys.modules, "ncbench.training.loggers.wandb_run", told)
    (job,) = compose_jobs(["+experiment=dufm_k10", "logger=wandb_offline"], multirun=False)
    recorded = {"logger": {"project": ASKED["logger.project"]}}
    assert open_logger(job.config, run, recorded, []) is recorded


def test_values_are_found_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("NCBENCH_X", "x")
    composed = OmegaConf.create(
        {
            "a": {"b": ["${oc.env:NCBENCH_X}/c", "${d}"], "e": "${g}"},
            "d": "of ${oc.env:NCBENCH_X}",
            "f": "${a.h}",
            "g": {"i": "${oc.env:NCBENCH_X}", "j": 1},
            "hydra": {"k": "${oc.env:NCBENCH_X}"},
        }
    )
    composed.a.h = "no variable"
    asked = asked_of_environment(composed)
    assert asked == {
        ("a", "b", 0): "${oc.env:NCBENCH_X}/c",
        ("a", "b", 1): "${d}",
        ("a", "e", "i"): "${g}",
        ("d",): "of ${oc.env:NCBENCH_X}",
        ("g", "i"): "${oc.env:NCBENCH_X}",
    }
    values = {"a": {"b": ["x/c", 5]}, "d": "of x", "f": "no variable"}
    assert as_written(values, asked) == {
        "a": {"b": ["${oc.env:NCBENCH_X}/c", 5]},
        "d": "of ${oc.env:NCBENCH_X}",
        "f": "no variable",
    }
    assert OmegaConf.to_container(composed, resolve=True)["d"] == "of x"
    assert os.environ["NCBENCH_X"] == "x"
