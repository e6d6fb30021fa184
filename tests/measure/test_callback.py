"""The callback's promises around a training: what is logged where, and that a failure never ends the training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger

import ncbench
from ncbench.measure import MeasureCollapse, measure
from ncbench.measure.network import rows
from ncbench.models.replica import DUFM
from ncbench.report import load_measures
from tests.helpers.foreign_module import Plain

K = 3
LABELS = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], LABELS[:10]), (X[10:], LABELS[10:])]
SILENT = dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)


def fit(callback, logger=False, epochs=3):
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[callback], logger=logger, **SILENT)
    trainer.fit(Plain(BATCHES, K))
    return trainer


class RecordingLogger(DummyLogger):
    def __init__(self):
        super().__init__()
        self.logged = []

    def log_metrics(self, metrics, step=None):
        self.logged.append((step, dict(metrics)))


def test_values_go_to_the_logger_under_names_that_do_not_collide():
    callback, logger = (
        MeasureCollapse(["body"], {"train": BATCHES, "test": BATCHES[:1]}, K, epochs=[0, 3]),
        RecordingLogger(),
    )
    fit(callback, logger)
    (first, values), (last, _) = logger.logged
    assert (first, last) == (0, 6)
    table = callback.table()
    table = table[table.epoch == 0].set_index(["split", "layer", "stage", "measure"]).value
    assert values["nc/body/post/dnc1"] == table["train", "body", "post", "dnc1"]
    assert values["nc/test/body/post/dnc1"] == table["test", "body", "post", "dnc1"]
    assert values["nc/body/weight/norm"] == table["", "body", "weight", "norm"]
    assert values["nc/accuracy"] == table["train", "", "", "accuracy"]


def test_a_measurement_that_fails_later_is_logged_and_the_training_goes_on(caplog):
    class Failing(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            if self.passes == 2:
                raise RuntimeError("disk full")
            return super().__iter__()

    callback = MeasureCollapse(["body"], Failing(BATCHES), K)
    trainer = fit(callback)
    assert trainer.current_epoch == 3
    assert "the measurement after epoch 1 failed and is left out: disk full" in caplog.text
    assert sorted(callback.table().epoch.unique()) == [0, 2, 3]


@pytest.mark.parametrize("epochs", [None, [2]])  # measured before training, or rehearsed on one batch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["bodi"]}, "layers=bodi: the network has no such layer"),
        ({"reduction": "max"}, "reduction=max must be one of"),
        ({"reduction": lambda x: x.flatten()}, "which is not one vector for each of the 10 samples"),
        ({"dataloader": [X]}, "a batch must be"),
        ({"dataloader": [(X, LABELS.double())]}, "labels must be one integer per sample"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_epoch(epochs, arguments, message):
    callback = MeasureCollapse(
        **{"layers": ["body"], "dataloader": BATCHES, "num_classes": K, **arguments}, epochs=epochs
    )
    with pytest.raises(ValueError, match=message):
        fit(callback)


def test_wrong_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match="num_classes=1 must be at least 2"):
        MeasureCollapse(["body"], BATCHES, 1)
    with pytest.raises(ValueError, match="measures=nc9 must be among"):
        MeasureCollapse(["body"], BATCHES, K, measures=["nc9"])
    with pytest.raises(TypeError, match="the unexpected argument measure; it takes reduction, measures, batch_norm"):
        MeasureCollapse(["body"], BATCHES, K, measure=["nc1"])
    with pytest.raises(ValueError, match="the network has no such layer"):
        MeasureCollapse(["fcc"], BATCHES, K, module=Plain(BATCHES, K))


def test_options_are_those_of_measure():
    callback = MeasureCollapse(["body", "fc"], BATCHES, K, epochs=[0], measures=["nc1"], reduction="mean")
    fit(callback, epochs=1)
    expected = measure(Plain(BATCHES, K), {"train": BATCHES}, layers=["body", "fc"], num_classes=K, measures=["nc1"])
    found = callback.table().drop(columns=["step", "epoch"])
    assert found.to_dict("records") == rows(expected)


def test_an_ensemble_of_replicas_has_a_row_for_each():
    model = DUFM(depth=2, width=4, activation="relu", init_scale=1.0, num_classes=K, num_samples=6, seeds=[0, 1])
    found = measure(
        model,
        {"train": [(torch.arange(6), torch.arange(K).repeat_interleave(2))]},
        layers=["head.1"],
        num_classes=K,
        measures=["nc1", "ncc_accuracy", "cdnv"],
    )
    assert {tuple(x.shape) for x in found.values.values()} == {(2,)}


@pytest.mark.slow
def test_lightning_ddp_measures_as_one_process_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(ncbench.__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).parent / "ddp_worker.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    values = json.loads((tmp_path / "values.json").read_text())
    run = load_measures(tmp_path / "run")  # written by process 0 alone
    assert len(run) == sum(map(len, values["found"].values()))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"
    for epoch in ("0", "2"):
        found, expected = values["found"][epoch], values["expected"][epoch]
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert value == pytest.approx(expected[name], rel=1e-12, nan_ok=True), (epoch, name)
