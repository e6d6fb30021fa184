"""`verify`: a record made of runs is recognised, trained again and compared, by digests or by its summary."""

import csv
import json
import math
import shutil

import pytest
import yaml

from ncbench import train
from ncbench.records.run_hash import schema_1_hash
from ncbench.records.runs import find_runs
from ncbench.report.pages.record import summary_table
from ncbench.sweep import again
from ncbench.sweep.__main__ import main
from ncbench.sweep.committed import compare_summary, runs_of_record

SMALL = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two finished runs of a grid, at two decays each, and the record that is made of them."""
    folder = tmp_path_factory.mktemp("verify")
    grid = ["model.depth=2,3", "+replicate.weight_decay=[1e-3,2e-3]", "hydra/launcher=basic"]
    assert train.main(["-m", *SMALL, *grid, f"hydra.sweep.dir={folder / 'runs'}"]) == 0
    runs, record = find_runs(folder / "runs"), folder / "record"
    for run in runs:  # as ncbench.report.pages.record.write_record does, without pages and pictures
        (record / "runs" / run.name).mkdir(parents=True)
        info = json.loads((run / "run.json").read_text())
        assert len(info.pop("digests")) > 2  # as of before there were digests
        (record / "runs" / run.name / "run.json").write_text(json.dumps(info))
    shutil.copy(runs[0] / "config.yaml", record)
    claims = yaml.safe_load((runs[0] / "config.yaml").read_text())["claims"]
    summary_table(folder / "runs", claims, "spectra").to_csv(record / "summary.csv", index=False, float_format="%.6g")
    return folder / "runs", record


@pytest.fixture
def record(recorded, tmp_path, monkeypatch):
    """A copy of the record; a run is trained by copying the one that was recorded."""

    def copied(values, out, *, command, overrides, device):
        depth = values["model"]["depth"]
        (run,) = [run for run in find_runs(recorded[0]) if f"depth: {depth}" in (run / "config.yaml").read_text()]
        shutil.copytree(run, out)
        info = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps(info | {"digests": {"0": "a", "20": "b"}}))
        return 0

    monkeypatch.setattr(again, "train_anew", copied)
    return shutil.copytree(recorded[1], tmp_path / "record")


def change_summary(record, **values):
    """Put other texts into the first row of the loss in summary.csv."""
    with open(record / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if row["measure"] == "loss")
    before = dict(row)
    row.update(values)
    with open(record / "summary.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(rows)
    return before


def test_every_run_of_a_record_is_recognised_by_its_hash(recorded):
    runs, refused = runs_of_record(recorded[1])
    assert refused == []
    for run in runs:
        kept = yaml.safe_load((recorded[0] / run.name / "config.yaml").read_text())
        assert run.config_hash == run.info["config_hash"]
        assert run.values["model"]["depth"] == kept["model"]["depth"]
        assert f"model.depth={kept['model']['depth']}" in run.overrides
    assert {run.values["model"]["depth"] for run in runs} == {2, 3}


def test_what_was_recorded_with_another_experiment_is_not_trained(record, capfd):
    for path in record.glob("runs/*/run.json"):
        info = json.loads(path.read_text())
        path.write_text(json.dumps(info | {"command": "python -m ncbench.train +experiment=gone"}))
    runs, refused = runs_of_record(record)
    assert len(runs) == len(refused) == 1  # config.yaml is that of the first
    assert main(["verify", str(record), "--out", str(record.parent / "out")]) == 1
    assert f"not trained: {refused[0]}" in capfd.readouterr().out


def test_runs_of_an_experiment_that_has_changed_are_made_of_the_kept_configuration(recorded, record):
    """Hashes of the first schema, of all values, and one value that the experiment no longer has."""
    for path in record.glob("runs/*/run.json"):
        values = yaml.safe_load((recorded[0] / path.parent.name / "config.yaml").read_text())
        del values["open"]  # a key of later versions
        values["measure"]["batch_size"] = 77
        info = json.loads(path.read_text())
        path.write_text(json.dumps(info | {"schema_version": 1, "config_hash": schema_1_hash(values)}))
    kept = yaml.safe_load((record / "config.yaml").read_text())
    kept["measure"]["batch_size"] = 77
    (record / "config.yaml").write_text(yaml.safe_dump(kept))
    runs, refused = runs_of_record(record)
    assert refused == []
    assert {(run.values["model"]["depth"], run.values["measure"]["batch_size"]) for run in runs} == {(2, 77), (3, 77)}


def test_without_digests_the_summary_is_compared(record, capfd):
    out = record.parent / "out"
    assert main(["verify", str(record), "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert said.count("the record has no digests of the weights") == 2
    with open(record / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for run in runs_of_record(record)[0]:
        # Every text of the columns median to replicas that there is.
        filled = [
            row[name]
            for row in rows
            for name in ("median", "q25", "q75", "min", "max", "replicas")
            if row["run"] == run.name and row[name]
        ]
        assert f"{run.name}: identical: {len(filled)} values of summary.csv to six digits" in said
        assert (out / run.config_hash[:10] / "run.json").is_file()
    assert "2 of 2 trained runs are identical" in said


def test_a_changed_value_of_the_summary_is_found(record, capfd):
    before = change_summary(record, q75="1.5")
    assert main(["verify", str(record / "runs" / before["run"]), "--out", str(record.parent / "out")]) == 1
    said = capfd.readouterr().out
    place = f"weight_decay {before['weight_decay']}, split train, measure loss, step 20"
    assert f"{place}: q75 1.5 before, {before['q75']} this time" in said
    relative = (1.5 - float(before["q75"])) / 1.5
    assert f" values differ in six digits, by at most {relative:.3g} relative" in said


def test_a_row_that_does_not_come_out_again_is_found(record):
    before = change_summary(record, measure="gone")
    run = next(run for run in runs_of_record(record)[0] if run.name == before["run"])
    out = record.parent / "out"
    assert main(["verify", str(record / "runs" / before["run"]), "--out", str(out)]) == 1
    values, first, differing, largest = compare_summary(run, out / run.config_hash[:10])
    assert "measure gone" in first
    assert first.endswith("this time")
    assert differing == 6  # median, quartiles, extremes and number of a row
    assert values > differing
    assert largest == math.inf


def test_with_digests_the_weights_are_compared(record, capfd):
    for path in record.glob("runs/*/run.json"):
        info = json.loads(path.read_text())
        weights = "b" if info["config_hash"] == runs_of_record(record)[0][0].config_hash else "x"
        path.write_text(json.dumps(info | {"digests": {"0": "a", "20": weights}}))
    assert main(["verify", str(record), "--out", str(record.parent / "out")]) == 1
    said = capfd.readouterr().out
    one, other = [run.name for run in runs_of_record(record)[0]]
    assert f"{one}: identical: the weights at 2 steps" in said
    assert f"{other}: different: the weights differ from step 20 on" in said
    assert f"{other}: identical: " in said  # what the summary says besides
    assert "1 of 2 trained runs are identical" in said
