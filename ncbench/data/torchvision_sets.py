"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, read from files whose checksums were compared first.

CIFAR comes as pickles, and a pickle can run anything when it is read: no file is opened by torchvision
before all of them have the published md5.
"""

import gzip
import hashlib
import os
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from typing_extensions import override

from ncbench.data.datamodule import ImageData
from ncbench.data.images import ImageSet, select

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "FashionMNIST"]


class _TorchvisionSet(ImageData):
    """The official training and test split; `root` is what torchvision's class of the same name takes.

    `prepare_data` checks the files, or fetches them into the cache; it and `setup` raise a ValueError of one
    line where one is missing or damaged. A `root` that was given is only read, never written.
    """

    title: str
    source: Any

    @abstractmethod
    def files(self) -> dict[str, str]:
        """md5 of every file, by its path under the root."""

    @abstractmethod
    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        """Images (N, C, H, W) uint8, labels (N,) int64, class names; the files are known to be right."""

    @override
    def prepare_data(self) -> None:
        if self._train is not None:  # Lightning asks again at the start of fit
            return
        if self.root is None and self.download and _first_fault(cache_folder(), self.files()):
            self._fetch(cache_folder())
        self._checked_root()

    @override
    def split(self) -> tuple[ImageSet, ImageSet]:
        root = self._checked_root()
        images, labels, names = self.read(root, train=True)
        train = select(images, labels, self.classes, self._per_class, self.seed, class_names=names)
        images, labels, names = self.read(root, train=False)
        return train, select(images, labels, self.classes, class_names=names)

    def _checked_root(self) -> Path:
        root = cache_folder() if self.root is None else Path(self.root).expanduser()
        fault = _first_fault(root, self.files())
        if fault:
            if self.root is None:
                raise ValueError(
                    f"root=None needs the whole of {self.title} in the cache {root}, but {fault}; set download to "
                    "true, or root to a folder that has the files"
                )
            raise ValueError(
                f"root={self.root} must hold the whole of {self.title}, but {fault}; put the files there as "
                "torchvision does, or leave root empty to download them"
            )
        return root

    def _fetch(self, cache: Path) -> None:
        # Beside the cache first, then one atomic rename per checked file: jobs that start together cannot
        # read each other's half-written files, and a killed download leaves nothing that looks finished.
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch:
                self.source(scratch, download=True)
                fault = _first_fault(Path(scratch), self.files())
                if fault:
                    raise RuntimeError(fault)
                for path in self.files():
                    (cache / path).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(scratch) / path, cache / path)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"root=None needs {self.title}, which could not be downloaded into {cache} ({reason}); "
                "set root to a folder that has the files"
            ) from error


class MNIST(_TorchvisionSet):
    """1 x 28 x 28 images of 10 digits: 60 000 for training (5 421 to 6 742 of each), 10 000 for the test.

    Files: `MNIST/raw/*-ubyte` under the root, decompressed. `augment` moves by up to 4 pixels and does not
    flip.
    """

    title = "MNIST"
    source = torchvision.datasets.MNIST

    @override
    def files(self) -> dict[str, str]:
        return {
            "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        }

    @override
    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        # Not through torchvision's class: it prefers a `processed/*.pt` of old versions, which nobody has
        # checked.
        stem = str(root / "MNIST" / "raw" / ("train" if train else "t10k"))
        files = (Path(f"{stem}-{kind}-ubyte").read_bytes() for kind in ("images-idx3", "labels-idx1"))
        return *_pixels_and_labels(*files), [str(digit) for digit in range(10)]


class FashionMNIST(_TorchvisionSet):
    """1 x 28 x 28 images of 10 kinds of clothes: 6 000 of each for training, 1 000 of each for the test.

    Files: `FashionMNIST/raw/*-ubyte.gz` under the root, as they are published (torchvision keeps them beside what it
    decompresses, which nobody publishes a checksum of). `augment` is that of CIFAR-10: a mirrored garment keeps its
    kind.
    """

    title = "Fashion-MNIST"
    source = torchvision.datasets.FashionMNIST
    flip = True

    @override
    def files(self) -> dict[str, str]:
        return {f"FashionMNIST/raw/{name}": md5 for name, md5 in self.source.resources}

    @override
    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        stem = str(root / "FashionMNIST" / "raw" / ("train" if train else "t10k"))
        files = (Path(f"{stem}-{kind}-ubyte.gz").read_bytes() for kind in ("images-idx3", "labels-idx1"))
        return *_pixels_and_labels(*map(gzip.decompress, files)), list(self.source.classes)


def _pixels_and_labels(images: bytes, labels: bytes) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 and labels (N,) int64 of two files of MNIST's form, whose checksums are right.

    A header of four numbers of 32 bits stands before the pixels, of two before the labels.
    """
    pixels = torch.frombuffer(bytearray(images), dtype=torch.uint8, offset=16)
    return pixels.view(-1, 1, 28, 28), torch.frombuffer(bytearray(labels), dtype=torch.uint8, offset=8).to(torch.int64)


class CIFAR10(_TorchvisionSet):
    """3 x 32 x 32 photographs of 10 classes: 5 000 of each for training, 1 000 of each for the test.

    Files: `cifar-10-batches-py/` under the root. `augment` is the recipe of He et al. 2016 (Section 4.2):
    crops with 4 pixels of padding, and horizontal flips.
    """

    title = "CIFAR-10"
    source = torchvision.datasets.CIFAR10
    flip = True

    @override
    def files(self) -> dict[str, str]:
        source = self.source
        listed = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
        return {f"{source.base_folder}/{name}": md5 for name, md5 in listed}

    @override
    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        source = self.source(root, train=train, download=False)
        images = torch.from_numpy(np.ascontiguousarray(source.data.transpose(0, 3, 1, 2)))
        return images, torch.tensor(source.targets, dtype=torch.int64), list(source.classes)


class CIFAR100(CIFAR10):
    """3 x 32 x 32 photographs of 100 classes: 500 of each for training, 100 of each for the test.

    Files: `cifar-100-python/` under the root. The classes are the fine ones, in alphabetical order: apple,
    aquarium_fish, baby, ... `classes: 15` takes the first 15 of them. `augment` is that of CIFAR-10.
    """

    title = "CIFAR-100"
    source = torchvision.datasets.CIFAR100


def cache_folder() -> Path:
    """Where downloads are kept: `ncbench/data` under $XDG_CACHE_HOME or ~/.cache; ValueError where there is no home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a container's user without HOME and without an entry in passwd
        raise ValueError("root=None must name the folder of the data, as this user has no home directory") from error
    return cache / "ncbench" / "data"


def _first_fault(root: Path, files: dict[str, str]) -> str | None:
    """What is wrong with the first missing or damaged file; None where all are right."""
    for path, expected in files.items():
        if not (root / path).is_file():
            return f"{path} is missing"
        with open(root / path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if digest != expected:
            return f"{path} is damaged (md5 {digest}, not {expected})"
    return None
