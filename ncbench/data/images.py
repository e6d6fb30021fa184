"""Images in memory: a set of uint8 images with labels, and the choice of classes and of images per class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ncbench.data.order import SELECT, hash64

__all__ = ["ImageSet", "chosen_classes", "drawn", "first_of_each", "select"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images of K classes, sorted by class: images (N, C, H, W) uint8, labels (N,) int64 in 0..K-1.

    Raises ValueError for another dtype or shape, or a label out of range.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        N, K = len(self.labels), self.num_classes
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(f"images must be uint8 of shape (N, C, H, W), not {_described(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 of shape ({len(self.images)},), not {_described(self.labels)}")
        low, high = (int(self.labels.min()), int(self.labels.max())) if N else (0, 0)
        if low < 0 or high >= K:
            raise ValueError(f"labels must lie in 0..{K - 1}, not {low}..{high}")
        if self.class_names and len(self.class_names) != K:
            raise ValueError(f"class_names must be {K} names, one for each class, not {len(self.class_names)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        C, H, W = self.images.shape[1:]
        return C, H, W

    @property
    def counts(self) -> list[int]:
        """Images of each class."""
        return torch.bincount(self.labels, minlength=self.num_classes).tolist()

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def at(self, index: Tensor, labels: Tensor | None = None) -> "ImageSet":
        """The images at these positions, in this order, with their own labels or with those given."""
        return replace(self, images=self.images[index], labels=self.labels[index] if labels is None else labels)

    def head(self, per_class: int) -> "ImageSet":
        """At most the first `per_class` images of each class, class by class."""
        return self.at(first_of_each(self.labels, self.num_classes, per_class))

    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Per-channel mean and standard deviation (1/N form) of the pixels / 255, each (C,) float64.

        From the 256 counts of each channel, hence without rounding in the sums and without a float copy of
        the images. Raises ValueError where a channel is constant: it cannot be normalised.
        """
        levels = torch.arange(256, dtype=torch.float64)
        means, stds = [], []
        for c in range(self.images.shape[1]):
            counts = torch.bincount(self.images[:, c].flatten(), minlength=256).cpu().double()
            mean = (counts * levels).sum() / counts.sum()
            std = ((counts * (levels - mean) ** 2).sum() / counts.sum()).sqrt()
            if not std > 0:
                raise ValueError(f"channel {c} of the {len(self)} training images is constant: it cannot be normalised")
            means.append(mean / 255)
            stds.append(std / 255)
        return torch.stack(means), torch.stack(stds)


def first_of_each(labels: Tensor, num_classes: int, per_class: int) -> Tensor:
    """Positions of the first `per_class` samples of each class, class by class, fewer where a class has fewer.

    ValueError for per_class < 1.
    """
    if per_class < 1:
        raise ValueError(f"per_class={per_class} must be at least 1")
    return torch.cat([torch.nonzero(labels == c).flatten()[:per_class] for c in range(num_classes)])


def _described(x: Tensor) -> str:
    return f"{x.dtype} {tuple(x.shape)}"


def chosen_classes(classes: int | Sequence[int] | None, available: int) -> list[int]:
    """The original classes behind the new labels 0..k-1: all (None), the first k (an int), or those listed.

    Raises ValueError for fewer than 2 classes, one that is not available, or one that is named twice.

    >>> chosen_classes(3, 10), chosen_classes([7, 2], 10)
    ([0, 1, 2], [7, 2])
    """
    if classes is None:
        return list(range(available))
    if isinstance(classes, int):
        if not 2 <= classes <= available:
            raise ValueError(f"classes={classes} must be between 2 and {available}")
        return list(range(classes))
    chosen = [int(c) for c in classes]
    if len(chosen) < 2 or len(set(chosen)) < len(chosen) or not all(0 <= c < available for c in chosen):
        raise ValueError(f"classes={chosen} must be at least 2 different classes out of 0..{available - 1}")
    return chosen


def drawn(labels: Tensor, cls: int, per_class: int | None, seed: int) -> Tensor:
    """Positions (sorted, int64) of the `per_class` images drawn for the class `cls`, all of them for None.

    The draw depends on `seed`, on the class and on the number of its images only: not on the other classes
    chosen. A smaller draw is part of every larger one. Raises ValueError where the class has too few images.
    """
    members = torch.nonzero(labels == cls).flatten()
    if per_class is None:
        return members
    if per_class < 1:
        raise ValueError(f"per_class={per_class} must be at least 1")
    if per_class > len(members):
        raise ValueError(f"per_class={per_class} must be at most {len(members)}, the number of images of class {cls}")
    keys = hash64(seed, SELECT, cls, torch.arange(len(members)))
    return members[torch.argsort(keys)[:per_class].sort().values]


def select(
    images: Tensor,
    labels: Tensor,
    classes: int | Sequence[int] | None = None,
    per_class: int | None = None,
    seed: int = 0,
    *,
    class_names: Sequence[str] | None = None,
    rest: bool = False,
) -> ImageSet:
    """The chosen classes, relabelled 0..k-1 in the order given, with `per_class` images of each drawn.

    Shapes: images (N, C, H, W) uint8, labels (N,) int64 with classes 0..max. The result is sorted by new
    label, then by original position; `seed` decides the draw; `rest=True` gives the images of the same
    classes that were not drawn (possibly none). Raises ValueError as `chosen_classes` and `drawn`.
    """
    available = len(class_names) if class_names else int(labels.max()) + 1
    chosen = chosen_classes(classes, available)
    parts = []
    for c in chosen:
        part = drawn(labels, c, per_class, seed)
        if rest:
            members = torch.nonzero(labels == c).flatten()
            part = members[~torch.isin(members, part)]
        parts.append(part)
    index = torch.cat(parts)
    relabelled = torch.repeat_interleave(torch.arange(len(chosen)), torch.tensor([len(p) for p in parts]))
    names = tuple(class_names[c] for c in chosen) if class_names else ()
    return ImageSet(images[index], relabelled, len(chosen), names)
