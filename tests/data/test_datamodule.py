"""The digits as a LightningDataModule; the epoch that Lightning gives to the order, also after a resume."""

import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from ncbench.data import Digits, EpochLoader, ImageSet, augment, epoch_order

# The counts in the UCI archive (the test part of optdigits).
DIGITS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ready(**options):
    data = Digits(**options)
    data.prepare_data()
    data.setup()
    return data


def test_all_digits():
    data = ready(per_class=None)
    assert data.train.counts == DIGITS
    assert data.test is None
    assert data.per_class == 179.7
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.max() == 240
    assert not (data.train.images % 15).any()
    with pytest.raises(
        ValueError, match=r"split=test has no image, as every one is in the training set \(per_class=None\)"
    ):
        data.measure_loader("test")


def test_the_test_split_is_what_was_not_drawn():
    data = ready(per_class=170)
    assert data.train.counts == [170] * 10
    assert data.test.counts == [n - 170 for n in DIGITS]
    rows = torch.cat([data.train.images, data.test.images]).flatten(1)
    whole = ready(per_class=None).train.images.flatten(1)
    assert torch.equal(torch.unique(rows, dim=0), torch.unique(whole, dim=0))
    assert len(torch.unique(whole, dim=0)) == 1797  # no image occurs twice, so the two splits share none


def test_classes_and_attributes():
    data = ready(classes=[3, 8, 5], per_class=20, seed=1)
    assert (data.num_classes, data.per_class, data.input_shape) == (3, 20, (1, 8, 8))
    assert data.train.class_names == ("3", "8", "5")
    assert data.test.counts == [163, 154, 162]
    assert torch.equal(data.train.images[20:40], ready(per_class=20, seed=1).train.images[160:180])
    assert not torch.equal(data.train.images, ready(classes=[3, 8, 5], per_class=20, seed=2).train.images)


def test_training_images_are_normalised():
    x, _ = next(iter(ready(batch_size=None).train_dataloader()))
    assert x.shape == (1700, 1, 8, 8)
    assert abs(float(x.mean())) < 1e-5
    assert abs(float(x.std(correction=0)) - 1) < 1e-5


def test_measuring_takes_every_image_once():
    data = ready(augment=True, batch_size=256)
    loader = data.measure_loader()
    assert (loader.batch_size, loader.shuffle, loader.augment) == (256, False, False)
    assert torch.equal(torch.cat([y for _, y in loader]), data.train.labels)
    assert sum(len(y) for _, y in data.measure_loader("test", batch_size=10)) == 97
    capped = torch.cat([y for _, y in data.measure_loader("train", per_class=7)])
    assert torch.bincount(capped).tolist() == [7] * 10
    with pytest.raises(ValueError, match="split=val must be train or test"):
        data.measure_loader("val")


def test_errors():
    with pytest.raises(ValueError, match=r"^per_class=180 must be at most 178, the number of images of class 0"):
        ready(per_class=180)
    with pytest.raises(ValueError, match=r"^classes=11 must be between 2 and 10"):
        ready(classes=11)
    with pytest.raises(ValueError, match=r"^root=/x must be None, as the digits come with scikit-learn"):
        Digits(root="/x")
    with pytest.raises(ValueError, match=r"^batch_size=0 must be at least 1"):
        Digits(batch_size=0)
    with pytest.raises(ValueError, match=r"^per_class=0 must be at least 1"):
        Digits(per_class=0)
    with pytest.raises(RuntimeError, match=r"Digits has no images yet; call prepare_data\(\) and setup\(\) first"):
        Digits().num_classes  # noqa: B018


def test_images_go_to_the_device_of_setup_or_of_the_trainer(monkeypatch):
    asked = []
    monkeypatch.setattr(ImageSet, "to", lambda self, device: asked.append(device) or self)
    data = ready()
    data.train_dataloader()
    assert asked == []
    strategy = type("Strategy", (), {"root_device": torch.device("cuda", 1)})
    data.trainer = type("Trainer", (), {"world_size": 1, "global_rank": 0, "strategy": strategy})()
    data.train_dataloader()
    data.measure_loader("test")
    assert asked == [torch.device("cuda", 1)] * 2
    data.setup("fit", device="cuda:2")
    data.measure_loader()
    assert asked[2:] == [torch.device("cuda", 2)]


class Recorder(pl.LightningModule):
    """Keeps the batches it is given."""

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(64, 10)
        torch.nn.init.zeros_(self.map.weight)
        torch.nn.init.zeros_(self.map.bias)
        self.seen = {}

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.setdefault(self.current_epoch, []).append((x.clone(), y.clone()))
        return torch.nn.functional.cross_entropy(self.map(x.flatten(1)), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def epoch(self, number):
        xs, ys = zip(*self.seen[number], strict=True)
        return torch.cat(xs), torch.cat(ys)


def fit(folder, epochs, ckpt_path=None):
    module, data = Recorder(), ready(per_class=20, batch_size=64, augment=True, seed=5)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, save_last=True, every_n_epochs=1, save_on_train_epoch_end=True)],
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module, data


def check_epochs(module, data, epochs):
    assert sorted(module.seen) == list(epochs)
    train = data.train
    for e in epochs:
        x, y = module.epoch(e)
        order = epoch_order(5, e, len(train))
        assert torch.equal(y, train.labels[order])
        moved = augment(train.images[order], order, seed=5, epoch=e, crop_padding=1, flip=False)
        still = ImageSet(moved, y, 10)
        expected = next(iter(EpochLoader(still, None, mean=data.mean, std=data.std, shuffle=False)))[0]
        assert torch.equal(x, expected)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6 with torch 2.15
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
def test_lightning_gives_the_epoch_and_a_resume_goes_on(tmp_path):
    first, data = fit(tmp_path / "stopped", 2)
    check_epochs(first, data, [0, 1])
    resumed, data = fit(tmp_path / "stopped", 4, ckpt_path=tmp_path / "stopped" / "last.ckpt")
    check_epochs(resumed, data, [2, 3])
    straight, _ = fit(tmp_path / "straight", 4)
    check_epochs(straight, data, range(4))
    assert torch.equal(straight.map.weight, resumed.map.weight)


def test_several_processes_share_every_batch():
    data, strategy = ready(), type("Strategy", (), {"root_device": None})
    whole = [labels for _, labels in data.train_dataloader()]
    for rank in (0, 1):
        data.trainer = type("Trainer", (), {"world_size": 2, "global_rank": rank, "strategy": strategy})()
        data._trainer_epoch = lambda: 0
        for labels, (_, mine) in zip(whole, data.train_dataloader(), strict=True):
            assert torch.equal(mine, labels[rank::2])


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ncbench.data", {"torch", "torchvision", "sklearn"}),
        (
            "from ncbench.data import EpochLoader, epoch_order, select",
            {"torchvision", "sklearn", "pytorch_lightning"},
        ),
    ],
)
def test_imports_are_lazy(code, absent):
    check = f"import sys; {code}; sys.exit(bool({absent} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
