"""Where a training begins, how it ends, what it keeps: the callback's table says each as it is."""

import os
import pickle

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging
from torch import nn

from ncbench.measure import MeasureCollapse, measure_network
from ncbench.measure.handover import Handover
from ncbench.report import load_grams, load_measures
from tests.helpers.foreign_module import Plain

K = 3
Y = torch.arange(K).repeat(8)
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[i::4], Y[i::4]) for i in range(4)]
SILENT = dict(
    logger=False,
    accelerator="cpu",
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
)


class Noisy(Plain):
    """With batch normalisation, and a value that never gets better."""

    def __init__(self):
        super().__init__(BATCHES, K)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU())

    def training_step(self, batch, number):
        self.log("worse", float(self.global_step))
        return super().training_step(batch, number)


def measured(**options):
    return MeasureCollapse(["body"], [(X, Y)], K, **options)


def fit(*callbacks, checkpoint=None, module=None, epochs=3, **options):
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **{**SILENT, **options})
    trainer.fit(module or Noisy(), ckpt_path=checkpoint)
    return trainer


def places(callback):
    table = callback.table()
    return list(table[["step", "epoch"]].drop_duplicates().itertuples(index=False, name=None)) if len(table) else []


def dnc1(table):
    return table[(table.layer == "body") & (table.stage == "post") & (table.measure == "dnc1")].value.tolist()


