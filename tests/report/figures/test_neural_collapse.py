"""The figures over epochs: what is drawn is what was recorded, and where the terminal phase begins."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from ncbench.config.schedules import SCHEDULES
from ncbench.measure import measure_network
from ncbench.records.runs import NoRecordsError
from ncbench.records.schema import CONFIG
from ncbench.records.writer import RecordWriter
from ncbench.report import figure
from ncbench.report.figures.learning_curves import IN_STEPS
from ncbench.report.pages.catalogue import CATALOGUE
from ncbench.report.pages.headline import NC, headline
from ncbench.report.terminal_phase import terminal_starts
from tests.helpers.run_folders import measurement, write_values

EPOCHS = (0, 1, 3, 10)
PER_EPOCH = 10  # steps, in records written by hand


def in_epochs(values):
    """By step: one value for all three networks, or a list of theirs."""
    of_networks = [[value] * 3 if np.isscalar(value) else value for value in values]
    return {epoch * PER_EPOCH: entry for epoch, entry in zip(EPOCHS, of_networks, strict=True)}


def accuracy(values, network=0, setting=0, split="train"):
    rows = [
        {"setting": setting, "network": network, "measure": "accuracy", "layer": "", "split": split, "value": value}
        | {"step": step, "epoch": float(epoch)}
        for step, (epoch, value) in enumerate(zip((0, 1, 2, 4, 8), values, strict=True))
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def run(tmp_path):
    """Three networks; replica 2 has twice the NC1 of replica 0. Training error 0 from epoch 3 on."""
    values = {
        "accuracy": in_epochs([0.1, 0.8, 1.0, 1.0]),
        "test.accuracy": in_epochs([0.1, 0.7, 0.9, 0.95]),
        "fit": in_epochs([2.3, 1.0, 0.1, 0.01]),
        "test.fit": in_epochs([2.3, 1.1, 0.5, 0.4]),
        "loss": in_epochs([2.4, 1.1, 0.2, 0.1]),
        "fc.input.post.nc1": in_epochs([[n, 1.5 * n, 2 * n] for n in (8.0, 4.0, 1.0, 0.1)]),
        "fc.input.post.equinorm": in_epochs([0.4, 0.3, 0.2, 0.1]),
        "fc.weight.equinorm": in_epochs([0.04, 0.03, 0.02, 0.01]),
        "fc.input.post.equiangularity": in_epochs([0.5, 0.4, 0.3, 0.2]),
        "fc.weight.equiangularity": in_epochs([0.05, 0.04, 0.03, 0.02]),
        "fc.weight.self_duality": in_epochs([1.4, 1.0, 0.5, 0.2]),
        "fc.input.post.ncc_mismatch": in_epochs([0.9, 0.2, 0.01, 0.0]),
        "test.fc.input.post.ncc_mismatch": in_epochs([0.9, 0.3, 0.1, 0.05]),
    }
    return write_values(tmp_path / "run", values, {})


def curves(ax):
    """dashes -> (x, y) of the curves of a panel, the vertical line left out."""
    return {
        line.get_linestyle(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.lines
        if len(set(line.get_xdata())) > 1
    }


def test_the_terminal_phase_begins_where_the_error_vanishes_for_good():
    frame = pd.concat(
        [
            accuracy([0.1, 0.9, 1.0, 1.0, 1.0]),
            accuracy([0.1, 1.0, 0.99, 0.9999, 1.0], network=1),  # begins anew
            accuracy([0.1, 0.5, 0.6, 1.0, 0.9998], network=2),  # never
            accuracy([1.0, 1.0, 1.0, 1.0, 1.0], network=3),
            accuracy([0.1, 0.9, 1.0, float("nan"), 1.0], network=4),  # what is not known is no zero error
            accuracy([1.0, 1.0, 1.0, 1.0, 1.0], network=5, split="test"),
        ]
    )
    starts = terminal_starts(frame).set_index("network")["epoch"]
    assert list(starts.index) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(starts, [2.0, 4.0, np.nan, 0.0, 8.0])


def test_six_panels_hold_the_recorded_values(run):
    fig = figure.neural_collapse(run)
    error, nc1, norms, angles, duality, mismatch = fig.axes
    np.testing.assert_allclose(curves(error)["-"], (EPOCHS, [0.9, 0.2, 0.0, 0.0]), atol=1e-12)
    np.testing.assert_allclose(curves(error)["--"], (EPOCHS, [0.9, 0.3, 0.1, 0.05]))
    np.testing.assert_allclose(curves(nc1)["-"], (EPOCHS, [12.0, 6.0, 1.5, 0.15]))  # the median of n, 1.5 n, 2 n
    band = nc1.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.125, 14.0))  # quartiles: 1.25 n, 1.75 n
    np.testing.assert_allclose(curves(norms)["-"], (EPOCHS, [0.4, 0.3, 0.2, 0.1]))
    np.testing.assert_allclose(curves(norms)["-."], (EPOCHS, [0.04, 0.03, 0.02, 0.01]))
    np.testing.assert_allclose(curves(angles)["-."], (EPOCHS, [0.05, 0.04, 0.03, 0.02]))
    np.testing.assert_allclose(curves(duality)["-"], (EPOCHS, [1.4, 1.0, 0.5, 0.2]))
    np.testing.assert_allclose(curves(mismatch)["--"], (EPOCHS, [0.9, 0.3, 0.1, 0.05]))
    for ax in fig.axes:
        (start,) = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert set(start.get_xdata()) == {3.0}
    title = fig.legends[0].get_title().get_text()
    assert "terminal phase: training accuracy at least 0.9999 from there on" in title


def test_learning_curves(run):
    fig = figure.learning_curves(run)
    of_accuracy, of_fit = fig.axes
    np.testing.assert_allclose(curves(of_accuracy)["-"], (EPOCHS, [0.1, 0.8, 1.0, 1.0]))
    np.testing.assert_allclose(curves(of_fit)["--"], (EPOCHS, [2.3, 1.1, 0.5, 0.4]))
    assert of_fit.get_yscale() == "log"


def scheduled(run, kind):
    """The run with a schedule of this kind in its configuration."""
    config = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**config, "schedule": {"kind": kind}}))
    return run


@pytest.mark.parametrize("kind", [None, "constant", "cosine"])
def test_epochs_of_one_step_are_epochs(tmp_path, kind):
    """Batches that hold the whole training set: the epoch is the step, in every row."""
    run = write_values(tmp_path / "run", {"accuracy": [0.1]}, {})
    writer = RecordWriter(run, [0])
    writer.keep_until(None)
    for step in (0, 1, 2, 5):
        writer.write(step, float(step), measurement(1, step))
    if kind is not None:
        scheduled(run, kind)
    of_accuracy, _ = figure.learning_curves(run).axes
    np.testing.assert_allclose(curves(of_accuracy)["--"], ((0, 1, 2, 5), [0.9] * 4))


def test_the_kinds_without_epochs_are_those_of_full_batch_problems():
    assert {schedule.KIND for schedule in SCHEDULES if schedule.full_batch} == set(IN_STEPS)


@pytest.mark.parametrize("kind", IN_STEPS)
def test_full_batch_problems_and_runs_without_nc3_have_no_such_figure(tmp_path, kind):
    values = {"loss": {0: [3.0], 100: [1.0]}, "accuracy": {0: [0.1], 100: [0.5]}}
    folder = scheduled(write_values(tmp_path / "run", values, {}), kind)
    with pytest.raises(NoRecordsError, match="no accuracy over epochs recorded"):
        figure.learning_curves(folder)
    with pytest.raises(NoRecordsError, match=r"no NC3 recorded \(measure.measures=nc\)"):
        figure.neural_collapse(folder)


def test_never_terminal_is_said(tmp_path):
    values = {
        "accuracy": in_epochs([0.1, 0.5, 0.9, [1.0, 0.9, 0.9]]),
        "fit": in_epochs([3, 2, 1, 0.5]),
        "loss": in_epochs([3, 2, 1, 0.5]),
    }
    folder = write_values(tmp_path / "run", values, {})
    legend = figure.learning_curves(folder).legends[0]
    assert "1 of 3 networks reach the terminal phase" in legend.get_title().get_text()
    assert "start of the terminal phase" in [text.get_text() for text in legend.get_texts()]
    values["accuracy"] = in_epochs([0.1, 0.5, 0.9, 0.9])
    folder = write_values(tmp_path / "never", values, {})
    legend = figure.learning_curves(folder).legends[0]
    assert "the terminal phase is not reached" in legend.get_title().get_text()
    assert "start of the terminal phase" not in [text.get_text() for text in legend.get_texts()]


def test_both_stand_in_the_report():
    entries = {entry.name: entry for entry in CATALOGUE}
    assert entries["neural_collapse"].draw is figure.neural_collapse
    assert entries["neural_collapse"].needs == "self_duality"
    assert entries["learning_curves"].measures == ("accuracy",)


def test_the_final_values_hold_nc1_to_nc4_of_the_classifier(run):
    table = headline(run)
    values = dict(zip(table.header, table.rows[0], strict=True))
    # By hand from the last column of the fixture: NC1 is 0.1, 0.15, 0.2 of the three networks; NC4 on training data.
    assert [values[name] for name in NC] == ["0.15 [0.125, 0.175]", "0.1", "0.2", "0.2", "0"]


def test_one_measurement_of_one_network_is_a_point_and_no_median(tmp_path):
    once = {"accuracy": {0: [0.5]}, "fc.weight.self_duality": {0: [0.3]}, "fc.input.post.nc1": {0: [0.2]}}
    drawn = figure.neural_collapse(write_values(tmp_path / "run", once, {}))
    (error,) = drawn.axes[0].lines
    assert (error.get_marker(), list(error.get_ydata())) == ("o", [0.5])
    assert "median" not in drawn.legends[0].get_title().get_text()


def measured(folder, splits):
    """A network of two layers measured at two epochs on these splits, with NC1 to NC4."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    for epoch in (0, 1):
        measure_network(net, splits, layers=["2"], num_classes=3, measures="nc", folder=folder, epoch=epoch)
        nn.init.normal_(net[2].weight)
    return folder


