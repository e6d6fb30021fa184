"""Figures of loss over DNC loss and of class means: what is drawn is what was recorded."""

import json

import numpy as np
import pytest
import torch

from ncbench.measure import Measurement
from ncbench.records.settings import find_settings
from ncbench.records.writer import RecordWriter
from ncbench.report import figure, load_means
from ncbench.report.figures.means import arranged
from tests.helpers.run_folders import write_values

CURVE = {"r": [4.0, 5.0, 6.0], "ratio": [0.95, 0.82, 0.78]}


def write(run, classes, losses, depth=4):
    write_values(run, {"loss": losses}, [], lines={"dnc": 0.1}, swept=[{"classes": classes}] * len(losses))
    references = json.loads((run / "references.json").read_text())
    arguments = {"num_classes": classes, "depth": depth}
    curve = {**references[0], "name": "ratio", "measure": "curve", "value": None, "values": CURVE}
    lines = [{**line, "arguments": arguments} for line in [*references, curve]]
    (run / "references.json").write_text(json.dumps(lines))


@pytest.fixture
def sweep(tmp_path):
    write(tmp_path / "a", 6, [0.1, 0.1005, 0.09, 0.2])
    write(tmp_path / "b", 10, [0.08, 0.09, 0.085, 0.1])
    return tmp_path


def test_loss_ratio_draws_the_curve_and_the_best_replica_of_each_run(sweep):
    (ax,) = figure.loss_ratio(sweep).axes
    curve = next(line for line in ax.lines if "closed form" in str(line.get_label()))
    assert list(curve.get_xdata()) == CURVE["r"]
    assert list(curve.get_ydata()) == CURVE["ratio"]
    points = {
        (float(x), float(y)) for line in ax.lines if len(line.get_xdata()) == 1 for x, y in [line.get_xydata()[0]]
    }
    assert {(4.0, 0.9), (5.0, 0.8)} <= {(round(x, 9), round(y, 9)) for x, y in points}


def test_loss_ratio_draws_a_curve_for_each_decay(sweep):
    """One depth, two decays: each has its curve, and the legend says which is whose."""
    for run, decay, scale in (("a", 0.001, 1.0), ("b", 0.002, 1.1)):
        lines = json.loads((sweep / run / "references.json").read_text())
        for line in lines:
            line["arguments"] |= {"feature_decay": decay, "per_class": 5}
        lines[-1]["values"] = {**CURVE, "ratio": [scale * ratio for ratio in CURVE["ratio"]]}
        (sweep / run / "references.json").write_text(json.dumps(lines))
    (ax,) = figure.loss_ratio(sweep).axes
    curves = {str(line.get_label()): list(line.get_ydata()) for line in ax.lines if "closed" in str(line.get_label())}
    assert curves == {
        "SRG / DNC, L = 4 (closed form, feature_decay=0.001)": CURVE["ratio"],
        "SRG / DNC, L = 4 (closed form, feature_decay=0.002)": [1.1 * ratio for ratio in CURVE["ratio"]],
    }


def test_loss_ratio_needs_a_curve(tmp_path):
    write_values(tmp_path / "a", {"loss": [0.1]}, [], lines={"dnc": 0.1})
    with pytest.raises(figure.NoRecordsError, match="no curve of closed forms recorded"):
        figure.loss_ratio(tmp_path)


def test_class_means_of_the_best_replica_as_neurons_by_classes(tmp_path):
    write_values(tmp_path / "a", {"loss": [0.2, 0.1]}, [])
    M = np.array([[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]])  # two classes, three neurons of which the second is silent
    places = [("head.1", "pre"), ("head.1", "post"), ("head.2", "pre")]
    found = Measurement(means=dict.fromkeys(places, torch.from_numpy(np.stack([M, 2 * M]))))
    RecordWriter(tmp_path / "a", [0, 1]).write(1000, 100.0, found)
    loaded = load_means(tmp_path / "a")
    np.testing.assert_array_equal(loaded["mean"].iloc[0], M)
    drawn = figure.means(tmp_path / "a")
    titles = [ax.get_title().splitlines()[0] for ax in drawn.axes]
    assert titles == ["head.1.pre", "head.1.post"]  # head.2 is the output
    np.testing.assert_array_equal(drawn.axes[0].images[0].get_array(), [[6.0, 0.0], [0.0, 4.0]])


def test_arranging_keeps_every_neuron_that_answers():
    rng = np.random.default_rng(0)
    M = np.where(rng.random((30, 6)) < 0.4, rng.random((30, 6)) + 0.1, 0.0)
    kept = arranged(M)
    answering = M[np.abs(M).max(axis=1) > 0]
    assert sorted(map(tuple, kept)) == sorted(map(tuple, answering))
    first = [int(np.flatnonzero(row)[0]) for row in kept]
    assert first == sorted(first)
    assert arranged(np.zeros((3, 2))).shape == (1, 2)


def test_class_means_have_to_be_recorded(tmp_path):
    write_values(tmp_path / "a", {"loss": [0.2]}, [])
    with pytest.raises(figure.NoRecordsError, match="no class means recorded"):
        figure.means(tmp_path / "a")


def test_settings_come_in_the_order_of_their_values_and_axes_that_never_meet_make_no_heat_map(tmp_path):
    for job, width in enumerate([30, 9, 12]):
        write_values(tmp_path / "a" / str(job), {"loss": [0.1]}, [], swept=[{"width": width, "depth": job}])
    assert [setting.values["width"] for setting in find_settings(tmp_path / "a")] == [9, 12, 30]
    write_values(tmp_path / "b" / "0", {f"head.{l}.pre.rank": [5.0] for l in (1, 2)}, [], swept=[{"width": 3}])
    write_values(tmp_path / "b" / "1", {f"head.{l}.pre.rank": [5.0] for l in (1, 2)}, [], swept=[{"decay": 4}])
    with pytest.raises(figure.NoRecordsError, match="fewer than two quantities vary"):
        figure.heatmap(tmp_path / "b")
