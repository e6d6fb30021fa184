"""Samplers and loaders of a LightningDataModule's own: told the epoch, seen for what they draw, or refused."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler, TensorDataset

from ncbench.data import ModuleData, given_loader
from ncbench.data.adopt import as_run_data
from ncbench.data.given_loader import GivenLoader
from tests.data.test_module_data import DATA, LABELS, NUMBERED, Module, Plain, loader, passed, ready


class ByEpoch:
    """Turned by the epoch, as a sampler of torchvision's or Hugging Face's shuffles by it."""

    def __init__(self, size=11, left_out=0):
        self.size, self.left_out, self.epoch = size, left_out, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.size - self.left_out

    def __iter__(self):
        return iter([(i + self.epoch) % self.size for i in range(len(self))])


class Batches(ByEpoch):
    def __iter__(self):
        return iter([[i] for i in super().__iter__()])


@pytest.mark.parametrize("options", [{"sampler": ByEpoch()}, {"batch_size": 1, "batch_sampler": Batches()}])
def test_samplers_are_told_the_epoch(options, mutant):
    given = Module(lambda _: DataLoader(Plain(), **options))
    ours = ready(given).train_dataloader()
    assert isinstance(ours, GivenLoader)
    for epoch in range(3):
        assert passed(ours)[0] == [(i + epoch) % 11 for i in range(11)]
    # A resumed run begins in a later epoch.
    later = GivenLoader(ours.loader, "a batch", ours.values, epoch=lambda: 7)
    assert passed(later)[0][0] == 7
    silent = mutant(given_loader, "sampler.set_epoch(epoch)", "sampler.set_epoch(0)")
    same = silent.GivenLoader(ours.loader, "a batch", ours.values)
    assert passed(same) == passed(same)


def test_the_distributed_sampler_shuffles_anew_in_every_epoch():
    sampler = DistributedSampler(DATA, num_replicas=1, rank=0, shuffle=True)
    ours = ready(Module(loader(sampler=sampler))).train_dataloader()
    assert passed(ours)[0] != passed(ours)[0]


def test_a_part_that_changes_with_the_epoch_is_not_the_part_that_is_measured():
    """Of 11 samples 8 in each epoch, others in the next: all of them are trained on, and measured."""
    data = ready(Module(loader(sampler=ByEpoch(left_out=3))))
    assert len(data.train) == 11


@pytest.mark.parametrize("sampler", [RandomSampler(range(8)), SequentialSampler(range(8))])
def test_a_usual_sampler_of_another_set_draws_that_many(sampler):
    data = ready(Module(loader(Plain(), sampler=sampler)))
    assert sorted(passed(data.train_dataloader())[0]) == passed(data.measure_loader())[0] == list(range(8))
    assert data.notices[0].endswith("draws 8 of the 11 samples of its Dataset: these are measured, and no other")


class Doubled(DataLoader):
    def __iter__(self):
        for x, y in super().__iter__():
            yield 2 * x, y


def test_a_loader_that_makes_its_batches_itself():
    data = ready(Module(lambda _: Doubled(DATA, 4)))
    (notice,) = data.notices
    assert "is of type Doubled, which makes its batches itself: these are trained on" in notice
    assert passed(data.train_dataloader())[0] == [2.0 * i for i in range(11)]
    assert passed(data.measure_loader())[0] == list(range(11))


def test_a_sampler_of_batches_does_not_make_one_batch_of_all_that_is_measured(monkeypatch):
    monkeypatch.setattr("ncbench.data.module_data.MEASURED_AT_ONCE", 3)
    data = ready(Module(lambda _: DataLoader(Plain(), batch_sampler=Batches())))
    assert [len(y) for _, y in data.measure_loader()] == [3, 3, 3, 2]


class Uncounted:
    def __iter__(self):
        return iter([[0, 1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 12, "drop_last": True, "shuffle": True},
            r"^Module.train_dataloader\(\): has no batch of its 11 samples \(batch_size=12, drop_last=True\)$",
        ),
        (
            {"batch_size": 12, "drop_last": True, "sampler": ByEpoch()},
            r"^Module.train_dataloader\(\): has no batch of its 11 samples \(batch_size=12, drop_last=True\)$",
        ),
        (
            {"batch_size": 1, "batch_sampler": Uncounted()},
            r"^Module.train_dataloader\(\): its Uncounted must have a length",
        ),
    ],
)
@pytest.mark.parametrize("dataset", [DATA, Plain()], ids=["memory", "loader"])
def test_nothing_to_train_on_is_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        ready(Module(lambda _: DataLoader(dataset, **({"batch_size": 4} | options))))


def test_workers_of_their_own_are_named():
    both = {"num_workers": 1, "persistent_workers": True}
    given = ready(Module(loader(sampler=ByEpoch(), worker_init_fn=print, **both))).notices
    assert any("has a worker_init_fn, which is not called where it is measured: " in notice for notice in given)
    (usual,) = ready(Module(loader(shuffle=True, worker_init_fn=print))).notices
    assert usual.startswith("Module.train_dataloader() has a worker_init_fn, which is not called: random")
    assert any(notice.endswith("and on its workers, which keep their generators") for notice in given)
    assert not any("workers" in notice for notice in ready(Module(loader(sampler=ByEpoch()))).notices)


def test_what_lightning_makes_of_datasets():
    made = pl.LightningDataModule.from_datasets(DATA, TensorDataset(NUMBERED[:4], LABELS[:4]), batch_size=4)
    data = as_run_data(made)
    assert isinstance(data, ModuleData)
    data.setup()
    assert (len(data.train), len(data.test)) == (11, 4)
    assert torch.equal(torch.cat([y for _, y in data.measure_loader("test")]), LABELS[:4] - 3)
