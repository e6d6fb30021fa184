"""What the callback sends to Lightning's own loggers: names that collide with no one's, steps, epochs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch import nn

from ncbench.measure import MeasureCollapse, measure_network
from ncbench.measure.keys import logged_name
from tests.helpers.foreign_module import Plain

K = 3
LABELS = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], LABELS[:10]), (X[10:], LABELS[10:])]
SILENT = dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1)


class Counting(Plain):
    """Logs an accuracy of its own, as everybody does."""

    def training_step(self, batch, index):
        self.log("accuracy", 0.125, on_epoch=True, on_step=False)
        return super().training_step(batch, index)


class Steps(pl.LightningModule):
    """Has a network, and no method forward."""

    def __init__(self):
        super().__init__()
        self.net, self.loss = Plain(BATCHES, K).body, nn.CrossEntropyLoss()

    def training_step(self, batch, _):
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(BATCHES, batch_size=None)


def fit(callback, logger=False, module=None):
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[callback], logger=logger, **SILENT)
    trainer.fit(module or Counting(BATCHES, K))


def measured(**options):
    return MeasureCollapse(["body", "fc"], {"train": BATCHES, "test": BATCHES[:1]}, K, **options)


def expected(callback):
    """What has to be in the logger, by step: every value of the table under its name."""
    table = callback.table()
    return {
        step: {logged_name(r.split, r.layer, r.stage, r.measure): r.value for r in rows.itertuples()}
        for step, rows in table.groupby("step")
    }


def test_csv_has_every_value_at_its_step_beside_the_users_own(tmp_path):
    callback, logger = measured(measures="nc"), CSVLogger(tmp_path)
    fit(callback, logger)
    with open(f"{logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["nc/fc/pre/dnc1"]]
    assert [(int(row["step"]), int(row["epoch"]), float(row["nc/epoch"])) for row in ours] == [
        (0, 0, 0.0),  # before training
        (2, 0, 1.0),
        (4, 1, 2.0),
    ]
    for row in ours:
        values = expected(callback)[int(row["step"])]
        assert {name: float(row[name]) for name in values} == pytest.approx(values, rel=1e-12, nan_ok=True)
        assert {"nc/accuracy", "nc/test/accuracy", "nc/fc/weight/self_duality", "nc/fc.input/post/nc1"} <= set(values)
    own = [float(row["accuracy"]) for row in rows if row["accuracy"]]
    assert own == [0.125, 0.125]
    assert all(row["epoch"] for row in rows)


def test_another_prefix_and_none(tmp_path):
    for prefix, name in (("collapse", "collapse/body/post/tcv"), ("", "body/post/tcv")):
        logger = CSVLogger(tmp_path, name=f"with{prefix}")
        fit(measured(prefix=prefix), logger)
        header = Path(logger.log_dir, "metrics.csv").read_text().splitlines()[0].split(",")
        assert name in header


def test_tensorboard_has_them(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callback, logger = measured(), TensorBoardLogger(tmp_path)
    fit(callback, logger)
    events = EventAccumulator(logger.log_dir).Reload()
    for step, values in expected(callback).items():
        for name, value in values.items():
            found = {event.step: event.value for event in events.Scalars(name)}
            assert found[step] == pytest.approx(value, rel=1e-6, nan_ok=True)
    assert [event.value for event in events.Scalars("accuracy")] == [0.125, 0.125]


@pytest.mark.slow  # wandb starts a process of its own
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_an_offline_run_of_wandb_has_them(tmp_path, monkeypatch):
    import wandb

    # Lightning asks for an offline run by a variable, which W&B reads once in a process, perhaps in an earlier test.
    wandb.teardown()
    for name, value in (("WANDB_SILENT", "true"), ("WANDB_MODE", "dryrun")):
        monkeypatch.setenv(name, value)
    callback, logger = measured(), WandbLogger(save_dir=tmp_path, offline=True)
    fit(callback, logger)
    wandb.finish()
    wandb.teardown()
    (segment,) = [path for path in (tmp_path / "wandb").glob("offline-run-*") if path.is_dir()]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segment)]
    records = map(json.loads, subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    ours = {row["trainer/global_step"]: row for row in rows if "nc/epoch" in row}
    assert [(step, row["epoch"], row["nc/epoch"]) for step, row in ours.items()] == [(0, 0, 0), (2, 0, 1), (4, 1, 2)]
    for step, values in expected(callback).items():
        assert {name: ours[step][name] for name in values} == pytest.approx(values, rel=1e-12)


def test_a_module_without_forward_is_told_about_module():
    with pytest.raises(
        ValueError, match=r"module=Steps: has no method forward, .* inside it \(net\), .*\(\.\.\., module=\"net\"\)"
    ):
        fit(MeasureCollapse(["net"], BATCHES, K), module=Steps())
    with pytest.raises(ValueError, match="module=Steps: has no method forward"):
        measure_network(Steps(), BATCHES, layers=["net"], num_classes=K)
    callback = MeasureCollapse(["0", "1"], BATCHES, K, module="net")
    fit(callback, module=Steps())
    assert sorted(callback.table().epoch.unique()) == [0, 1, 2]
    with pytest.raises(ValueError, match="module=nett: the LightningModule has no such module; it has net, loss"):
        fit(MeasureCollapse(["0"], BATCHES, K, module="nett"), module=Steps())
