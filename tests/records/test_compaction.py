"""Few files however many measurements, the same rows bit for bit, and no moment at which a kill condemns a record."""

import os
import shutil
from functools import partial

import pandas as pd
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records import compaction
from ncbench.records.manifest import read_manifest
from ncbench.records.parts import first_step, last_step, parts, proven_parts
from ncbench.records.schema import TABLES
from ncbench.records.storage import read_part, recorded_steps, rows_at
from ncbench.records.writer import RecordWriter, summarise
from tests.helpers.kills import killed_at


def found(step):
    """One measurement with awkward values; Gram matrices at every third step."""
    values = torch.tensor([step + 0.1, float("nan"), -0.0]).double() * 3.7
    measured = Measurement(
        values={("train", "", "", "loss"): values, ("train", "features", "post", "dnc1"): values / 3},
        spectra={("features", "post"): torch.tensor([[2.0, 1e-300], [1.0, float("inf")], [0.5, step]]).double()},
    )
    if step % 3 == 0:
        measured.grams["features", "post"] = torch.eye(2).double().repeat(3, 1, 1) * step
    return measured


def write(folder, steps, flushed=()):
    writer = RecordWriter(folder, [7, 8, 9])
    for step in steps:
        writer.write(step, float(step), found(step))
        if step in flushed:
            writer.flush()
    return writer


def contents(folder):
    """All rows of all tables, floats as their bits, in the order in which they are read."""
    return {
        table: pd.concat(
            [read_part(part, table).to_pandas() for part in proven_parts(folder, table)] or [pd.DataFrame()]
        )
        .map(lambda x: x.tobytes().hex() if hasattr(x, "tobytes") else repr(x))
        .astype(str)
        .to_numpy()
        .tolist()
        for table in TABLES
    }


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(compaction, "FACTOR", 4)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # it takes its time, and no power is cut here


def test_what_is_read_is_what_was_written_in_few_files(tmp_path):
    write(tmp_path / "plain", range(45))
    before = contents(tmp_path / "plain")
    write(tmp_path / "merged", range(45), flushed=[0, 1, 2, 5, 9, 10, 31, 44])
    assert contents(tmp_path / "merged") == before
    names = [part.name for part in parts(tmp_path / "merged", "measures")]
    # Whatever flushed when: two of 16, three of 4, and the one that is left over.
    ends = [(0, 15), (16, 31), (32, 35), (36, 39), (40, 43)]
    assert names == [*(f"part-{a:012d}-{b:012d}.parquet" for a, b in ends), "part-000000000044.parquet"]
    assert recorded_steps(tmp_path / "merged") == list(range(45))
    assert recorded_steps(tmp_path / "merged", "grams") == list(range(0, 45, 3))
    assert len(rows_at(tmp_path / "merged", "spectra", 17)) == 6
    assert summarise(tmp_path / "merged", 17) == summarise(tmp_path / "plain", 17)
    assert summarise(tmp_path / "merged") == summarise(tmp_path / "plain")


def test_a_part_that_would_become_too_large_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_ROWS", 6 * 8)  # eight measurements of the measures
    write(tmp_path, range(40), flushed=range(3, 40, 4))
    sizes = [last_step(part) - first_step(part) + 1 for part in parts(tmp_path, "measures")]
    assert set(sizes) == {4}
    assert recorded_steps(tmp_path) == list(range(40))


def test_the_writer_flushes_by_itself_where_no_checkpoint_asks_for_it(tmp_path):
    write(tmp_path, range(70))
    assert len(list((tmp_path / "measures").iterdir())) <= 1 + 6


