"""What is written of a measurement: rows that can be worked out by hand."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records.parts import last_step, parts
from ncbench.records.writer import RecordWriter


def test_matrices_are_kept_row_by_row(tmp_path):
    means = torch.arange(2 * 2 * 3, dtype=torch.float64).reshape(2, 2, 3)  # two replicas, K = 2, d = 3
    found = Measurement(
        values={("train", "", "", "loss"): torch.tensor([0.5, 0.25])},
        spectra={("features", "post"): torch.ones(2, 2)},
        grams={("features", "post"): means @ means.mT},
        means={("features", "post"): means},
    )
    RecordWriter(tmp_path, [7, 8]).write(40, 1.0, found)
    table = pq.read_table(tmp_path / "means" / "part-000000000040.parquet").to_pydict()
    assert table["replica"] == [0, 1]
    assert table["step"] == [40, 40]
    assert table["layer"] == ["features", "features"]
    assert table["size"] == [2, 2]
    assert table["mean"] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    grams = pq.read_table(tmp_path / "grams" / "part-000000000040.parquet").to_pydict()
    np.testing.assert_array_equal(grams["gram"][0], [5, 14, 14, 50])


def test_every_row_has_the_seed_of_its_replica(tmp_path):
    values = {("train", "", "", name): torch.tensor([0.5, 0.25]) for name in ("loss", "accuracy", "mse")}
    RecordWriter(tmp_path, [7, 8]).write(40, 1.5, Measurement(values=values))
    rows = pq.read_table(tmp_path / "measures" / "part-000000000040.parquet").to_pylist()
    assert [(row["measure"], row["replica"], row["seed"], row["value"]) for row in rows] == [
        (name, replica, seed, value)
        for name in ("loss", "accuracy", "mse")
        for replica, seed, value in ((0, 7, 0.5), (1, 8, 0.25))
    ]
    assert {(row["step"], row["epoch"]) for row in rows} == {(40, 1.5)}


def test_a_measurement_without_matrices_writes_none(tmp_path):
    writer = RecordWriter(tmp_path, [0])
    found = Measurement(
        values={("train", "", "", "loss"): torch.tensor([0.5])}, spectra={("features", "post"): torch.ones(1, 2)}
    )
    writer.write(0, 0.0, found)
    assert not [path for table in ("means", "grams") for path in (tmp_path / table).glob("*")]


def test_a_kill_in_the_middle_of_a_part_leaves_no_part(tmp_path, monkeypatch):
    def dies(rows, where, **options):
        where.write(b"PAR1, and half of it")
        raise KeyboardInterrupt

    writer = RecordWriter(tmp_path, [0])
    found = Measurement(values={("train", "", "", "loss"): torch.tensor([0.5])})
    writer.write(9, 0.0, found)
    monkeypatch.setattr(pq, "write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        writer.write(10, 1.0, found)
    assert [last_step(part) for part in parts(tmp_path, "measures")] == [9]
    writer.keep_until(9)
    assert [path.name for path in (tmp_path / "measures").iterdir()] == ["part-000000000009.parquet"]


def test_parts_are_read_and_kept_in_the_order_of_their_steps(tmp_path):
    writer = RecordWriter(tmp_path, [0])
    for step in (1000, 200, 30):
        writer.write(step, 0.0, Measurement(values={("train", "", "", "loss"): torch.tensor([0.5])}))
    assert [last_step(part) for part in parts(tmp_path, "measures")] == [30, 200, 1000]
    for until, kept in ((1000, [30, 200, 1000]), (999, [30, 200]), (30, [30]), (None, [])):
        writer.keep_until(until)
        assert [last_step(part) for part in parts(tmp_path, "measures")] == kept


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted where the system lists them")
def test_a_long_run_keeps_neither_files_open_nor_rows_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # it takes its time, and no power is cut here
    writer = RecordWriter(tmp_path, [7, 8])
    found = Measurement(values={("train", "", "", "loss"): torch.tensor([0.5, 0.25])})
    kept = []
    for step in range(400):
        writer.write(step, float(step), found)
        if step % 100 == 99:
            kept.append((len(os.listdir("/proc/self/fd")), pa.total_allocated_bytes()))
    assert len(list((tmp_path / "measures").iterdir())) < 90
    assert len(set(kept)) == 1
