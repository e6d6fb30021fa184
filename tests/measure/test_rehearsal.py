"""What would be found wrong at a later measurement is refused before the first epoch."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from ncbench.measure import MeasureCollapse, rehearsal
from tests.helpers.foreign_module import Plain

K = 3
Y = torch.arange(24) // 8  # sorted: the first batches have one class
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:10], Y[:10]), (X[10:], Y[10:])]
SILENT = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)


def fit(loader, epochs=(2,), **options):
    callback = MeasureCollapse(["body"], loader, K, epochs=epochs, **options)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[callback], **SILENT)
    trainer.fit(Plain(BATCHES, K))
    return callback.table()


class Shared:
    """Gives the same iterator each time; `again`: one that begins anew when it has ended."""

    def __init__(self, again):
        self.again, self.left = again, iter(BATCHES)

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self.left, None)
        if batch is None:
            self.left = iter(BATCHES if self.again else ())
            raise StopIteration
        return batch


class Once(IterableDataset):
    def __init__(self):
        self.left = iter(list(zip(X, Y, strict=True)))

    def __iter__(self):
        return self.left


class Torchvision(torch.utils.data.Dataset):
    """As those of torchvision keep their labels."""

    target_transform = None

    def __init__(self, targets):
        self.targets = targets.tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return X[i], self.targets[i]


class Relabelled(Torchvision):
    def __getitem__(self, i):
        return X[i], self.target_transform(self.targets[i])

    @staticmethod
    def target_transform(label):
        return label - 1


@pytest.mark.parametrize("epochs", [None, (2,)])
@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: (batch for batch in BATCHES), "dataloader: the generator of train can be read only once"),
        (lambda: {"test": iter(BATCHES)}, "dataloader: the list_iterator of test can be read only once"),
        (lambda: Shared(again=False), "it gave 24 and then 0"),
        (lambda: DataLoader(Once(), 8), "it gave 24 and then 0"),
        (lambda: DataLoader(TensorDataset(X, Y), 8, sampler=WeightedRandomSampler([1.0] * 24, 24)), "drew"),
        (lambda: DataLoader(TensorDataset(X, Y), 10, drop_last=True), "drop_last leaves out 4|gave 20 samples"),
        (lambda: [(X, Y + 1)], r"num_classes=3 needs labels in \[0, 2\]"),
        (lambda: DataLoader(TensorDataset(X, Y + 1), 8), r"num_classes=3 needs labels in \[0, 2\]"),
        (lambda: DataLoader(Torchvision(Y + 1), 8), r"num_classes=3 needs labels in \[0, 2\]"),
        (lambda: DataLoader(Subset(Torchvision(Y + 1), range(24)), 8), r"num_classes=3 needs labels in \[0, 2\]"),
        (list, "the loader gave no batch|that of train gives no batch"),
    ],
)
def test_refused_before_the_first_epoch(loader, message, epochs):
    with pytest.raises(ValueError, match=message):
        fit(loader(), epochs)


@pytest.mark.parametrize(
    "loader",
    [
        BATCHES,
        Shared(again=True),
        DataLoader(TensorDataset(X, Y), 8, shuffle=True),
        DataLoader(Relabelled(Y + 1), 8),
        DataLoader(Torchvision(Y), 8, sampler=list(reversed(range(24)))),
    ],
    ids=["list", "begins anew", "shuffled", "relabelled", "own order"],
)
def test_nothing_is_read_away_and_nothing_refused_that_is_right(loader):
    found = fit(loader).set_index(["layer", "stage", "measure"]).value
    expected = fit([(X, Y)]).set_index(["layer", "stage", "measure"]).value
    assert found["body", "post", "dnc1"] == pytest.approx(expected["body", "post", "dnc1"], rel=1e-6)


def test_other_samples_at_a_later_measurement_are_said(caplog):
    class Shrinking(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(self[: 2 if self.passes < 3 else 1])

    found = fit(Shrinking(BATCHES), epochs=None)
    assert len(found.epoch.unique()) == 3
    assert caplog.text.count("the loader of train gives other samples than at the first measurement: 8 of class 1") == 1


def test_samples_on_the_second_axis_are_refused_before_the_first_epoch():
    net = nn.Sequential(nn.Linear(5, 6))
    hooks = {"num_classes": K, "reduction": "mean", "unpack": None}
    rehearsal.rehearse(net, {"train": [(X[:8, None].expand(8, 8, 5), Y[:8])]}, ["0"], **hooks)
    net[0].forward = lambda x: nn.functional.linear(x.transpose(0, 1), net[0].weight)
    with pytest.raises(ValueError, match=r"layer 0 \(pre\) has as many positions as the batch has samples"):
        rehearsal.rehearse(net, {"train": [(X[:8, None].expand(8, 8, 5), Y[:8])]}, ["0"], **hooks)
