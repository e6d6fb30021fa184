"""Many rows: reading once, final values, curves with many points; the quick paths against plain ones."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ncbench.records import tables
from ncbench.records.cache import one_report
from ncbench.records.load import load_final
from ncbench.records.parts import part_path
from ncbench.records.schema import TABLES, arrow_schema
from ncbench.report import figure, load_measures, load_spectra
from ncbench.report.__main__ import make_report
from ncbench.report.figures import gram
from tests.helpers.run_folders import measurement, record, write_inputs, write_run

SERIES = ["run", "split", "layer", "stage", "measure"]


def naive_final(dir):
    """The last value of every series, replica by replica, with nothing but pandas."""
    frame = load_measures(dir).astype(dict.fromkeys(SERIES, str))
    last = frame.groupby(SERIES)["step"].max().rename("last").reset_index()
    frame = frame.merge(last, on=SERIES)
    return frame[frame["step"] == frame["last"]].drop(columns="last")


def assert_same_rows(found, expected):
    keys = [*SERIES, "replica"]
    found = found.astype(dict.fromkeys(SERIES, str)).sort_values(keys).reset_index(drop=True)
    expected = expected.sort_values(keys).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[[*keys, "step", "value"]], expected[[*keys, "step", "value"]])


def test_final_values_equal_the_plain_path(tmp_path):
    for job in range(2):
        run = write_run(tmp_path / str(job), [0, 1, 2], finished=job == 0)
    part = part_path(run, "measures", 1)
    table = pq.read_table(part)
    pq.write_table(table.filter(pc.field("measure") != "norm"), part)
    assert_same_rows(load_final(tmp_path), naive_final(tmp_path))
    assert {int(step) for step in load_final(tmp_path)["step"].unique()} == {0, 1, 1000}


@pytest.mark.usefixtures("unrendered")
def test_a_report_reads_final_values_once_and_a_notebook_anew(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", [0, 1])
    calls = []
    plain = tables._scan

    def counted(dir, table, steps, columns, keep):
        calls.append((table, steps is None))
        return plain(dir, table, steps, columns, keep)

    monkeypatch.setattr(tables, "_scan", counted)
    make_report(run, tmp_path / "out")
    assert calls.count(("measures", True)) == 1
    assert calls.count(("measures", False)) == 1
    calls.clear()
    load_final(run)
    load_final(run)
    assert calls == [("measures", True), ("measures", False)] * 2


def test_filters_inside_and_outside_of_a_report_keep_the_same_rows(tmp_path):
    for job in range(2):
        write_run(tmp_path / str(job), [0, 1], finished=job == 0)
    arguments = {"measures": ["dnc1", "rank"], "layers": ["head.1", "head.2"]}
    inside = one_report(lambda: load_measures(tmp_path, **arguments))()
    pd.testing.assert_frame_equal(inside, load_measures(tmp_path, **arguments))
    for steps in (0, 10, [1, 1000], 7):
        found = load_measures(tmp_path, steps=steps)
        whole = load_measures(tmp_path)
        expected = whole[whole["step"].isin(np.atleast_1d(steps))]
        assert found["value"].tolist() == expected["value"].tolist()


def test_a_column_added_by_one_figure_is_not_seen_by_another(tmp_path):
    run = write_run(tmp_path / "run", [0])

    @one_report
    def read():
        first = load_final(run)
        first["mine"] = 1
        return load_final(run)

    assert "mine" not in read()


def test_a_spike_in_a_long_run_is_drawn(tmp_path):
    run = write_run(tmp_path / "run", [0], finished=False)
    steps = np.arange(2, 20_002)
    values = 0.1 + 1 / steps
    values[[7_000, 15_001]] = 3.0, 0.01
    # Many steps in one part, which no run writes but every reader takes: one file for each would take a minute.
    texts = {"split": "train", "layer": "", "stage": "", "source_layer": "", "measure": "loss"}
    columns = {"replica": 0 * steps, "seed": 0 * steps, "step": steps, "epoch": 0.0 * steps, "value": values}
    columns |= {name: pa.array([text] * len(steps)).dictionary_encode() for name, text in texts.items()}
    table = pa.table({name: columns[name] for name in TABLES["measures"]}, schema=arrow_schema("measures"))
    pq.write_table(table, part_path(run, "measures", 20_001))
    (ax,) = figure.loss(run).axes
    (curve,) = [one for one in ax.lines if one.get_label() == "loss"]
    assert len(curve.get_xdata()) < 2_000
    assert {3.0, 0.01} <= set(curve.get_ydata())
    assert curve.get_xdata()[-1] == 20_001


@pytest.mark.slow
def test_a_million_rows_equal_the_plain_path(tmp_path):
    path = Path(__file__).parents[2] / "scripts" / "bench_report.py"
    spec = importlib.util.spec_from_file_location("bench_report", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    rows, spectra = bench.write_run(tmp_path / "run", replicas=250, steps=80)
    assert rows >= 1_000_000
    whole = load_measures(tmp_path / "run")
    assert len(whole) == rows
    assert len(load_spectra(tmp_path / "run")) == spectra
    assert_same_rows(load_final(tmp_path / "run"), naive_final(tmp_path / "run"))
    (ax,) = figure.loss(tmp_path / "run").axes
    (median,) = [one for one in ax.lines if one.get_label() == "loss, median"]
    loss = whole[whole["measure"] == "loss"].pivot(index="step", columns="replica", values="value").to_numpy()
    assert loss.shape == (80, 250)
    np.testing.assert_allclose(median.get_ydata(), np.median(loss, axis=1))
    assert make_report(tmp_path / "run", tmp_path / "out")[0].is_file()


def test_of_many_gram_matrices_forty_are_drawn_the_first_and_the_last_among_them(tmp_path, monkeypatch):
    record(tmp_path / "run", [0], {step: measurement(1, step, grams=True) for step in range(100)})
    write_inputs(tmp_path / "run", [{"replica": 0, "seed": 0}], [], {"status": "done", "name": "x", "replicas": 1})
    monkeypatch.setattr(gram, "_draw", lambda *_: None)
    steps = [step for step, _ in figure.gram_frames(tmp_path / "run")]
    assert (len(steps), steps[0], steps[-1]) == (40, 0, 99)
    assert set(np.diff(steps)) == {2, 3}
