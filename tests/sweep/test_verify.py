"""`verify`: a record made of runs is recognised, trained again and compared, by digests or by its summary."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ncbench import train
from ncbench.records.run_hash import schema_1_hash
from ncbench.records.runs import BadRecordsError, find_runs
from ncbench.records.verified import note_verified, said_of_verified
from ncbench.report.pages.record import summary_table
from ncbench.sweep import again
from ncbench.sweep import verify as verify_module
from ncbench.sweep.__main__ import main
from ncbench.sweep.committed import compare_summary, runs_of_record
from ncbench.sweep.data_folder import with_data

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

    def copied(values, out, *, command, overrides, device, trust):
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
        info["replica_digests"] = [*info["replica_digests"][:2], "c", "d"]
        info["device"] |= {"name": "Another Processor", "threads": 3}
        path.write_text(json.dumps(info | {"digests": {"0": "a", "20": weights}}))
    assert main(["verify", str(record), "--out", str(record.parent / "out")]) == 1
    said = capfd.readouterr().out
    one, other = [run.name for run in runs_of_record(record)[0]]
    assert f"{one}: identical, bit for bit, at all 2 measured steps" in said
    assert f"{other}: different: the weights differ from step 20 on; 2 of 4 replicas end with the same weights" in said
    assert f"{other}: identical: " in said  # what the summary says besides
    assert "1 of 2 trained runs are identical" in said
    machine = f"ncbench {info['versions']['ncbench']}, python {info['versions']['python']}, torch "
    assert said.count(f"    recorded on Another Processor, 3 threads, engine lanes, {machine}") == 2
    assert said.count("    trained again on ") == 2


@pytest.mark.slow
def test_a_run_folder_is_trained_again_in_a_folder_that_does_not_stay(recorded, tmp_path, monkeypatch, capfd):
    """Nothing is planted: the training is a process of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = find_runs(recorded[0])[0]
    steps = len(json.loads((run / "run.json").read_text())["digests"])
    assert main(["verify", str(run)]) == 0
    said = capfd.readouterr().out
    assert f"{run.name}: identical, bit for bit, at all {steps} measured steps\n    recorded on " in said
    assert "trained again in" not in said
    assert list(tmp_path.iterdir()) == []


