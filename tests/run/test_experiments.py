"""Every experiment file: its header, its composition, and a tiny run of it."""

import re

import pytest

from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.report import load_measures
from ncbench.report.__main__ import main as report
from ncbench.run import execute as run_execute
from ncbench.run.claimed import slips_of
from ncbench.run.compose import compose_jobs, experiments
from ncbench.run.measured import measured_layers, measured_names, stages_of

NAMES = sorted(experiments())


@pytest.mark.parametrize("name", NAMES)
def test_header(name):
    lines = [line for line in experiments()[name].read_text().splitlines() if line.startswith("# ")]
    text = "\n".join(lines[1:])
    assert lines[0] == "# @package _global_"
    for label in ("Paper", "Command", "Expected", "Cost"):
        assert re.search(rf"^# {label} ", text, re.M), f"{name}: the header lacks {label}"
    assert f"python -m ncbench.train +experiment={name}" in text


@pytest.fixture(scope="module")
def measures_of(tmp_path_factory):
    """The measures of a configuration, trained once where two experiments compute the same in their tiny versions."""
    known = {}

    def trained(config):
        what = config_hash({key: value for key, value in differences(config).items() if key != "name"})
        if what not in known:
            folder = tmp_path_factory.mktemp("tiny") / "run"
            assert run_execute.execute(config, folder, command="test") == 0
            known[what] = load_measures(folder)
        return known[what]

    return trained


@pytest.mark.parametrize("name", NAMES)
def test_composes_and_a_tiny_version_trains(name, measures_of):
    (full,) = compose_jobs([f"+experiment={name}"], multirun=False)
    assert full.config.name == name.rsplit("/", 1)[-1]
    # That measure is recorded by the quick and small experiments alone, with which this one shares the claim.
    known = ["claims.head_of_spectrum_kept.measure"] if name == "zangrando24/fig3_mnist" else []
    assert [str(slip).partition("=")[0] for slip in slips_of(full.config)] == known
    tiny = ["trainer.progress=false", "measure.points=3"]
    perceptron = full.config.model.on_inputs
    if full.config.schedule.full_batch:
        tiny += ["schedule.steps=20", *(["replicate.seed=2"] if "seed" in full.config.replicate else [])]
        tiny += _smaller(full.config) if perceptron else []
    else:
        tiny += ["trainer.max_epochs=1", "dataset=digits", "dataset.per_class=12", "dataset.batch_size=60"]
    (composed,) = compose_jobs([f"+experiment={name}", *tiny], multirun=False)
    measures = measures_of(composed.config)
    assert measures.value.notna().any()
    assert {"loss", "fit", "regulariser", "tcv", "tcv_relative", "dnc1", "dnc2"} <= set(measures.measure)
    assert {"rank", "stable_rank", "effective_rank", "tail", "norm"} <= set(measures.measure)
    _check_what_was_foretold(composed.config, measures)
    autoencoder = full.config.dataset.KIND == "mixture"
    assert ("accuracy" in set(measures.measure)) != autoencoder
    assert ("grad_max" in set(measures.measure)) == full.config.schedule.full_batch
    of_stacks = {"dead_layers", "distance", "residual", "rank_bound", "tightness", "gram_block"}
    assert of_stacks & set(measures.measure) == (of_stacks if perceptron else set())


def _check_what_was_foretold(config, measures):
    """A run records nothing that is not expected of it: no claim about a recorded value is refused."""
    of_layers, of_network = measured_names(config)
    assert set(measures[measures.layer == ""].measure) <= set(of_network)
    places = measures[measures.layer != ""][["layer", "stage", "measure"]].drop_duplicates()
    assert set(places.layer) <= {*measured_layers(config), f"head.{config.model.depth}.input"}
    for layer, stage, measure in places.itertuples(index=False):
        assert stage in of_layers[measure], (layer, stage, measure)
        assert layer not in measured_layers(config) or stage in stages_of(config, layer), (layer, stage, measure)


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
    # In this process: four processes of the pool import torch four times, and their folders look the same.
    assert train.main([*grid, "hydra/launcher=basic"]) == 0
    assert report(["sweep"]) == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "weight_decay" in page
    assert "depth" in page
