"""The rows that every logger gets, the CSV table and TensorBoard, on made-up records."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from ncbench.records.errors import BadRecordsError
from ncbench.records.schema import METRICS, RUN_INFO, TENSORBOARD
from ncbench.records.whole_files import write_json
from ncbench.report import load_measures, load_spectra
from ncbench.training.loggers.csv_table import CsvTable
from ncbench.training.loggers.history import History
from ncbench.training.loggers.pictures import picture
from tests.helpers.run_folders import LAST, STEPS, write_run, write_values


def of_two_splits(folder):
    """Two replicas, a measure of every kind; the line srg holds for replica 1 only, two has a value for each."""
    values = {
        "loss": {0: [3.0, 5.0], 7: [1.0, 2.0]},
        "head.1.post.dnc1": {0: [0.5, 0.75], 7: [0.25, math.nan]},
        "head.2.weight.rank_bound@head.1": {7: [4.0, 6.0]},
        "test.accuracy": {0: [0.5, 0.75], 7: [1.0, math.inf]},
    }
    lines = [
        {"name": "dnc", "measure": "loss", "value": 0.5, "values": None, "replicas": None},
        {"name": "srg", "measure": "loss", "value": None, "values": None, "replicas": [0]},
        {"name": "srg", "measure": "loss", "value": 0.25, "values": None, "replicas": [1]},
        {"name": "two", "measure": "loss", "value": 1.0, "values": None, "replicas": [0]},
        {"name": "two", "measure": "loss", "value": 3.0, "values": None, "replicas": [1]},
        {"name": "exists", "measure": "noise", "value": 2.0, "values": None, "replicas": None},
        {"name": "srg", "measure": "spectra", "value": None, "values": {"head.2.pre": [1.0]}, "replicas": None},
    ]
    write_values(folder, values, {}, lines=lines)
    info = json.loads((folder / RUN_INFO).read_text())
    write_json(folder / RUN_INFO, info | {"learning_rates": {"0": 0.5, "7": None}})
    return folder


def test_a_row_worked_by_hand(tmp_path):
    history = History(of_two_splits(tmp_path))
    assert history.steps() == [0, 7]
    first, last = (history.row(step).numbers for step in history.steps())
    assert first == pytest.approx(
        {
            "nc/step": 0.0,
            "nc/epoch": 0.0,
            "nc/learning_rate": 0.5,
            "nc/loss": 4.0,
            "nc/loss.q25": 3.5,
            "nc/loss.q75": 4.5,
            "nc/head.1/post/dnc1": 0.625,
            "nc/head.1/post/dnc1.q25": 0.5625,
            "nc/head.1/post/dnc1.q75": 0.6875,
            "nc/test/accuracy": 0.625,
            "nc/test/accuracy.q25": 0.5625,
            "nc/test/accuracy.q75": 0.6875,
            **{f"theory/dnc{end}": 0.5 for end in ("", ".q25", ".q75")},
            **{f"theory/srg{end}": math.nan for end in ("", ".q25", ".q75")},
            "theory/two": 2.0,
            "theory/two.q25": 1.5,
            "theory/two.q75": 2.5,
            **{f"theory/exists/noise{end}": 2.0 for end in ("", ".q25", ".q75")},
        },
        nan_ok=True,
    )
    assert last["nc/head.2/weight/rank_bound@head.1"] == 5.0
    assert math.isnan(last["nc/learning_rate"])
    assert math.isnan(last["nc/head.1/post/dnc1"])
    assert last["nc/test/accuracy"] == math.inf
    assert set(first) <= set(last)


def test_every_recorded_value_is_in_a_row(tmp_path):
    """Against pandas: the median of each series at each step, under the name that its columns make."""
    write_run(tmp_path, [1, 2, 3])
    history = History(tmp_path)
    series = ["step", "split", "layer", "stage", "measure"]
    medians = load_measures(tmp_path).groupby(series, observed=True)["value"].median()
    named = {}
    for (step, split, layer, stage, measure), value in medians.items():
        parts = ["nc", "test" if split == "test" else "", layer, stage, measure]
        named[step, "/".join(part for part in parts if part)] = value
    rows = {step: history.row(step).numbers for step in history.steps()}
    assert list(rows) == list(STEPS)
    numbers = {(step, name): x for step, row in rows.items() for name, x in row.items()}
    assert {key: numbers[key] for key in named} == pytest.approx(named, rel=1e-12)
    others = {name for step, name in numbers if (step, name) not in named and not name.endswith((".q25", ".q75"))}
    assert others == {"nc/step", "nc/epoch", "nc/learning_rate", "theory/dnc", "theory/srg", "theory/ntz"}
    assert len({frozenset(row) for row in rows.values()}) == 1


def test_pictures_come_with_the_gram_matrices(tmp_path):
    write_run(tmp_path, [1, 2])
    history = History(tmp_path)
    assert [bool(history.row(step).cosines) for step in STEPS] == [step == LAST for step in STEPS]
    row = history.row(LAST)
    recorded = load_spectra(tmp_path, steps="last").groupby(["layer", "stage"], observed=True)["singular_value"]
    assert {name: sorted(x) for name, x in row.spectra.items()} == {
        f"spectra/{layer}/{stage}": sorted(values) for (layer, stage), values in recorded
    }
    # The first replica has the lowest loss; its Gram matrix is 4 + i times one with -1/4 off the diagonal.
    assert row.replica == 0
    assert row.cosines["gram/head.1/pre"] == pytest.approx(np.eye(4) * 1.25 - 0.25)
    assert set(row.cosines) == {"gram/features/post", *(f"gram/head.{x}" for x in ("1/pre", "1/post", "2/pre"))} | {
        "gram/head.2/post",
        "gram/head.3/pre",
    }


def test_a_picture_has_whole_cells_and_grey_where_there_is_no_cosine():
    found = picture(np.array([[1.0, -1.0, math.nan], [0.0, 1.0, math.nan], [math.nan] * 3]))
    assert found.shape == (162, 162, 3)
    cells = found[::54, ::54].tolist()
    assert cells == found[53::54, 53::54].tolist()
    assert cells[0][2] == [176, 176, 176]
    assert cells[0][0][0] > cells[0][0][2]  # red
    assert cells[0][1][0] < cells[0][1][2]  # blue
    assert max(cells[1][0]) - min(cells[1][0]) <= 1  # white


def lines_of(folder):
    with open(folder / METRICS, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_every_row_once_whatever_was_there_before(tmp_path):
    folder = of_two_splits(tmp_path)
    (folder / METRICS).write_text("nc/step,nc/loss\n0,broken li")
    table = CsvTable(folder)
    rows = lines_of(folder)
    assert [float(row["nc/step"]) for row in rows] == [0, 7]
    history = History(folder)
    for step, row in zip((0, 7), rows, strict=True):
        given = {name: float(text) for name, text in row.items() if text}
        assert given == pytest.approx(history.row(step).numbers, rel=0, abs=0, nan_ok=True)
    assert rows[0]["nc/head.2/weight/rank_bound@head.1"] == ""
    table.send(7)  # it was sent
    assert len(lines_of(folder)) == 2
    table.close(0)


def test_a_row_without_new_names_is_appended(tmp_path):
    write_run(tmp_path, [1])
    (last,) = (tmp_path / "measures").glob(f"*{LAST}.parquet")
    held = last.rename(tmp_path / "held")
    table = CsvTable(tmp_path)
    before = (tmp_path / METRICS).read_text()
    held.rename(last)
    table.send(LAST)
    after = (tmp_path / METRICS).read_text()
    assert after.startswith(before)
    assert after.count("\n") == before.count("\n") + 1
    assert ".q25" not in after  # one replica has no quartiles


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_same_names_and_values(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is optional")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from ncbench.training.loggers.tensorboard import TensorBoard

    write_run(tmp_path, [1, 2])
    for _ in range(2):  # the second is a run that is resumed
        logger = TensorBoard(tmp_path)
        logger.close(0)
    events = EventAccumulator(str(tmp_path / TENSORBOARD), size_guidance={"images": 0})
    events.Reload()
    history = History(tmp_path)
    rows = [history.row(step) for step in history.steps()]
    names = set(rows[0].numbers) - {"nc/step"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        found = {event.step: event.value for event in events.Scalars(name)}
        expected = {row.step: torch.tensor(row.numbers[name]).item() for row in rows}
        assert found == pytest.approx(expected, nan_ok=True)
    assert set(events.Tags()["histograms"]) == set(rows[-1].spectra)
    assert set(events.Tags()["images"]) == set(rows[-1].cosines)


@pytest.mark.parametrize("file", ["run.json", "replicas.json", "references.json"])
def test_a_file_of_the_record_that_is_damaged_is_named(tmp_path, file):
    history = History(of_two_splits(tmp_path))
    (tmp_path / file).write_text("[" * 200_000)
    with pytest.raises(BadRecordsError, match=f"{file} is nested more than 64 levels deep"):
        history.row(7)
