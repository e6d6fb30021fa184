"""How much the last two measured steps of a run differ."""

import pytest
import torch

from ncbench.measure.measures import Measurement
from ncbench.records.standstill import standstill
from ncbench.records.writer import RecordWriter
from ncbench.report.pages.entries import said_of_standstill


def at(loss, rank, test_rank=0.0):
    values = {
        ("train", "", "", "loss"): loss,
        ("train", "head.1", "pre", "effective_rank"): rank,
        ("train", "head.1", "post", "effective_rank"): 2.0,
        ("train", "head.1", "weight", "effective_rank"): 10 * rank,
        ("test", "head.1", "pre", "effective_rank"): test_rank,
    }
    return Measurement(values={key: torch.tensor([float(x)]) for key, x in values.items()})


def test_the_last_two_steps_are_compared(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    writer = RecordWriter(tmp_path, [0])
    for step, measured in ((0, at(9.0, 1.0)), (10, at(0.25, 4.5, 9.0)), (20, at(0.2, 4.25, 1.0))):
        writer.write(step, step / 10, measured)
        if step == 0:
            assert standstill(tmp_path) is None
    found = standstill(tmp_path)
    assert found["steps"] == [10, 20]
    assert found["loss"] == pytest.approx(0.25)  # |0.2 - 0.25| / 0.2
    assert found["effective_rank"] == pytest.approx(0.25)  # neither the weights' nor the test split's


def test_replicas_that_diverged_move_no_median(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    writer = RecordWriter(tmp_path, [0, 1, 2])
    for step, losses in ((0, [4.0, 9.0, 9.0]), (10, [2.0, 9.0, 9.0])):  # two are frozen
        writer.write(step, step, Measurement(values={("train", "", "", "loss"): torch.tensor(losses)}))
    assert standstill(tmp_path)["loss"] == 0.0
    assert standstill(tmp_path, without=[1, 2])["loss"] == 1.0


def test_what_is_not_recorded_is_none(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    writer = RecordWriter(tmp_path, [0])
    for step in (0, 1):
        writer.write(step, step, Measurement(values={("train", "", "", "accuracy"): torch.tensor([0.5])}))
    assert standstill(tmp_path) == {"steps": [0, 1], "loss": None, "effective_rank": None}


def test_a_record_says_the_most_of_its_runs():
    runs = [
        {"steps": [10, 20], "loss": 0.004, "effective_rank": 0.5},
        {"steps": [10, 20], "loss": 0.02, "effective_rank": 0.1},
    ]
    assert said_of_standstill([{"standstill": run} for run in runs]) == (
        "Between the last two measured steps, 10 and 20, the objective changed by at most 2.00%, an effective rank of "
        "class means by at most 0.5."
    )
    assert said_of_standstill([{"standstill": None}, {}]) == ""