def test_the_first_step_at_which_a_run_differs_is_named(recorded, record, tmp_path, capfd):
    """The repetition that the fixture makes has its own digests, of steps 0 and 20 alone."""
    run = shutil.copytree(find_runs(recorded[0])[0], tmp_path / "run")
    info = json.loads((run / "run.json").read_text())
    for number, (digests, sentence) in enumerate(
        (
            ({"0": "a", "20": "x"}, "the weights differ from step 20 on; 4 of 4 replicas"),
            ({"0": "x", "20": "b"}, "the weights differ from step 0 on"),
            ({"0": "a", "5": "c", "20": "b"}, "step 5: the weights have a digest before, but not this time"),
        )
    ):
        (run / "run.json").write_text(json.dumps(info | {"digests": digests}))
        assert main(["verify", str(run), "--out", str(tmp_path / f"out{number}")]) == 1
        assert f"run: different: {sentence}" in capfd.readouterr().out
    assert main(["verify", str(run), "--out", str(tmp_path / "out2")]) == 1
    assert f"{info['config_hash'][:10]} holds this repetition already" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("of_info", "of_values", "words", "line"),
    [
        ({"digests": {}}, {}, [], "has no digests of the weights; `python -m ncbench.sweep rerun` compares"),
        ({"status": "failed"}, {}, [], "its status is failed; only a run that is done is repeated"),
        ({}, {}, ["dataset.root=here"], "dataset.root=here: the data set of run lies in no folder"),
        ({}, {}, ["dataset.root="], "dataset.root=: must be one folder"),
        ({}, {}, ["--out", "run/inside"], "--out run/inside: must be another folder than run, and not inside it"),
        (
            {},
            {"optimizer": {"lr": "${oc.env:HOME}"}},
            [],
            "optimizer.lr=${oc.env:HOME}: must be a value; interpolations of a recorded run are not followed",
        ),
    ],
)
def test_what_cannot_be_verified_is_refused_in_one_line(
    recorded, tmp_path, monkeypatch, capfd, of_info, of_values, words, line
):
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(find_runs(recorded[0])[0], "run"))
    info, values = json.loads((run / "run.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
    for group, changed in of_values.items():
        values[group] |= changed
    (run / "run.json").write_text(json.dumps(info | of_info))
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    (run / "manifest.json").unlink()
    assert main(["verify", "run", *words]) == 2
    said = capfd.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    if of_values:
        assert main(["rerun", "run"]) == 2
        assert line in capfd.readouterr().err


def test_an_interpolation_in_the_command_of_a_record_is_not_followed(record, monkeypatch):
    """The command of somebody else's run.json is composed only where it names nothing of this machine."""
    monkeypatch.setenv("NCBENCH_TRIAL", "4")
    kept = yaml.safe_load((record / "config.yaml").read_text())
    for path in record.glob("runs/*/run.json"):
        info = json.loads(path.read_text())
        info["command"] = info["command"].replace("schedule.steps=20", "'schedule.steps=${oc.env:NCBENCH_TRIAL,20}'")
        path.write_text(json.dumps(info))
    runs, refused = runs_of_record(record)
    assert len(runs) == len(refused) == 1  # config.yaml is that of the first
    (record / "config.yaml").write_text(yaml.safe_dump(kept | {"name": "${oc.env:HOME}"}))
    with pytest.raises(ValueError, match=r"^name=\$\{oc.env:HOME\}: must be a value"):
        runs_of_record(record)


def test_the_data_of_a_record_may_lie_elsewhere(record, tmp_path, monkeypatch):
    """The folder goes into the configuration that is trained, and into nothing that is compared."""
    run, seen = runs_of_record(record)[0][0], []
    values = run.values | {"dataset": run.values["dataset"] | {"root": "DIR"}}

    def given(folder, trust, data):
        return [replace(run, values=with_data(values, data, run.name))], []

    monkeypatch.setattr(verify_module, "runs_of_record", given)
    monkeypatch.setattr(verify_module, "train_again", lambda values, *_: seen.append(values["dataset"]["root"]))
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(record), "dataset.root=data"]) == 1  # as nothing was trained
    assert seen == [str(tmp_path / "data")]


def test_a_note_says_for_which_processor_the_runs_with_digests_were_identical(record, capfd, monkeypatch):
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    first, second = sorted(record.glob("runs/*/run.json"))
    info = json.loads(first.read_text())
    first.write_text(json.dumps(info | {"digests": {"0": "a", "20": "b"}}))
    assert main(["verify", str(record), "--note"]) == 0
    on = f"{info['device']['name']} (code for haswell)"
    assert json.loads((record / "verified.json").read_text()) == {on: {info["config_hash"]: 2}}
    hashes = [info["config_hash"], json.loads(second.read_text())["config_hash"]]
    assert said_of_verified(record, hashes[1:]) == ""
    note_verified(record, "B", {hashes[0]: 2, hashes[1]: 3})
    assert said_of_verified(record, hashes) == (
        f"Trained again with the same bits on {on} (1 of 2 runs, 2 measured steps); B (2 of 2 runs, 5 measured steps)."
    )
    first.write_text(json.dumps(info | {"digests": {"0": "a", "20": "c"}}))
    (record / "verified.json").unlink()
    main(["verify", str(record), "--note"])
    assert not (record / "verified.json").exists()
    for damaged in ('{"A": {"x": "y"}}', '{"A": {"x": true}}', "[]"):
        (record / "verified.json").write_text(damaged)
        with pytest.raises(BadRecordsError, match=r"verified\.json: must map processors to runs"):
            said_of_verified(record, hashes)
