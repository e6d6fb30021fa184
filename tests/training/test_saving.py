"""When checkpoints are saved: early in every process, within an epoch, at once where training is asked to stop."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from ncbench.data.given_loader import GivenLoader
from ncbench.data.images import ImageSet
from ncbench.data.loader import EpochLoader
from ncbench.records.folder import RunFolder
from ncbench.report import load_measures
from ncbench.run.compose import compose_jobs
from ncbench.run.execute import execute
from ncbench.training import saving
from ncbench.training.classifier import ClassifierModule
from ncbench.training.divergence import StopDiverged
from ncbench.training.saving import SaveLast

DIGITS = ["+experiment=digits_mlp", "dataset.per_class=12", "dataset.batch_size=40", "dataset.augment=true"]
DIGITS += ["trainer.max_epochs=3", "measure.points=4", "trainer.progress=false", "trainer.checkpoint_seconds=1000"]
DIGITS += ["trainer.keep_checkpoints=[0]"]  # 3 batches in each epoch


class Trainer(SimpleNamespace):
    """What SaveLast asks of Lightning's trainer: epochs of so many seconds, and how long it takes to save."""

    def __init__(self, clock, takes=0.0):
        super().__init__(world_size=1, max_epochs=10**9, current_epoch=0, is_last_batch=False, saved=[])
        self.is_global_zero = True
        self.clock, self.takes = clock, takes

    def save_checkpoint(self, path):
        self.saved.append(self.clock.now)
        self.clock.now += self.takes


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(now=100.0)
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: now.now))
    return now


@pytest.mark.parametrize(
    ("epoch", "takes", "seconds", "saved"),
    [
        (0.0625, 0.0, 2.0, [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
        (0.5, 0.0, 0.0, [0.5 * n for n in range(1, 21)]),
        (0.75, 0.0, 2.0, [0.75, 1.5, 3.0, 5.25, 7.5, 9.75]),
        (0.0625, 0.125, 2.0, [0.125, 2.25, 4.375, 6.5, 8.625]),  # 20 times what one takes, but 2 seconds at most
    ],
)
def test_the_first_comes_early_and_the_time_between_two_doubles(epoch, takes, seconds, saved, clock, tmp_path):
    callback, trainer = SaveLast(tmp_path, seconds), Trainer(clock, takes)
    callback.on_train_start(trainer, None)
    while clock.now < 110 - epoch / 2:
        clock.now += epoch
        callback.on_train_epoch_end(trainer, None)
    assert [at - 100 for at in trainer.saved] == saved


def test_a_long_epoch_is_saved_within(clock, tmp_path):
    module = torch.nn.Linear(2, 2)
    module.automatic_optimization = True
    for seconds, takes, saved in (
        (2.0, 0.0, [2, 4, 6, 8, 10]),
        (0.0, 0.0, list(range(1, 11))),
        (2.0, 0.125, [2, 4.625, 7.25, 9.875]),
    ):
        clock.now = 100.0
        callback, trainer = SaveLast(tmp_path, seconds), Trainer(clock, takes)
        callback.on_train_start(trainer, module)
        for _ in range(20):
            clock.now += 0.5
            callback.on_train_batch_end(trainer, module, None, None, 0)
        assert [at - 100 for at in trainer.saved] == pytest.approx(saved)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")  # the last checkpoint stays one of finite weights
    clock.now += 100
    callback.on_train_batch_end(trainer, module, None, None, 0)
    assert len(trainer.saved) == 4


def run(folder):
    (composed,) = compose_jobs(DIGITS, multirun=False)
    return execute(composed.config, folder, command="test", overrides=DIGITS)


def test_a_classifier_that_is_stopped_after_every_batch_ends_as_the_one_that_was_left_alone(tmp_path, monkeypatch):
    real = ClassifierModule.training_step

    def step(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(self, batch, batch_idx)

    assert run(tmp_path / "whole") == 0
    monkeypatch.setattr(ClassifierModule, "training_step", step)
    steps = []
    while len(steps) < 20 and run(tmp_path / "run") == 1:
        steps.append(torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["ncbench_step"])
    assert steps == list(range(1, 9))  # at the last of 9 it is done
    whole, stopped = (RunFolder(tmp_path / name).info() for name in ("whole", "run"))
    assert stopped["digests"] == whole["digests"]
    assert list(stopped["digests"]) == ["0", "3", "6", "9"]
    tables = [load_measures(tmp_path / name).drop(columns="run") for name in ("whole", "run")]
    assert tables[0].equals(tables[1])
    first = [
        torch.load(tmp_path / name / "checkpoints" / "epoch_0.ckpt", weights_only=True)["ncbench_step"]
        for name in ("whole", "run")
    ]
    assert first == [0, 0]


def epoch_loader():
    images = torch.arange(10 * 4, dtype=torch.uint8).reshape(10, 1, 2, 2)
    data = ImageSet(images, torch.arange(10) % 2, 2)
    return EpochLoader(data, 3, mean=[0.5], std=[0.5], augment=True, epoch=lambda: 4)


def given_loader():
    data = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10) % 2)
    loader = DataLoader(data, 3, sampler=SubsetRandomSampler(range(10)))
    return GivenLoader(loader, "a batch", torch.tensor([0, 1]), epoch=lambda: 4)


@pytest.mark.parametrize("make", [epoch_loader, given_loader])
def test_a_pass_goes_on_after_the_batches_that_were_read(make):
    whole, begun, resumed = make(), make(), make()
    batches = list(whole)
    assert whole.state_dict() == {"batches": 0}
    going = iter(begun)
    for _ in range(2):
        next(going)
    assert begun.state_dict() == {"batches": 2}
    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed)
    assert len(rest) == 2
    for one, other in zip(rest, batches[2:], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert len(list(resumed)) == 4  # the next pass is whole


def test_a_loss_that_was_not_finite_is_not_forgotten_within_an_epoch():
    stop, trainer = StopDiverged(), SimpleNamespace(global_step=5)
    assert stop.state_dict() == {}
    stop.on_train_batch_end(trainer, None, {"loss": torch.tensor(float("inf"))}, None, 0)
    resumed = StopDiverged()
    resumed.load_state_dict(stop.state_dict())
    trainer.global_step = 6
    resumed.on_train_batch_end(trainer, None, {"loss": torch.tensor(1.0)}, None, 1)
    step, value = resumed.state_dict()["first"]
    assert (int(step), float(value)) == (5, float("inf"))