@pytest.mark.parametrize("step", [0, 15, 22, 44])
def test_a_resume_finds_what_an_undisturbed_run_had_at_that_step(tmp_path, step):
    write(tmp_path / "killed", range(45), flushed=[30])
    RecordWriter(tmp_path / "killed", []).keep_until(step)
    write(tmp_path / "plain", range(step + 1))
    assert contents(tmp_path / "killed") == contents(tmp_path / "plain")
    for folder in ("killed", "plain"):
        write(tmp_path / folder, range(step + 1, 45)).flush()
    assert contents(tmp_path / "killed") == contents(tmp_path / "plain")
    assert [part.name for part in parts(tmp_path / "killed", "measures")] == [
        part.name for part in parts(tmp_path / "plain", "measures")
    ]


def test_a_measurement_of_a_recorded_step_takes_its_place(tmp_path):
    write(tmp_path / "plain", range(9))
    writer = write(tmp_path / "again", [0, 1, 2, 4, 5, 6, 7, 8], flushed=[8])
    writer.write(3, 3.0, found(3))  # between others
    writer.write(5, 77.0, found(6))
    assert rows_at(tmp_path / "again", "measures", 5)["epoch"].to_pylist() == [77.0] * 6
    writer.flush()
    writer.write(5, 5.0, found(5))
    assert RecordWriter(tmp_path / "again", []).folder == tmp_path / "again"
    writer.flush()
    grams = contents(tmp_path / "again").pop("grams")
    assert len(grams) == 3 * 4  # of step 5 the Gram matrix that was there stays: no later measurement has one
    assert {**contents(tmp_path / "again"), "grams": []} == {**contents(tmp_path / "plain"), "grams": []}


@pytest.mark.parametrize(("flushed", "step"), [(10, None), (30, 21)], ids=["flush", "cut"])
def test_a_kill_at_any_moment_leaves_all_rows_that_a_resume_needs(tmp_path, monkeypatch, flushed, step):
    write(tmp_path / "plain", range(22))
    expected = contents(tmp_path / "plain")
    write(tmp_path / "whole", range(31), flushed=[flushed])
    moment, ended = 0, False
    while not ended:
        folder = shutil.copytree(tmp_path / "whole", tmp_path / str(moment))
        writer = RecordWriter(folder, [])
        ended = killed_at(monkeypatch, moment, writer.flush if step is None else partial(writer.keep_until, step))
        read = contents(folder)  # a reader comes first
        assert len(set(map(tuple, read["measures"]))) == len(read["measures"])
        assert read["measures"][: 22 * 6] == expected["measures"]
        RecordWriter(folder, []).keep_until(21)
        assert contents(folder) == expected
        assert {f"{table}/{part.name}" for table in TABLES for part in parts(folder, table)} == set(
            read_manifest(folder)
        )
        assert not list(folder.rglob("*.tmp"))
        moment += 6
    assert moment > 20


def test_a_reader_sees_the_parts_before_or_after_they_are_merged(tmp_path, monkeypatch):
    """The parts are merged between the moments at which a reader looks at the manifest and at the folder."""
    from ncbench.records import parts as reading

    write(tmp_path, range(3), flushed=[2])
    writer = write(tmp_path, range(3, 9), flushed=[3])
    expected = contents(tmp_path)
    real, calls = reading.read_manifest, []

    def merging(folder):
        found = real(folder)
        if not calls:
            calls.append(1)
            writer.flush()
        return found

    monkeypatch.setattr(reading, "read_manifest", merging)
    assert contents(tmp_path) == expected


def test_many_measurements_are_few_files():
    """Counted on the plan of merging alone: 100 000 measurements of 64 replicas of dufm_k10, at the sizes they have."""
    bytes_of = {"measures": (30_000, 5184), "spectra": (66_000, 9600), "grams": (165_000, 512)}
    files = 0
    for table, (size, rows) in bytes_of.items():
        blocks = []
        for _ in range(100_000 // 16 if table != "grams" else 100_000 // 8 // 16):
            blocks.append(compaction._Block((None,), 16, 16 * rows, 16 * size))
            if len(blocks) % 64 == 0:
                blocks = compaction._join(blocks, 256, leftovers=False)
        files += len(compaction._join(blocks, 256, leftovers=False))
    assert files < 1000
