"""Batches of images in memory: order, augmentation, normalisation as tensor operations on their device."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.images import ImageSet
from ncbench.data.order import augment
from ncbench.data.passes import Batch, Passes

__all__ = ["EpochLoader"]


class EpochLoader(Passes):
    """Iterable over (x, y): x (B, C, H, W) float32 normalised, y (B,) int64, on the device of `data`.

    The order and the augmentation of a pass are functions of (seed, epoch, index) (see `ncbench.data.order`);
    no random generator is touched. With `shuffle=False, augment=False` it is the evaluation loader: every
    image once, in the order of the set, whatever the epoch.

    Args:
        data: the images; they stay uint8, one batch at a time becomes float32.
        batch_size, epoch, shuffle, drop_last: as of `Passes`.
        mean, std: per channel, of the pixels / 255: x = (pixel / 255 - mean) / std. The training set's.
        seed: of order and augmentation.
        augment: crop with `crop_padding` and, with `flip`, mirror; see `ncbench.data.order.augment`.
        channels_last: memory format of x.
        process: (r, P): of every batch this object yields the rows r, r + P, r + 2P, ... only, for process r of P.

    Raises:
        ValueError: the smallest batch has fewer samples than there are processes, or as `Passes`.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int | None,
        *,
        mean: Tensor | Sequence[float],
        std: Tensor | Sequence[float],
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
        shuffle: bool = True,
        augment: bool = False,
        crop_padding: int = 4,
        flip: bool = True,
        drop_last: bool = False,
        channels_last: bool = False,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(data, batch_size, seed=seed, epoch=epoch, shuffle=shuffle, drop_last=drop_last)
        self.data = data
        self.augment = augment
        self.crop_padding = crop_padding
        self.flip = flip
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.process = process
        left = len(data) % self.batch_size
        smallest = left if left and not drop_last else min(self.batch_size, len(data))
        if smallest < process[1]:
            raise ValueError(
                f"devices={process[1]}: each process needs a sample of every batch, and the smallest one has "
                f"{smallest} ({len(data)} samples in batches of {self.batch_size}); choose another dataset.batch_size"
            )
        # One multiply-add per pixel, its constants rounded once from float64.
        centre, spread = (torch.as_tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (mean, std))
        device = data.images.device
        self._scale = (1 / (255 * spread)).to(device, torch.float32)
        self._shift = (-centre / spread).to(device, torch.float32)

    def share(self, batch: int) -> float:
        """b_r P / b: this process's rows of a batch over the mean of all processes.

        Averaged over the processes, losses with this factor are the mean over the b rows of the whole batch.
        """
        rank, processes = self.process
        rows = range(min(self.batch_size, len(self.data) - batch * self.batch_size))
        return len(rows[rank::processes]) * processes / len(rows)

    @override
    def _batches(self, epoch: int) -> Iterator[Batch]:
        images, labels = self.data.images, self.data.labels
        order = self._order(epoch, images.device)
        rank, processes = self.process
        for start, end in self._rows():
            rows = slice(start + rank, end, processes)
            chosen = rows if order is None else order[rows]
            x, y = images[chosen], labels[chosen]
            if self.augment:
                where = torch.arange(len(labels), device=images.device)[rows] if order is None else order[rows]
                x = augment(x, where, seed=self.seed, epoch=epoch, crop_padding=self.crop_padding, flip=self.flip)
            yield self._normalised(x), y

    def _normalised(self, x: Tensor) -> Tensor:
        # A copy always: a model that writes into its input must not write into the images.
        floats = x.to(torch.float32, memory_format=self.memory_format)
        return floats.mul_(self._scale).add_(self._shift)