def test_a_split_of_another_name_has_a_look_and_a_name_of_its_own(tmp_path):
    y = torch.arange(3).repeat(8)
    x = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    both = measured(tmp_path / "both", {"train": [(x, y)], "val": [(x + 1, y)]})
    alone = measured(tmp_path / "alone", {"val": [(x + 1, y)]})
    for draw in (figure.neural_collapse, figure.learning_curves):
        of_both, of_one = draw(both), draw(alone)
        labels = [text.get_text() for text in of_both.legends[0].get_texts()]
        assert labels[0].startswith("training data")
        assert "val data" in labels
        assert len(curves(of_both.axes[0])) == 2  # two dashes
        assert "val data" in [text.get_text() for text in of_one.legends[0].get_texts()]
        assert "no training accuracy is recorded" in of_one.legends[0].get_title().get_text()
        assert "not reached" not in of_one.legends[0].get_title().get_text()
    with pytest.raises(NoRecordsError, match="no rank of class means of the split train recorded"):
        figure.rank(alone)
    together = tmp_path / "together"
    measured(together / "train", {"train": [(x, y)]})
    measured(together / "val", {"val": [(x, y), (x, y)]})  # another setting, as its records have another split
    assert figure.rank(together).axes
    assert figure.neural_collapse(together).axes


