"""Trainings that are not the usual one: optimisers of one's own, trials, values of NumPy, one seed for several."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ncbench.measure import measure_network, run_record
from ncbench.measure.history import History
from ncbench.measure.own_training import training_values
from ncbench.records.folder import RunFolder, read_config
from ncbench.records.settings import find_settings, repeated_networks
from ncbench.report import load_measures
from tests.helpers.foreign_module import Plain
from tests.measure.test_run_folder_lightning import BATCHES, LABELS, SILENT, K, X, callback, fit


class Raw(Plain):
    """Steps an optimiser that Lightning does not see."""

    automatic_optimization = False

    def training_step(self, batch, index):
        loss, optimizer = super().training_step(batch, index), self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_of_optimisers_that_lightning_does_not_see_the_batches_are_counted(tmp_path):
    measuring = callback(tmp_path / "run")
    trainer = fit(measuring, epochs=3, module=Raw(BATCHES, K))
    assert trainer.global_step == 0
    assert sorted(measuring.table().step.unique()) == [0, 2, 4, 6]
    assert sorted(load_measures(tmp_path / "run").step.unique()) == [0, 2, 4, 6]


def test_a_trial_leaves_nothing_behind(tmp_path):
    measuring = callback(tmp_path / "run")
    trainer = pl.Trainer(fast_dev_run=True, callbacks=[measuring], **SILENT)
    trainer.fit(Plain(BATCHES, K))
    assert len(measuring.table())
    assert not (tmp_path / "run").exists()
    fit(callback(tmp_path / "run"), epochs=1)
    assert RunFolder(tmp_path / "run").info()["status"] == "done"


class Rate(Plain):
    def __init__(self, batches, classes, rate):
        super().__init__(batches, classes)
        self.save_hyperparameters({"rate": rate, "sizes": (np.int64(3), 4)})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)


def test_numbers_of_numpy_are_written_as_pythons(tmp_path):
    fit(callback(tmp_path / "run"), epochs=1, module=Rate(BATCHES, K, np.logspace(-3, -1, 5)[2]))
    written = read_config(tmp_path / "run")
    assert (written["optimizer"]["lr"], written["hparams"]) == (0.01, {"rate": 0.01, "sizes": [3, 4]})
    assert RunFolder(tmp_path / "run").info()["status"] == "done"


def test_what_fails_when_the_folder_is_begun_closes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "write_config", lambda *_: (_ for _ in ()).throw(ValueError("planted")))
    with pytest.raises(ValueError, match="planted"):
        fit(callback(tmp_path / "run"), epochs=1)
    assert RunFolder(tmp_path / "run").info()["status"] == "failed"
    assert not RunFolder(tmp_path / "run").is_held()


def test_several_trainings_of_one_seed_are_several_networks_and_a_copy_is_none(tmp_path, monkeypatch):
    """Folds, or random restarts of one process: nothing that is recorded tells their data and weights apart."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # as pl.seed_everything sets it, once
    for name in ("a", "b", "c"):
        fit(callback(tmp_path / name), epochs=1)
    (setting,) = find_settings(tmp_path)
    assert [network.run for network in setting.networks] == ["a", "b", "c"]
    assert repeated_networks(tmp_path) == []
    (tmp_path / "c").rename(tmp_path / "moved")
    for path in sorted((tmp_path / "moved").rglob("*")):
        target = tmp_path / "copy" / path.relative_to(tmp_path / "moved")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
    (setting,) = find_settings(tmp_path)
    assert len(setting.networks) == 3
    assert len(repeated_networks(tmp_path)) == 1


def test_an_earlier_step_in_a_folder_of_a_loop_is_said_once(tmp_path, caplog):
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, K))
    for epoch in (0, 5, 1, 2):
        with caplog.at_level(logging.WARNING):
            measure_network(net, [(X, LABELS)], layers=["1"], num_classes=K, folder=tmp_path, epoch=epoch)
    assert caplog.text.count("has measurements up to step 5, and one of step 1 is added") == 1
    assert caplog.text.count("is added; those that are later stay") == 1


class Centres(nn.Module):
    """Changes what it is given in place."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(5, 4), nn.Linear(4, K)

    def forward(self, x):
        x.sub_(1.0)
        return self.fc(torch.relu(self.body(x)))


def test_a_network_that_changes_its_inputs_in_place_does_not_change_the_data():
    torch.manual_seed(0)
    network, data = Centres(), X.clone()
    options = {"layers": ["body", "fc"], "num_classes": K, "measures": "nc"}
    found = measure_network(network, [(data, LABELS)], **options)
    assert torch.equal(data, X)

    def same(x):  # the network without the change in place
        return network.fc(torch.relu(network.body(x - 1.0)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "forward", same)
        expected = measure_network(network, [(X, LABELS)], **options)
    assert found["value"].tolist() == pytest.approx(expected["value"].tolist(), rel=1e-9, nan_ok=True)


def test_where_a_folder_is_open_no_second_one_is_written_from_a_part(tmp_path):
    measuring = callback(tmp_path / "run")
    fit(measuring, epochs=1)
    with pytest.raises(ValueError, match=r"MeasureCollapse records in a folder already, .*run; copy that"):
        measuring.write_run(tmp_path / "copy")
    # Resumed, the history has rows of the checkpoint as if they were kept; with a folder open it hands over all.
    resumed = History.of_state(measuring.history.state(matrices=False))
    resumed.record = measuring.history.record
    assert len(resumed.state(matrices=True)) == len(measuring.history.state(matrices=False)) == 2


def test_values_that_are_not_plain_are_left_out():
    hparams = {"name": np.str_("x"), "on": True, "function": len, "array": np.zeros(2), "nothing": None}
    trainer = pl.Trainer(max_epochs=1, **SILENT)
    said = training_values(trainer, SimpleNamespace(hparams=hparams), nn.Linear(2, 2), ["0"], 2, "nc")
    assert said["hparams"] == {"name": "x", "on": True, "nothing": None}
    assert [type(value) for value in said["hparams"].values()] == [str, bool, type(None)]
