"""A recorded run trained again: identical, or the first difference; planted ones are found and named."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncbench import train
from ncbench.records.parts import parts
from ncbench.records.schema import MANIFEST, arrow_schema
from ncbench.sweep.__main__ import main
from ncbench.sweep.compare import compare_digests, compare_tables, made_differently
from tests.helpers.run_folders import measurement, record

SMALL = ["+experiment=dufm_k10", "replicate.seed=2", "schedule.steps=20", "measure.points=4", "trainer.progress=false"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two replicas, and the same trained again by `rerun`."""
    run = tmp_path_factory.mktemp("again") / "run"
    assert train.main([*SMALL, "model.depth=3", f"hydra.run.dir={run}"]) == 0
    status = main(["rerun", str(run)])
    return run, run.with_name("run-again"), status


def change(run, table, number, column, values):
    """Put other values into a part of a table: a function of those that are there."""
    part = parts(run, table)[number]
    rows = pq.read_table(part)
    changed = values(rows[column].to_pylist())
    place = rows.column_names.index(column)
    field = arrow_schema(table).field(column)
    rows = rows.set_column(place, field, pa.array(changed, type=field.type))
    pq.write_table(rows, part)
    return rows.to_pylist()


def test_a_run_comes_out_the_same_in_another_folder(trained):
    run, again, status = trained
    assert status == 0
    assert (again / "replicas.json").read_text() == (run / "replicas.json").read_text()
    assert json.loads((run / "replicas.json").read_text())[0]["depth"] == 3
    hashes = [json.loads((folder / "run.json").read_text())["config_hash"] for folder in (run, again)]
    assert hashes[0] == hashes[1]


def test_a_finished_repetition_is_compared_without_training(trained, capfd):
    run, again, _ = trained
    before = (again / "run.json").stat().st_mtime_ns
    assert main(["rerun", str(run), "--out", str(again)]) == 0
    said = capfd.readouterr().out
    tables = compare_tables(run, again)
    assert f"identical: {tables.values} values at 4 steps" in said
    assert (again / "run.json").stat().st_mtime_ns == before


def test_values_are_counted_one_by_one(trained):
    run, again, _ = trained
    numbers = 0
    for table, column in (("measures", "value"), ("spectra", "singular_value"), ("grams", "gram"), ("means", "mean")):
        for part in parts(run, table):
            numbers += sum(np.size(value) for value in pq.read_table(part)[column].to_pylist())
    assert compare_tables(run, again).values == numbers


def test_one_changed_number_is_named_with_all_its_digits(trained, tmp_path, capfd):
    run = shutil.copytree(trained[1], tmp_path / "other")
    (run / MANIFEST).unlink()  # which would not let another number pass
    before = pq.read_table(parts(run, "measures")[0]).to_pylist()
    at = sorted({row["step"] for row in before})[2]
    row = next(r for r in before if (r["step"], r["layer"], r["stage"], r["replica"]) == (at, "head.2", "post", 1))
    place = before.index(row)
    now = math.nextafter(row["value"], math.inf)
    change(run, "measures", 0, "value", lambda values: [*values[:place], now, *values[place + 1 :]])
    assert main(["rerun", str(trained[0]), "--out", str(run)]) == 1
    said = capfd.readouterr().out
    where = f"step {row['step']}, head.2.post {row['measure']} ({row['split']}), replica 1"
    assert f"different: {where}: {row['value']} before, {now} this time (relative difference" in said
    assert "1 of " in said


def test_the_first_difference_is_that_of_the_first_step(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, [0, 1], {step: measurement(2, step, grams=True) for step in (0, 5, 9)})
    change(tmp_path / "b", "measures", 2, "value", lambda values: [2.0 * value for value in values])
    change(tmp_path / "b", "grams", 1, "gram", lambda rows: [[*rows[0][:-1], rows[0][-1] + 0.5], *rows[1:]])
    compared = compare_tables(tmp_path / "a", tmp_path / "b")
    # The Gram matrix of replica 0 has 4 on its diagonal; 4.5 is a ninth away from it.
    assert compared.first == (
        "step 5, features.post Gram matrix, replica 0, entry 15: 4.0 before, 4.5 this time (relative difference 0.111)"
    )
    # Of the measures at step 9, all but the zeros and the infinite ones are twice as large.
    of_step = pq.read_table(parts(tmp_path / "a", "measures")[2])["value"].to_numpy()
    assert compared.differing == 1 + np.count_nonzero(of_step)
    assert compared.largest == 0.5


