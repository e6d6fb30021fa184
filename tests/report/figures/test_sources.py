"""Every figure draws the same of a run folder, of a table of its values and of the callback that measured them."""

import io

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from ncbench.measure import MeasureCollapse, measure_network
from ncbench.report import figure, load_grams, load_means, load_measures, load_replicas, load_spectra
from tests.helpers.foreign_module import Plain
from tests.helpers.run_folders import write_run

K = 3
LABELS = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], LABELS[:10]), (X[10:], LABELS[10:])]
SILENT = dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, logger=False)


@pytest.fixture(scope="module")
def callback():
    """A callback that has measured a training of two epochs."""
    measuring = MeasureCollapse(["body", "fc"], {"train": BATCHES, "test": BATCHES[:1]}, K, measures="nc")
    pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[measuring], **SILENT).fit(Plain(BATCHES, K))
    return measuring


@pytest.fixture(scope="module")
def folder(callback, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    callback.write_run(path)
    return path


def drawn(plot):
    """Everything in a figure that is data: lines and images, panel by panel."""
    lines = [[np.asarray(line.get_xydata(), dtype=float) for line in ax.lines] for ax in plot.axes]
    images = [[np.asarray(image.get_array(), dtype=float) for image in ax.images] for ax in plot.axes]
    return [array for panel in (*lines, *images) for array in panel]


def same(one, other):
    one, other = drawn(one), drawn(other)
    assert len(one) == len(other) > 0
    for found, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["neural_collapse", "gram", "spectra"])
def test_a_callback_is_drawn_as_its_folder_is(callback, folder, name):
    same(getattr(figure, name)(callback), getattr(figure, name)(folder))


def test_tables_are_drawn_as_their_folder_is(callback, folder):
    same(figure.neural_collapse(load_measures(folder)), figure.neural_collapse(folder))
    same(figure.neural_collapse(callback.table()), figure.neural_collapse(folder))
    same(figure.gram(load_grams(folder)), figure.gram(folder))
    same(figure.spectra(load_spectra(folder)), figure.spectra(folder))
    same(figure.measures(dir=callback.table(), names=["tcv"]), figure.measures(folder, ["tcv"]))
    # A table that was written and read again has lost the difference between '' and nothing.
    read = pd.read_csv(io.StringIO(callback.table().to_csv(index=False)))
    same(figure.neural_collapse(read), figure.neural_collapse(folder))


def test_tables_of_several_runs_and_replicas(tmp_path):
    for place, decay in enumerate((1e-3, 5e-2)):
        write_run(tmp_path / str(place), [0, 1, 2], swept={"weight_decay": decay}, scale=1 + place)
    table = load_measures(tmp_path).merge(load_replicas(tmp_path).drop(columns="seed"))
    same(figure.collapse(table, where={"weight_decay": 5e-2}), figure.collapse(tmp_path, where={"weight_decay": 5e-2}))
    with pytest.raises(figure.NoRecordsError, match="no Gram matrices recorded; the table holds measures alone"):
        figure.gram(table)


def test_a_loop_of_measure_network():
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, K))
    tables = [measure_network(net, BATCHES, layers=["1", "2"], num_classes=K, measures="nc") for _ in range(2)]
    one = figure.neural_collapse(tables[0])
    assert len(drawn(one)) > 0
    assert len(drawn(figure.spectra(tables[0]))) > 0  # measure_network's table holds the singular values
    both = pd.concat([table.assign(epoch=epoch) for epoch, table in enumerate(tables)])
    (accuracy, *_) = figure.neural_collapse(both).axes[0].lines
    assert accuracy.get_xdata().tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match=r"table: has several values of .* at step 0; a column step, epoch or run"):
        figure.neural_collapse(pd.concat(tables))


def test_what_a_table_does_not_hold_is_refused_in_one_line(callback, folder):
    for draw, table, message in (
        (
            figure.spectra,
            callback.table(),
            "no singular values recorded; the table holds measures alone: record into a folder",
        ),
        (figure.gram, load_spectra(folder), "no Gram matrices recorded; the table holds singular values alone"),
        (
            figure.loss,
            callback.table(),
            "the table holds measures alone: record into a folder (folder=DIR) and give that",
        ),
        (figure.neural_collapse, load_means(folder), "; the table holds means alone"),
        (figure.gram, pd.DataFrame({"x": [1]}), "table: has the columns ['x']; a figure draws those of load_measures"),
        (figure.gram, load_grams(folder)[:0], "table: has no rows"),
        (figure.gram, callback.table().drop(columns="step").assign(epoch=0.5), "epochs that are no whole numbers"),
        (figure.gram, MeasureCollapse(["body"], BATCHES, K), "MeasureCollapse has measured nothing yet"),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the text is compared below
            draw(table)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_nothing_is_left_behind(callback, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    figure.gram(callback)
    figure.measures(callback.table(), ["tcv"])
    assert list(tmp_path.iterdir()) == []
