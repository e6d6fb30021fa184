"""What a run asks of its data, whatever they are: an image set, a torch Dataset, a LightningDataModule."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from typing_extensions import override

__all__ = ["RunData", "SampleSet"]


class SampleSet(Protocol):
    """N labelled samples, as many of each class as `counts` says."""

    @property
    def counts(self) -> list[int]:
        """Samples of each class."""

    @property
    def num_classes(self) -> int:
        """K"""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    def __len__(self) -> int: ...


class RunData(pl.LightningDataModule):
    """Data of a run.

    After `prepare_data()` and `setup()`: `train`, `test` (None where there is none), and what follows from them.
    `order_seed` is the seed of the order and of random transforms; a run sets it to its own seed. `notices` are
    sentences that the run says at its start. A class that is not made of this one needs `train` (with a length),
    `num_classes`, `per_class`, `input_shape`, `train_dataloader` and `measure_loader`.
    """

    test: Any = None

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = self.order_seed = seed
        self.notices: list[str] = []
        self._device: torch.device | None = None

    @abstractmethod
    @override
    def setup(self, stage: str | None = None, device: torch.device | str | None = None) -> None:
        """Make `train` and `test`; loaders find them on `device`, or on that of the trainer. May be called again."""

    @property
    @abstractmethod
    def train(self) -> SampleSet:
        """The training samples."""

    @property
    def num_classes(self) -> int:
        """K, of the chosen classes."""
        return self.train.num_classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) of images."""
        return self.train.input_shape

    @property
    def per_class(self) -> int | float:
        """N/K, an int where it is whole."""
        N, K = len(self.train), self.num_classes
        return N / K if N % K else N // K

    @abstractmethod
    def measure_loader(self, split: str = "train", batch_size: int | None = None, per_class: int | None = None) -> Any:
        """Every sample of a split once, in its fixed order; `per_class` takes at most the first of each class."""

    def _root_device(self) -> torch.device | None:
        """The device of `setup`, or of the trainer; None for the CPU."""
        if self._device is None and self.trainer is not None:
            return self.trainer.strategy.root_device
        return self._device

    def _dtype(self) -> torch.dtype | None:
        """The precision of floats in training batches: 32 bits, but their own where the trainer makes 64 of them."""
        return None if self.trainer is None or self.trainer.precision == "64-true" else torch.float32

    def _epoch(self) -> Callable[[], int] | None:
        """What tells a loader the epoch; None without a trainer."""
        return None if self.trainer is None else self._trainer_epoch

    def _trainer_epoch(self) -> int:
        # Epochs finished so far, also after a resume; `trainer.current_epoch` is one behind when a pass
        # begins. A Lightning internal, guarded by tests/data/test_datamodule.py.
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_progress
        return int(progress.current.processed)


def check_split(split: str) -> None:
    """ValueError for another split than train and test."""
    if split not in ("train", "test"):
        raise ValueError(f"split={split} must be train or test")