class SaveAfter(pl.Callback):
    """Writes a checkpoint after so many steps."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_network_resumed_inside_the_first_epoch_is_not_the_untrained_one(tmp_path):
    fit(SaveAfter(2, tmp_path / "inside.ckpt"), epochs=1)
    callback = measured(epochs=[0, 2])
    fit(callback, checkpoint=tmp_path / "inside.ckpt", epochs=2)
    assert places(callback) == [(8, 2.0)]


def test_a_second_fit_goes_on_and_is_not_the_untrained_network():
    callback = measured(epochs=[0, 1, 2])
    trainer = fit(callback, max_steps=2)
    assert places(callback)[0] == (0, 0.0)
    trainer.fit_loop.epoch_loop.max_steps = -1
    trainer.fit(trainer.lightning_module)
    assert [epoch for _, epoch in places(callback)].count(0.0) == 1


@pytest.mark.parametrize("folder", [None, "run"])
def test_a_resumed_training_has_the_values_from_before(tmp_path, folder):
    options = {} if folder is None else {"folder": tmp_path / folder}
    first, other = measured(**options), measured(epochs=[1])
    checkpoint = tmp_path / "second.ckpt"
    fit(first, other, epochs=2).save_checkpoint(checkpoint)
    resumed, again = measured(**options), measured(epochs=[1, 3])
    trainer = fit(resumed, again, checkpoint=checkpoint)
    assert [epoch for _, epoch in places(resumed)] == [0.0, 1.0, 2.0, 3.0]
    assert [epoch for _, epoch in places(again)] == [1.0, 3.0]  # each callback has its own
    assert dnc1(resumed.table())[:3] == dnc1(first.table())
    trainer.predict(trainer.lightning_module, torch.utils.data.DataLoader(X, 8), ckpt_path=checkpoint)
    assert len(places(resumed)) == 4  # a checkpoint that is only tried takes nothing away
    if folder:
        assert dnc1(load_measures(tmp_path / folder)) == dnc1(resumed.table())
    else:
        resumed.write_run(tmp_path / "written")
        assert dnc1(load_measures(tmp_path / "written")) == dnc1(resumed.table())


def test_epochs_that_never_come_are_said(caplog):
    fit(measured(epochs=[5, 10]))
    assert (
        "epochs=[5, 10]: the training ends after 3 epochs, so there is no measurement after 5, 10; nothing"
        in caplog.text
    )
    caplog.clear()
    fit(measured(epochs=[0, 2, 3, 9]), max_steps=4)
    assert caplog.text.count("there is no measurement after 9\n") == 1
    assert "the training ended after 1 epochs, before the measurements after 2, 3\n" in caplog.text


@pytest.mark.parametrize("epochs", [5, [-1], [0.5], "abc", ["a"]])
def test_epochs_are_whole_numbers(epochs):
    with pytest.raises(ValueError, match="must be a list of whole numbers from 0 on, or None for every epoch"):
        measured(epochs=epochs)


def test_a_callback_in_two_trainings_has_the_second_and_says_so(caplog):
    callback = measured(epochs=[0, 1])
    fit(callback, epochs=1)
    assert "begins a new training" not in caplog.text
    fit(callback, epochs=1)
    assert "begins a new training; its table no longer has the 2 measurements of the last one" in caplog.text
    assert places(callback) == [(0, 0.0), (4, 1.0)]


class Ending(pl.Callback):
    def __init__(self, error):
        self.error = error

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("disk full"), None])
def test_the_last_measurement_has_its_matrices_however_the_training_ended(tmp_path, error):
    ending = EarlyStopping("worse", patience=1) if error is None else Ending(error)
    found = []
    to_sink = measured(gram_every=100, sink=lambda *given: found.append(given))
    to_folder = measured(gram_every=100, folder=tmp_path / "run")
    try:
        fit(to_sink, to_folder, ending, epochs=9)
    except (RuntimeError, SystemExit):
        assert error is not None
    values, matrices = found[-2:]
    assert values[:2] == matrices[:2] == (8, 2.0)
    assert (bool(values[2].values), bool(values[2].grams), bool(values[2].means)) == (True, False, False)
    assert (bool(matrices[2].values), bool(matrices[2].grams), bool(matrices[2].means)) == (False, True, True)
    assert sorted(load_grams(tmp_path / "run").step.unique()) == [0, 8]


@pytest.mark.parametrize("epochs", [None, [0, 3]])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "averaging", [lambda: StochasticWeightAveraging(0.1, swa_epoch_start=1), lambda: EMAWeightAveraging(decay=0.8)]
)
def test_the_last_measurement_is_of_the_averaged_weights_that_are_kept(averaging, first, epochs):
    callback, module = measured(epochs=epochs), Noisy()
    callbacks = [callback, averaging()] if first else [averaging(), callback]
    fit(*callbacks, module=module)
    assert [epoch for _, epoch in places(callback)] == ([0.0, 1.0, 2.0, 3.0] if epochs is None else [0.0, 3.0])
    kept = measure_network(module, [(X, Y)], layers=["body"], num_classes=K)
    assert dnc1(callback.table())[-1:] == dnc1(kept)


def test_a_moving_average_is_what_is_measured_on_the_way():
    seen = []

    class Seen(pl.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            seen.append(dnc1(measure_network(pl_module, [(X, Y)], layers=["body"], num_classes=K)))

    class Validated(Noisy):
        def val_dataloader(self):
            return torch.utils.data.DataLoader(BATCHES, batch_size=None)

        def validation_step(self, batch, _):
            self(batch[0])

    callback = measured(epochs=[1])
    fit(callback, Seen(), EMAWeightAveraging(decay=0.8), module=Validated(), epochs=2, num_sanity_val_steps=0)
    assert dnc1(callback.table()) == seen[0] != seen[1]


def test_a_callback_can_be_pickled():
    callback = measured(epochs=[1])
    copy = pickle.loads(pickle.dumps(callback))
    fit(copy, epochs=1)
    assert places(pickle.loads(pickle.dumps(copy))) == places(copy) == [(4, 1.0)]


class Started:
    """A trainer whose strategy has started this process."""

    class strategy:
        launcher = type("_MultiProcessingLauncher", (), {})()


def test_what_a_started_process_measured_comes_back_to_the_one_that_started_it():
    ours = Handover()
    theirs = pickle.loads(pickle.dumps(ours))
    theirs.leave(Started, ["kept here"])  # not in another process
    assert ours.collect() is None
    child = os.fork()
    if child == 0:
        theirs.leave(Started, [{"values": torch.ones(2)}])
        os._exit(0)
    os.waitpid(child, 0)
    assert ours.collect()[0]["values"].tolist() == [1.0, 1.0]
    assert ours.collect() is None
    assert not ours.path.exists()


def of_steps(trainer):
    return trainer.global_step, float(trainer.global_step)


@pytest.mark.slow
@pytest.mark.parametrize("clock", [None, of_steps], ids=["own clock", "given clock"])
@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn", "ddp_notebook"])
def test_the_table_of_a_training_in_processes_of_its_own(strategy, clock, tmp_path):
    callback = measured(epochs=[0, 2], clock=clock)
    fit(callback, strategy=strategy, devices=2, epochs=2, module=Plain(BATCHES, K))
    (first, begins), (last, ends) = places(callback)
    assert (first, begins, ends) == (0, 0.0, 2.0 if clock is None else float(last))
    callback.write_run(tmp_path / "run")
    assert len(load_grams(tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resume_with_another_number_of_batches_is_not_the_untrained_network(tmp_path):
    fit(SaveAfter(2, tmp_path / "inside.ckpt"), epochs=1)
    callback = measured(epochs=[0, 1, 2])
    fit(callback, checkpoint=tmp_path / "inside.ckpt", epochs=2, limit_train_batches=3)
    assert 0.0 not in [epoch for _, epoch in places(callback)]
    assert [epoch for _, epoch in places(callback)][-1] == 2.0
