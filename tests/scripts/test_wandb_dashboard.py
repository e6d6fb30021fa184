"""scripts/wandb_dashboard.py: the panels of the report page, and no name that runs do not log; nothing is sent."""

import csv
import json
import re
import socket

import pytest
import wandb_dashboard
from wandb_dashboard import SNAPSHOT, dashboard, default_series

from ncbench.records.schema import METRICS
from ncbench.report.measures import MEASURES
from ncbench.report.pages.catalogue import CATALOGUE
from ncbench.run import logging_rules
from ncbench.run.compose import compose_jobs
from ncbench.run.execute import execute
from ncbench.training.loggers.history import History
from tests.helpers.run_folders import LAYERS, WEIGHTS, write_run

BOARD = dashboard(default_series())
PANELS = [panel for section in BOARD["sections"] for panel in section["panels"]]
# Runs that together take every measure but those of single experiments.
RUNS = {
    "dufm": ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=2", "measure.hessian=true"],
    "digits": ["+experiment=digits_mlp", "trainer.max_epochs=1", "measure.splits=[train,test]"],
    "blobs": ["+experiment=zangrando24/fig1_blobs_quick", "+replicate.seed=2", "schedule.steps=5"],
}
RUNS["dufm"] += ["measure.points=2", "dataset.classes=4", "dataset.per_class=2", "model.width=8"]
RUNS["digits"] += [
    "measure.measures=[nc,cdnv,etf_error,orthogonal_frame_error,tcv_floor,separation_fuzziness,ncc_accuracy]"
]
RUNS["blobs"] += ["replicate.weight_decay=[1e-2]", "replicate.noise_ratio=[1.0]", "measure.points=2"]
RUNS["blobs"] += ["dataset.num_samples=20"]
RUNS["digits"] += [
    f"+measure.matrices.{name}._target_=ncbench.core.{name}" for name in ("soft_rank", "negative_share", "leading_mass")
]
RUNS["digits"] += ["+measure.matrices.leading_mass.k=10"]
# Of pairs of replicas and of linear networks (zangrando24/fig2_product, fig2_linear), in training/ensemble_measures.py.
OF_SINGLE_EXPERIMENTS = {"centroid_distance", "mode_error", "modes_alive"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """By run the names that it logs: those of metrics.csv, of the histograms and of the pictures."""
    names = {}
    for run, overrides in RUNS.items():
        folder = tmp_path_factory.mktemp(run)
        (job,) = compose_jobs([*overrides, "logger=csv", "trainer.progress=false"], multirun=False)
        assert execute(job.config, folder, command="test", overrides=overrides) == 0
        history = History(folder)
        assert len((folder / METRICS).read_text().splitlines()) == 1 + len(history.steps())
        with open(folder / METRICS, newline="") as file:
            numbers = next(csv.reader(file))
        last = history.row(history.steps()[-1])
        names[run] = {*numbers, *last.spectra, *last.cosines}
    return names


def test_the_snapshot_is_what_the_script_makes():
    assert json.loads(SNAPSHOT.read_text()) == json.loads(json.dumps(BOARD))


def test_a_section_for_every_figure_of_the_page_and_a_panel_for_every_measure():
    titles = [section["title"] for section in BOARD["sections"]]
    expected = [figure.title for figure in CATALOGUE if figure.name != "robustness"]
    assert titles == ["Training", *expected, "Further measures"]
    pictures = [key for panel in PANELS for key in panel.get("keys", ()) if key.startswith("figures/")]
    drawn = [figure.name for figure in CATALOGUE if figure.name != "robustness"]
    assert pictures == [f"figures/{name}" for name in [*drawn, "measures"]]
    of_measures = [panel["title"] for panel in PANELS if panel.get("pattern", "").startswith("^(")]
    assert sorted(of_measures) == sorted(info.label for info in MEASURES.values())
    opened = [section["title"] for section in BOARD["sections"] if section["open"]]
    assert opened[:3] == ["Training", "Loss and theory lines", "Collapse per layer"]


def test_the_dashboard_names_only_what_runs_log(logged):
    names = set().union(*logged.values())
    unseen = {name for name in MEASURES if not matched(wandb_dashboard.of_measure(name), names)}
    assert unseen == OF_SINGLE_EXPERIMENTS
    patterns = [panel for panel in PANELS if "pattern" in panel and panel["title"] not in labels(unseen)]
    assert all(matched(panel, names) for panel in patterns)
    keys = {key for panel in PANELS for key in [panel.get("key"), *panel.get("keys", ())] if key}
    assert {key for key in keys if not key.startswith("figures/")} <= logged["dufm"]


def test_every_logged_number_has_a_panel(logged):
    names = {name for found in logged.values() for name in found if not name.endswith((".q25", ".q75"))}
    shown = {name for panel in PANELS for name in matched(panel, names)}
    shown |= {key for panel in PANELS for key in [panel.get("key"), *panel.get("keys", ())]}
    left = {name for name in names - shown if not name.startswith(("gram/", "spectra/"))}
    # The axis, and what is no line over the steps: the noise at which a solution begins to exist.
    assert left == {"nc/step", "theory/exists/noise", "theory/global/noise"}


def matched(panel, names):
    return {name for name in names if "pattern" in panel and re.search(panel["pattern"], name)}


def labels(names):
    return {MEASURES[name].label for name in names}


def test_a_pattern_is_of_one_measure():
    """By hand: medians of all layers and splits and the lines of the measure, but no quartiles and no other measure."""
    loss, rank = (wandb_dashboard.of_measure(name)["pattern"] for name in ("loss", "rank"))
    yes = ["nc/loss", "nc/test/loss", "theory/dnc", "theory/srg"]
    assert all(re.search(loss, name) for name in yes)
    assert not any(re.search(loss, name) for name in ["nc/loss.q25", "theory/dnc.q25", "theory/a/norm", "my/loss"])
    assert re.search(rank, "nc/head.2/weight/rank")
    assert not any(re.search(rank, name) for name in ["nc/head.1/post/stable_rank", "nc/a/rank.q75", "nc/a/rank_bound"])


def test_layers_of_another_run(tmp_path):
    write_run(tmp_path, [1])
    assert set(wandb_dashboard.series_of(tmp_path)) == {*LAYERS, *WEIGHTS}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_workspace_is_built_without_network(monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is optional")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked for"))
    model = wandb_dashboard.workspace(BOARD, "somebody", "ncbench")._to_model()
    spec = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    assert (spec["entity"], spec["project"], spec["displayName"]) == ("somebody", "ncbench", "Neural collapse")
    made = spec["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in made] == [section["title"] for section in BOARD["sections"]]
    found = [panel for section in made for panel in section["panels"]]
    assert len(found) == len(PANELS)
    for panel, of_wandb in zip(PANELS, found, strict=True):
        config = of_wandb["config"]
        assert panel["kind"] == "runs" or config["chartTitle"] == panel["title"]
        for key, value in (("metricRegex", panel.get("pattern")), ("mediaKeys", panel.get("keys"))):
            assert value is None or config[key] == value
        if panel["kind"] in ("lines", "histogram"):
            assert config["xAxis"] == "nc/step"
        if "key" in panel:
            assert config["metrics"] == [panel["key"]]


@pytest.mark.parametrize(
    ("target", "line"),
    [("ncbench", "--publish ncbench: must be ENTITY/PROJECT"), ("a/b", "logger=wandb: no W&B key")],
)
def test_publishing_needs_a_target_and_a_key(target, line, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(logging_rules.os, "environ", {"NETRC": str(tmp_path / "none")})
    assert wandb_dashboard.main(["--publish", target]) == 2
    assert line in capsys.readouterr().err
