"""What the image sets share: drawing the training set, the loaders, the device, the epoch of the order."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.base import RunData, check_split
from ncbench.data.images import ImageSet
from ncbench.data.loader import EpochLoader
from ncbench.data.points import PointSet, one_hot_targets, refuse_noises
from ncbench.data.uneven import made_uneven

__all__ = ["ImageData"]


class ImageData(RunData):
    """Images in memory as a LightningDataModule; see `Digits`, `MNIST`, `FashionMNIST`, `CIFAR10`, `CIFAR100`.

    Args:
        root: folder with the files in place, only read; None for the cache, or where a package brings the
            files.
        seed: of the draw; also of the order and the augmentation until `order_seed` is set to another (a run sets it
            to its own seed, so that repeated runs see the same images in another order).
        classes: None for all, k for the first k, a list for those, relabelled 0..k-1 in the order given.
        per_class: training images of each class; None for all.
        batch_size: of training; None trains on the full batch.
        augment: random crops (and flips where a mirrored image keeps its class) in training.
        download: fetch missing files into the cache (where `root` is None).
        channels_last: memory format of the batches; the faster one for convolutions (ResNet20 on a CPU: 2-3
            times).
        imbalance, minority: R and rho of STEP imbalance in the training set, see `ncbench.data.uneven`; R None or 1
            for none. The minority are the last of the chosen classes.
        label_noise: share of the training labels of each class that is replaced, drawn by `seed`, after `imbalance`.

    The test set has neither imbalance nor noise. After `prepare_data()` and `setup()`: `train` and `test` (an ImageSet;
    None where no image is left), `mean` and `std` (C,) float64 of the training images, `clean_labels` (N,) (those of
    `train` before noise), `num_classes`, `per_class` (N/K, an int where it is whole) and `input_shape` (C, H, W).
    `setup` raises ValueError as `ncbench.data.images.select` and `ncbench.data.uneven` do.
    """

    clean_labels: Tensor

    # What `augment` does; a subclass says why.
    crop_padding = 4
    flip = False

    def __init__(
        self,
        *,
        root: str | None = None,
        seed: int = 0,
        classes: int | Sequence[int] | None = None,
        per_class: int | None = None,
        batch_size: int | None = 128,
        augment: bool = False,
        download: bool = True,
        channels_last: bool = True,
        imbalance: float | None = None,
        minority: float = 0.5,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(seed)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if per_class is not None and per_class < 1:
            raise ValueError(f"per_class={per_class} must be at least 1")
        self.root = root
        self.classes = classes if classes is None or isinstance(classes, int) else list(classes)
        self.batch_size = batch_size
        self.augment = augment
        self.download = download
        self.channels_last = channels_last
        self.imbalance, self.minority, self.label_noise = imbalance, minority, label_noise
        self._per_class = per_class
        self._train: ImageSet | None = None
        self.test: ImageSet | None = None

    @abstractmethod
    def split(self) -> tuple[ImageSet, ImageSet]:
        """Read and draw: the training set and the test set (possibly empty)."""

    @override
    def setup(self, stage: str | None = None, device: torch.device | str | None = None) -> None:
        # Lightning calls this again at the start of fit: the images are read once.
        if device is not None:
            self._device = torch.device(device)
        if self._train is None:
            train, test = self.split()
            train = self._made_uneven(train)
            self.mean, self.std = train.mean_std()
            self._train, self.test = train, test if len(test) else None

    def _made_uneven(self, train: ImageSet) -> ImageSet:
        """With the imbalance and the noise asked for, sorted by the labels that the network is told."""
        self.clean_labels = train.labels
        if self.imbalance in (None, 1) and self.label_noise == 0:
            return train  # no copy of the images
        index, told = made_uneven(
            train.labels,
            train.num_classes,
            imbalance=self.imbalance,
            minority=self.minority,
            label_noise=self.label_noise,
            seed=self.seed,
        )
        self.clean_labels = train.labels[index]
        return train.at(index, told)

    @property
    @override
    def train(self) -> ImageSet:
        """The training images, sorted by class."""
        if self._train is None:
            raise RuntimeError(f"{type(self).__name__} has no images yet; call prepare_data() and setup() first")
        return self._train

    @property
    @override
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.train.input_shape

    @override
    def train_dataloader(self) -> EpochLoader:
        process = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        return EpochLoader(
            self._placed("train"),
            self.batch_size,
            mean=self.mean,
            std=self.std,
            seed=self.order_seed,
            epoch=self._epoch(),
            augment=self.augment,
            crop_padding=self.crop_padding,
            flip=self.flip,
            channels_last=self.channels_last,
            process=process,
        )

    @override
    def measure_loader(
        self, split: str = "train", batch_size: int | None = None, per_class: int | None = None
    ) -> EpochLoader:
        """Every image of a split once, in its fixed order, unaugmented, drawing from no random generator.

        `batch_size` None takes that of training; `per_class` takes at most the first images of each class.
        Raises ValueError for another split than train and test, or where the test split is empty.
        """
        data = self._placed(split)
        return EpochLoader(
            data if per_class is None else data.head(per_class),
            self.batch_size if batch_size is None else batch_size,
            mean=self.mean,
            std=self.std,
            shuffle=False,
            channels_last=self.channels_last,
        )

    def points(self, noises: Sequence[float] | None = None) -> PointSet:
        """The training images as points (1, N, C H W): pixels over the largest of them all, one-hot targets.

        Digits are their grey levels / 16, MNIST's pixels are / 255. Raises ValueError where noise levels are asked for.
        """
        refuse_noises(noises)
        pixels = self.train.images.flatten(1).double()
        labels = self.train.labels
        return PointSet(
            (pixels / pixels.max())[None], one_hot_targets(labels, self.num_classes), labels, self.num_classes
        )

    def _placed(self, split: str) -> ImageSet:
        """The split, moved (once) to the device of `setup`, of the trainer, or the CPU."""
        check_split(split)
        device = self._root_device()
        data = self.train if split == "train" else self.test
        if data is None:
            raise ValueError(
                f"split=test has no image, as every one is in the training set (per_class={self._per_class})"
            )
        if device is not None and data.images.device != device:
            data = data.to(device)
        if split == "train":
            self._train = data
        else:
            self.test = data
        return data