def test_missing_and_new_rows_are_differences(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, [0, 1], {step: measurement(2, step) for step in (0, 5, 9)})
    assert compare_tables(tmp_path / "a", tmp_path / "b").identical
    part = parts(tmp_path / "b", "spectra")[1]
    rows = pq.read_table(part)
    pq.write_table(rows.slice(1), part)
    parts(tmp_path / "b", "measures")[2].unlink()
    compared = compare_tables(tmp_path / "a", tmp_path / "b")
    assert compared.first == ("step 5, features.post singular value 0, replica 0: recorded before, but not this time")
    assert (compared.missing, compared.new) == (1 + len(pq.read_table(parts(tmp_path / "a", "measures")[2])), 0)
    assert compare_tables(tmp_path / "b", tmp_path / "a").new == compared.missing


def test_nan_is_nan_and_nothing_else(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, [0], {0: measurement(1, 0)})
        change(tmp_path / name, "measures", 0, "value", lambda values: [math.nan, *values[1:]])
    assert compare_tables(tmp_path / "a", tmp_path / "b").identical
    change(tmp_path / "b", "measures", 0, "value", lambda values: [1.0, *values[1:]])
    compared = compare_tables(tmp_path / "a", tmp_path / "b")
    assert "nan before, 1.0 this time (no finite ratio)" in compared.first


def test_digests_are_compared_in_the_order_of_steps():
    recorded = {"0": "a", "5": "b", "10": "c"}
    assert compare_digests(recorded, dict(recorded)) == (3, "")
    assert compare_digests(recorded, recorded | {"10": "x", "5": "y"}) == (1, "the weights differ from step 5 on")
    without = {"0": "a", "10": "c"}
    assert compare_digests(recorded, without)[1] == "step 5: the weights have a digest before, but not this time"
    assert compare_digests(without, recorded)[1] == "step 5: the weights have a digest this time, but not before"


def test_a_changed_digest_is_a_difference(trained, tmp_path, capfd):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in trained[:2]]
    for folder, weights in zip(folders, ("b", "x"), strict=True):
        info = json.loads((folder / "run.json").read_text())
        info["digests"] = {"0": "a", "20": weights}
        info["versions"]["torch"] = "2.6.0" if weights == "b" else "2.7.0"
        (folder / "run.json").write_text(json.dumps(info))
    assert main(["rerun", str(folders[0])]) == 1
    said = capfd.readouterr().out
    assert "the weights differ from step 20 on" in said
    assert "not the same either: torch 2.6.0 before, 2.7.0 this time" in said


def test_what_is_not_the_same_around_two_runs():
    one = {"versions": {"torch": "2.6.0"}, "device": {"name": "A", "threads": 2, "cores": 4}, "git": None}
    other = {"versions": {"torch": "2.6.0"}, "device": {"name": "A", "threads": 1, "cores": 8}, "git": {"commit": "c"}}
    assert made_differently(one, one) == ""
    assert made_differently(one, other) == "threads 2 before, 1 this time; commit unknown before, c this time"


@pytest.mark.parametrize(
    ("change_of_run", "out", "line"),
    [
        ({"status": "interrupted"}, None, "its status is interrupted; only a run that is done is repeated"),
        ({}, "run/inside", "must be another folder than"),
        ({}, "run", "must be another folder than"),
        ({}, "full", "must be a new or an empty folder"),
    ],
)
def test_what_cannot_be_repeated_is_refused_in_one_line(trained, tmp_path, capfd, change_of_run, out, line):
    run = shutil.copytree(trained[0], tmp_path / "run")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | change_of_run))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    arguments = ["rerun", str(run), *(["--out", str(tmp_path / out)] if out else [])]
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_another_run_is_not_overwritten_by_a_repetition(trained, tmp_path, capfd):
    assert train.main([*SMALL, "model.depth=2", f"hydra.run.dir={tmp_path / 'other'}"]) == 0
    assert main(["rerun", str(trained[0]), "--out", str(tmp_path / "other")]) == 2
    assert "holds a run of another configuration" in capfd.readouterr().err


def test_what_is_no_run_and_no_record_is_refused(tmp_path, capfd):
    assert main(["rerun", str(tmp_path)]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    said = capfd.readouterr().err
    assert "is no run (no run.json in it)" in said
    assert "is no record (no summary.csv and config.yaml in it)" in said