def test_values_that_are_not_finite_leave_a_gap_and_are_counted(tmp_path):
    nan = np.nan
    values = {
        "accuracy": in_epochs([0.1, [nan] * 3, 1.0, [1.0, nan, nan]]),
        "loss": in_epochs([2.0, [nan] * 3, 1.0, [0.5, nan, nan]]),
        "fc.input.post.nc1": in_epochs([4.0, [nan] * 3, 1.0, [0.5, nan, nan]]),
        "fc.weight.self_duality": in_epochs([1.4, 1.0, 0.5, 0.2]),
    }
    folder = write_values(tmp_path / "run", values, {})
    drawn = figure.neural_collapse(folder)
    np.testing.assert_array_equal(curves(drawn.axes[1])["-"], (EPOCHS, [4.0, nan, 1.0, 0.5]))
    said = "some points over fewer networks, at least 1: the others are NaN there"
    assert said in drawn.legends[0].get_title().get_text().replace("\n", " ")
    (line,) = drawn.axes[1].lines[:1]
    assert (line.get_marker(), line.get_markevery()) == ("o", [0])  # the first value has no neighbour
    shown = {handle.get_label(): handle for handle in drawn.legends[0].legend_handles}
    assert (shown["classifier W"].get_marker(), shown["classifier W"].get_linestyle()) == ("D", "-.")
    table = headline(folder)
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert (row["final loss"], row["accuracy"]) == ("0.5 (1 of 3, the others NaN)", "1 (1 of 3, the others NaN)")
    assert (row["NC1"], row["replicas"]) == ("0.5 (1 of 3, the others NaN)", "3")


def test_points_of_one_measurement_are_told_apart(tmp_path):
    once = {"accuracy": {0: [0.5]}, "test.accuracy": {0: [0.4]}, "fc.weight.self_duality": {0: [0.3]}}
    once |= {"fc.input.post.equinorm": {0: [0.2]}, "fc.weight.equinorm": {0: [0.1]}}
    drawn = figure.neural_collapse(write_values(tmp_path / "run", once, {}))
    (error, _, norms, *_) = drawn.axes
    looks = [(line.get_marker(), line.get_markerfacecolor() == "none") for ax in (error, norms) for line in ax.lines]
    assert looks == [("o", False), ("s", True), ("o", False), ("D", True)]
    shown = {handle.get_label(): handle.get_marker() for handle in drawn.legends[0].legend_handles}
    assert shown == {"training data (class means M)": "o", "test data": "s", "classifier W": "D"}
