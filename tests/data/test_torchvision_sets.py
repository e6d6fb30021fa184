"""MNIST, Fashion-MNIST and CIFAR from small files of the same layout: reading, checking first, the cache."""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision

from ncbench import load_run
from ncbench.data import CIFAR10, CIFAR100, MNIST, FashionMNIST
from ncbench.data.torchvision_sets import cache_folder
from ncbench.measure.__main__ import main as measure_command
from ncbench.report import load_grams, load_measures
from ncbench.run.compose import compose_jobs
from ncbench.run.execute import execute as run_execute

REAL = os.environ.get("NCBENCH_TEST_DATA")  # a folder with the real files


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def mnist_root(tmp_path, monkeypatch):
    """40 training and 20 test images, and their md5s in the place of the published ones."""
    raw, files = tmp_path / "MNIST" / "raw", {}
    raw.mkdir(parents=True)
    for stem, n in (("train", 40), ("t10k", 20)):
        pixels = np.arange(n * 784).astype(np.uint8)
        for kind, head, body in (
            ("images-idx3", struct.pack(">4i", 2051, n, 28, 28), pixels.tobytes()),
            ("labels-idx1", struct.pack(">2i", 2049, n), (np.arange(n) % 10).astype(np.uint8).tobytes()),
        ):
            path = raw / f"{stem}-{kind}-ubyte"
            path.write_bytes(head + body)
            files[f"MNIST/raw/{path.name}"] = md5(path)
    monkeypatch.setattr(MNIST, "files", lambda self: files)
    return tmp_path


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """10 images per file, and their md5s in the place of the published ones, in torchvision's own table."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        pixels = np.full((10, 3072), number, dtype=np.uint8)
        pixels[:, :1024] = np.arange(10)[:, None]  # the red channel tells the class
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(10))}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {c}" for c in range(10)]}))
    listed = [[name, md5(folder / name)] for name in names]
    source = torchvision.datasets.CIFAR10
    monkeypatch.setattr(source, "train_list", listed[:5])
    monkeypatch.setattr(source, "test_list", listed[5:])
    monkeypatch.setitem(source.meta, "md5", md5(folder / "batches.meta"))
    return tmp_path


@pytest.fixture
def cifar100_root(tmp_path, monkeypatch):
    """3 training images and 1 test image of each of 100 classes; the red channel is the class."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, n in (("train", 300), ("test", 100)):
        pixels = np.zeros((n, 3072), dtype=np.uint8)
        labels = np.arange(n) * 7 % 100  # every class, in another order than the labels
        pixels[:, :1024], pixels[:, 1024:2048] = labels[:, None], np.arange(n)[:, None]
        pixels[:, 2048:] = np.arange(1024) % 256
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels.tolist()}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {c}" for c in range(100)]}))
    source = torchvision.datasets.CIFAR100
    monkeypatch.setattr(source, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(source, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setitem(source.meta, "md5", md5(folder / "meta"))
    return tmp_path


@pytest.fixture
def fashion_root(tmp_path, monkeypatch):
    """40 training and 20 test images in the four compressed files, and their md5s in torchvision's own table."""
    raw, listed = tmp_path / "FashionMNIST" / "raw", []
    raw.mkdir(parents=True)
    for stem, n in (("train", 40), ("t10k", 20)):
        pixels = np.arange(n * 784).astype(np.uint8)
        for kind, head, body in (
            ("images-idx3", struct.pack(">4i", 2051, n, 28, 28), pixels.tobytes()),
            ("labels-idx1", struct.pack(">2i", 2049, n), (np.arange(n) % 10).astype(np.uint8).tobytes()),
        ):
            path = raw / f"{stem}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + body))
            listed.append((path.name, md5(path)))
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", listed)
    return tmp_path


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def test_mnist(mnist_root):
    data = ready(MNIST(root=str(mnist_root), classes=[4, 7]))
    assert (data.num_classes, data.per_class, data.input_shape) == (2, 4, (1, 28, 28))
    assert data.train.class_names == ("4", "7")
    assert data.test.counts == [2, 2]
    pixels = torch.arange(40 * 784).to(torch.uint8).view(40, 1, 28, 28)
    assert torch.equal(data.train.images, pixels[[4, 14, 24, 34, 7, 17, 27, 37]])


def test_cifar(cifar_root):
    data = ready(CIFAR10(root=str(cifar_root), per_class=3, seed=2))
    assert (data.num_classes, data.per_class, data.input_shape) == (10, 3, (3, 32, 32))
    assert data.train.images.dtype == torch.uint8
    assert torch.equal(data.train.images[:, 0, 5, 5].long(), data.train.labels)
    assert data.train.images[:, 1].max() < 5  # from the five training files
    assert (data.test.images[:, 1] == 5).all()
    assert data.test.counts == [1] * 10
    assert data.train.class_names[9] == "class 9"
    loader = data.train_dataloader()
    assert (loader.crop_padding, loader.flip) == (4, True)


@pytest.mark.parametrize("classes", [6, 15, 21])
def test_cifar100(cifar100_root, classes):
    data = ready(CIFAR100(root=str(cifar100_root), classes=classes, per_class=2))
    assert (data.num_classes, data.per_class, data.input_shape) == (classes, 2, (3, 32, 32))
    assert (data.train.counts, data.test.counts) == ([2] * classes, [1] * classes)
    assert torch.equal(data.train.images[:, 0, 5, 5].long(), data.train.labels)
    assert data.train.class_names[5] == "class 5"
    assert (data.crop_padding, data.flip) == (4, True)


def execute(folder, *overrides):
    """One epoch of a small network on these images; its record."""
    common = ["model=convnet", "model.backbone.channels=[4]", "trainer.max_epochs=1", "measure.points=2"]
    quiet = ["trainer.progress=false", "trainer.accelerator=cpu", "objective=standard"]
    (job,) = compose_jobs([*common, *quiet, *overrides], multirun=False)
    assert run_execute(job.config, folder, command="test") == 0
    return folder


def sizes_of_grams(folder):
    return set(load_grams(folder)["size"])


@pytest.mark.parametrize("classes", [15, 21])
def test_networks_of_many_classes(cifar100_root, tmp_path, classes):
    of_set = ["dataset=cifar100", f"dataset.root={cifar100_root}", f"dataset.classes={classes}"]
    assert sizes_of_grams(execute(tmp_path / "run", *of_set, f"model.width={classes}")) == {classes}
    narrow = [*of_set, "trainer.max_epochs=1", f"model.width={classes - 1}"]
    with pytest.raises(ValueError, match=rf"model.width=.*: the head needs width >= number of classes \({classes}\)"):
        compose_jobs(narrow, multirun=False)


def test_a_network_of_six_classes_of_unequal_size(cifar_root, tmp_path):
    of_set = ["dataset=cifar10", f"dataset.root={cifar_root}", "dataset.classes=6", "dataset.imbalance=5"]
    folder = execute(tmp_path / "run", *of_set, "model.width=6", "dataset.augment=false")
    module, data, _ = load_run(folder)
    assert data.train.counts == [5, 5, 5, 1, 1, 1]
    assert sizes_of_grams(folder) == {6}
    table = load_measures(folder)
    table = table[(table.step == table.step.max()) & (table.layer == "features")].set_index("measure").value
    # tr Sigma_W = 1/N sum_i ||h_i - mu_c(i)||^2 with the means of the classes' own samples, by hand.
    ((x, y),) = data.measure_loader(batch_size=18)
    with torch.no_grad():
        H = module.network.features(x).double()
    within = sum(float((H[y == c] - H[y == c].mean(0)).square().sum()) for c in range(6)) / 18
    means = torch.stack([H[y == c].mean(0) for c in range(6)])
    spread = float((means - H.mean(0)).square().sum(1) @ torch.tensor([5, 5, 5, 1, 1, 1.0]).double()) / 18
    assert table["tcv"] == pytest.approx(within, rel=1e-4)
    assert table["tcv_relative"] == pytest.approx(within / (within + spread), rel=1e-4)


def test_fashion_mnist(fashion_root):
    data = ready(FashionMNIST(root=str(fashion_root), classes=[4, 7]))
    assert (data.num_classes, data.per_class, data.input_shape) == (2, 4, (1, 28, 28))
    assert data.train.class_names == ("Coat", "Sneaker")
    assert data.test.counts == [2, 2]
    pixels = torch.arange(40 * 784).to(torch.uint8).view(40, 1, 28, 28)
    assert torch.equal(data.train.images, pixels[[4, 14, 24, 34, 7, 17, 27, 37]])
    assert (data.crop_padding, data.flip) == (4, True)


def test_a_damaged_fashion_mnist_is_refused(fashion_root):
    path = fashion_root / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"the whole of Fashion-MNIST, but FashionMNIST/raw/{path.name} is damaged"):
        FashionMNIST(root=str(fashion_root)).prepare_data()


def test_too_few_images_of_a_class(cifar_root):
    with pytest.raises(ValueError, match=r"^per_class=7000 must be at most 5, the number of images of class 0"):
        ready(CIFAR10(root=str(cifar_root), per_class=7000))


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_forged_pickle_is_never_opened(cifar_root, tmp_path, name):
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (marker,))

    forged = pickle.dumps(Bomb())
    (cifar_root / "cifar-10-batches-py" / name).write_bytes(forged)
    data = CIFAR10(root=str(cifar_root))
    for step in (data.prepare_data, data.setup):
        with pytest.raises(
            ValueError,
            match=rf"^root=.* must hold the whole of CIFAR-10, but .*{name} is damaged \(md5 [0-9a-f]+, not ",
        ) as error:
            step()
        assert "\n" not in str(error.value)
    assert not marker.exists()
    pickle.loads(forged)
    assert marker.exists()  # the forgery would have worked


