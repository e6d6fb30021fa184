"""The light record of an experiment: small, complete, with the numbers of the whole report."""

import json
import shlex

import pandas as pd
import pytest
import yaml

from ncbench.claims.papers import PICTURES
from ncbench.records.small_files import BadRecordsError
from ncbench.report import figure, load_measures
from ncbench.report.pages.record import summary_table, write_record
from tests.helpers.own_paper import claims
from tests.helpers.run_folders import write_run


def test_a_record_is_light_and_has_what_was_claimed(tmp_path):
    run = write_run(tmp_path / "run", list(range(8)), claims=claims())
    target = write_record(run, tmp_path / "record")
    files = {path.relative_to(target).as_posix() for path in target.rglob("*")}
    assert files == {"README.md", "claims.json", "config.yaml", "figure.png", "run.json", "summary.csv"}
    assert sum(path.stat().st_size for path in target.iterdir()) < 250_000
    table = pd.read_csv(target / "summary.csv", keep_default_na=False)
    (final,) = table[(table["measure"] == "loss") & (table["step"] == "1000")].to_dict("records")
    # Replica i ends at 0.1 + i / 100 (run_folders.loss_of): the median of eight is 0.135.
    assert float(final["median"]) == pytest.approx(0.135)
    assert final["replicas"] in ("8", "8.0")
    steps = sorted(float(step) for step in table.loc[table["measure"] == "loss", "step"])
    assert steps == [0, 1, 10, 100, 1000]
    assert float(table.loc[table["measure"] == "line:dnc", "median"].iloc[0]) == 0.12
    assert "tcv" not in set(table["measure"])
    assert json.loads((target / "claims.json").read_text()) == json.loads((run / "claims.json").read_text())


@pytest.mark.usefixtures("unrendered")
def test_six_digits_and_no_folder_of_this_machine(tmp_path):
    run = write_run(tmp_path / "run", [0, 1, 2], scale=1 / 3, claims=claims())
    info = json.loads((run / "run.json").read_text())
    changed = {
        "command": f"train hydra.run.dir={run} dataset.root=/data/a",
        "final": {"loss": {"median": 2 / 3, "q25": 1e-9}},
    }
    (run / "run.json").write_text(json.dumps(info | changed))
    target = write_record(run, tmp_path / "record")
    recorded = json.loads((target / "run.json").read_text())
    assert recorded["command"] == "train hydra.run.dir=DIR dataset.root=DIR"
    assert recorded["final"] == {"loss": {"median": 0.666667, "q25": 1e-9}}
    # As a grid starts its jobs: the folder quoted for Hydra, and that for the shell.
    job = shlex.join(["train", "seed=1", f"hydra.run.dir='{run}'"])
    (run / "run.json").write_text(json.dumps(info | {"command": job}))
    target = write_record(run, tmp_path / "job")
    assert json.loads((target / "run.json").read_text())["command"] == "train seed=1 hydra.run.dir=DIR"
    shown = pd.read_csv(target / "summary.csv")
    loss = shown[(shown["measure"] == "loss") & (shown["step"] == 1000)]["median"].iloc[0]
    exact = load_measures(run, measures=["loss"], steps="last")["value"].median()
    assert loss == float(f"{exact:.6g}") != exact


@pytest.mark.usefixtures("unrendered")
def test_of_a_grid_the_final_values_of_layers_are_in_the_summary_alone(tmp_path):
    final = {"loss": {"median": 0.25}, "head.1.pre.rank": {"median": 4.0}}
    for job in ("0", "1"):
        run = write_run(tmp_path / "grid" / job, [int(job)], claims=claims())
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | {"final": final}))
    grid = write_record(tmp_path / "grid", tmp_path / "record")
    for job in ("0", "1"):
        assert json.loads((grid / "runs" / job / "run.json").read_text())["final"] == {"loss": {"median": 0.25}}
    alone = write_record(tmp_path / "grid" / "0", tmp_path / "alone")
    assert json.loads((alone / "run.json").read_text())["final"] == final


def test_spectra_are_kept_where_a_claim_is_about_them(tmp_path):
    run = write_run(tmp_path / "run", [0, 1], claims=claims())
    found = summary_table(run, {"ratio": {"measure": "sigma", "index": 2}}, "collapse")
    rows = found[(found["measure"] == "singular_value") & (found["layer"] == "head.1") & (found["stage"] == "pre")]
    assert rows[["index", "median"]].values.tolist() == [[1, 2.0], [2, pytest.approx(1.005)]]
    assert found.loc[found["measure"] == "dnc1", "step"].nunique() == 5
    assert "singular_value" not in set(summary_table(run, {}, "loss")["measure"])


def test_with_a_rank_come_the_effective_rank_and_of_one_setting_the_singular_values(tmp_path):
    ranked = {"low": {"measure": "rank", "layers": "intermediate"}}
    run = write_run(tmp_path / "grid" / "a", [0], swept={"decay": 1e-3})
    alone = summary_table(run, ranked, "loss")
    assert {"rank", "effective_rank", "singular_value"} <= set(alone["measure"])
    write_run(tmp_path / "grid" / "b", [0], swept={"decay": 1e-2})
    grid = set(summary_table(tmp_path / "grid", ranked, "loss")["measure"])
    assert {"rank", "effective_rank"} <= grid
    assert "singular_value" not in grid


def test_an_experiment_may_name_the_figures_that_the_report_has():
    several = {"comparison", "gram_frames", "robustness", "NoRecordsError", "UndefinedError"}  # none of a single record
    assert set(PICTURES) == set(figure.__all__) - several


@pytest.mark.usefixtures("unrendered")
def test_a_figure_that_cannot_be_drawn_leaves_the_old_record(tmp_path):
    run = write_run(tmp_path / "run", [0, 1], claims=claims())
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["reproduces"]["picture"] = "loss_ratio"  # no curve of closed forms is recorded
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "README.md").write_text("before")
    with pytest.raises(BadRecordsError, match="reproduces.picture=loss_ratio: no curve of closed forms recorded"):
        write_record(run, tmp_path / "record")
    assert (tmp_path / "record" / "README.md").read_text() == "before"


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    ("change", "message"), [({"status": "failed"}, "its status is failed"), ({}, "no such figure")]
)
def test_what_cannot_be_a_record_is_refused_and_leaves_the_old_one(tmp_path, change, message):
    run = write_run(tmp_path / "run", [0, 1], claims=claims())
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | change))
    if not change:
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["reproduces"]["picture"] = "photograph"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "README.md").write_text("before")
    with pytest.raises(BadRecordsError, match=message):
        write_record(run, tmp_path / "record")
    assert (tmp_path / "record" / "README.md").read_text() == "before"
