"""Every experiment file: its header, its composition, and a tiny run of it."""

import re

import pytest

from ncbench.report import load_measures
from ncbench.report.__main__ import main as report
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs, experiments

NAMES = sorted(experiments())


@pytest.mark.parametrize("name", NAMES)
def test_header(name):
    lines = [line for line in experiments()[name].read_text().splitlines() if line.startswith("# ")]
    text = "\n".join(lines[1:])
    assert lines[0] == "# @package _global_"
    for label in ("Paper", "Command", "Expected", "Cost"):
        assert re.search(rf"^# {label} ", text, re.M), f"{name}: the header lacks {label}"
    assert f"python -m ncbench.train +experiment={name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_composes_and_a_tiny_version_trains(name, tmp_path):
    (full,) = compose_jobs([f"+experiment={name}"], multirun=False)
    assert full.config.name == name.rsplit("/", 1)[-1]
    tiny = ["trainer.progress=false", "measure.points=3"]
    perceptron = full.config.model.on_inputs
    if full.config.schedule.full_batch:
        tiny += ["schedule.steps=20", *(["replicate.seed=2"] if "seed" in full.config.replicate else [])]
        tiny += _smaller(full.config) if perceptron else []
    else:
        tiny += ["trainer.max_epochs=1", "dataset=digits", "dataset.per_class=12", "dataset.batch_size=60"]
    (composed,) = compose_jobs([f"+experiment={name}", *tiny], multirun=False)
    assert run_execute.execute(composed.config, tmp_path / "run", command="test") == 0
    measures = load_measures(tmp_path / "run")
    assert measures.value.notna().any()
    assert {"loss", "fit", "regulariser", "tcv", "tcv_relative", "dnc1", "dnc2"} <= set(measures.measure)
    assert {"rank", "stable_rank", "effective_rank", "tail", "norm"} <= set(measures.measure)
    autoencoder = full.config.dataset.KIND == "mixture"
    assert ("accuracy" in set(measures.measure)) != autoencoder
    assert ("grad_max" in set(measures.measure)) == full.config.schedule.full_batch
    of_stacks = {"dead_layers", "distance", "residual", "rank_bound", "tightness", "gram_block"}
    assert of_stacks & set(measures.measure) == (of_stacks if perceptron else set())


def _smaller(config):
    """Overrides that make a tiny run of a stack of perceptrons."""
    smaller = ["measure.kmeans=false"]
    smaller += ["schedule.warm_steps=5"] if getattr(config.schedule, "warm_steps", None) is not None else []
    smaller += ["model.width=16"] if isinstance(config.model.width, int) else []
    images = config.dataset.KIND in ("digits", "images")
    return smaller + (["dataset=digits", "dataset.per_class=12"] if images else [])


def test_a_grid_gives_one_report(tmp_path, monkeypatch):
    from ncbench import train

    monkeypatch.chdir(tmp_path)
    grid = ["-m", "+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=3"]
    grid += ["trainer.progress=false", "objective.weight_decay=1e-3,2e-3", "model.depth=3,4", "hydra.sweep.dir=sweep"]
    assert train.main(grid) == 0
    assert report(["sweep"]) == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "weight_decay" in page
    assert "depth" in page