def test_damaged_and_missing_files(mnist_root):
    path = mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    message = (
        rf"^root={mnist_root} must hold the whole of MNIST, but MNIST/raw/{path.name} is damaged .*leave root empty"
    )
    with pytest.raises(ValueError, match=message):
        MNIST(root=str(mnist_root)).prepare_data()
    path.unlink()
    with pytest.raises(
        ValueError, match=rf"^root={mnist_root} must .* but MNIST/raw/{path.name} is missing; put the files"
    ):
        MNIST(root=str(mnist_root)).prepare_data()


def test_a_given_root_is_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda self: pytest.fail("tried to download"))
    with pytest.raises(ValueError, match=r"^root=.*absent must .* but MNIST/raw/train-images-idx3-ubyte is missing"):
        MNIST(root=str(tmp_path / "absent")).prepare_data()
    assert not list(tmp_path.iterdir())


def test_a_legacy_torchvision_file_is_not_read(mnist_root):
    processed = mnist_root / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)), processed / name)
    assert len(ready(MNIST(root=str(mnist_root))).train) == 40


def test_the_cache_is_filled_once(mnist_root, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(mnist_root / "MNIST", source / "MNIST")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    calls = []

    def download(self):
        calls.append(self.root)
        shutil.copytree(source / "MNIST", Path(self.root) / "MNIST")
        (Path(self.root) / "MNIST" / "raw" / "archive.gz").write_bytes(gzip.compress(b""))

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    with pytest.raises(
        ValueError, match=r"^root=None needs the whole of MNIST in the cache .* missing; set download to true"
    ):
        MNIST(download=False).prepare_data()
    for _ in range(2):
        assert len(ready(MNIST()).train) == 40
    assert len(calls) == 1
    assert cache_folder() == tmp_path / "xdg" / "ncbench" / "data"
    assert [p.name for p in cache_folder().iterdir()] == ["MNIST"]  # the scratch folder is gone
    # A file of the cache that went bad is fetched again.
    (cache_folder() / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"")
    assert len(ready(MNIST()).train) == 40
    assert len(calls) == 2


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def download(self):
        raise RuntimeError("Error downloading\nfrom every mirror")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    with pytest.raises(
        ValueError, match=r"^root=None needs CIFAR-10, which could not be downloaded.*from every mirror"
    ) as error:
        CIFAR10().prepare_data()
    assert "\n" not in str(error.value)


def test_a_wrong_download_does_not_reach_the_cache(mnist_root, tmp_path, monkeypatch):
    def download(self):
        shutil.copytree(mnist_root / "MNIST", Path(self.root) / "MNIST")
        (Path(self.root) / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(bytes(28))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    monkeypatch.setattr(torchvision.datasets.MNIST, "_load_data", lambda self: (None, None))
    with pytest.raises(ValueError, match=r"which could not be downloaded into .*t10k-labels-idx1-ubyte is damaged"):
        MNIST().prepare_data()
    assert list(cache_folder().iterdir()) == []


@pytest.mark.skipif(not REAL, reason="NCBENCH_TEST_DATA does not name a folder with MNIST and CIFAR-10")
def test_the_real_files():
    mnist, cifar = ready(MNIST(root=REAL)), ready(CIFAR10(root=REAL))
    # Counts and means as published with the sets and in every tutorial.
    assert mnist.train.counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(mnist.test) == 10_000
    assert (cifar.train.counts, cifar.test.counts) == ([5000] * 10, [1000] * 10)
    torch.testing.assert_close(mnist.mean, torch.tensor([0.1307]).double(), rtol=0, atol=5e-5)
    torch.testing.assert_close(cifar.mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), rtol=0, atol=5e-5)
    torch.testing.assert_close(cifar.std, torch.tensor([0.2470, 0.2435, 0.2616]).double(), rtol=0, atol=5e-5)
    reference = torchvision.datasets.CIFAR10(REAL, train=False)
    picture = np.asarray(reference[3][0]).transpose(2, 0, 1)
    assert (cifar.test.images == torch.from_numpy(picture.copy())).flatten(1).all(1).any()


def test_a_run_is_measured_where_its_data_lies_elsewhere(cifar_root, tmp_path, capsys):
    there, here = tmp_path / "there", tmp_path / "here"
    shutil.copytree(cifar_root, there)
    folder = execute(tmp_path / "run", "dataset=cifar10", f"dataset.root={there}", "dataset.augment=false")
    there.rename(here)
    assert measure_command([str(folder)]) == 2
    assert str(there) in capsys.readouterr().err
    assert measure_command([str(folder), "--dataset-root", str(here), "--csv", str(tmp_path / "values.csv")]) == 0
    last = load_measures(folder)
    last = last[(last.step == last.step.max()) & (last.layer == "features") & (last.measure == "dnc1")]
    values = pd.read_csv(tmp_path / "values.csv")
    assert values[(values.layer == "features") & (values.measure == "dnc1")].value.item() == pytest.approx(
        last[last.split == "train"].value.item(), rel=1e-5
    )
