"""Order and augmentation as functions of (seed, epoch, index): no generator, no state.

A resumed run repeats exactly what the interrupted one would have seen, batches of any size see the same
images, and the same numbers come out on every device and with every torch version, because the only source of
randomness is an integer hash of those three numbers.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["augment", "crop_flip_draws", "epoch_order", "hash64", "mix64"]

# One word per purpose keeps the streams of the same seed apart.
SELECT, ORDER, AUGMENT = 1, 2, 3


def _signed(word: int) -> int:
    """The int64 with the same 64 bits as `word` modulo 2^64."""
    return (word + 2**63) % 2**64 - 2**63


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def mix64(state: Tensor) -> Tensor:
    """The output function of splitmix64 (Steele, Lea & Flood, OOPSLA 2014; constants of Vigna's code).

    int64 in, int64 out, any shape; a bijection of the 64 bits. torch's `>>` copies the sign bit, so the
    bits that a logical shift would clear are masked.
    """
    z = (state ^ ((state >> 30) & (2**34 - 1))) * _FIRST
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _SECOND
    return z ^ ((z >> 31) & (2**33 - 1))


def hash64(*words: int | Tensor) -> Tensor:
    """64 mixed bits (int64) of a tuple of integers; tensors broadcast. Last words never collide.

    >>> hash64(1, 2, torch.arange(3)).unique().numel()
    3
    """
    state = torch.zeros((), dtype=torch.int64)
    for word in words:
        state = mix64((state ^ (_signed(word) if isinstance(word, int) else word)) + _GAMMA)
    return state


def epoch_order(seed: int, epoch: int, n: int, device: torch.device | str | None = None) -> Tensor:
    """The order of n images in an epoch: a permutation of 0..n-1 (int64), given (seed, epoch, n).

    The images are sorted by a hash of (seed, epoch, index), which has no ties.

    >>> epoch_order(0, 0, 5).sort().values.tolist()
    [0, 1, 2, 3, 4]
    """
    return torch.argsort(hash64(seed, ORDER, epoch, torch.arange(n, device=device)))


def crop_flip_draws(indices: Tensor, *, seed: int, epoch: int, crop_padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vertical and horizontal offset in 0..2 crop_padding and the coin of the flip, per image.

    `indices` (B,) int64 are positions in the training set. Returns three (B,) tensors: two int64 and one
    bool. The three come from disjoint bits of one hash; with 24 bits an offset's probability is off by less
    than 1e-6.
    """
    bits = hash64(seed, AUGMENT, epoch, indices)
    count = 2 * crop_padding + 1
    dy = (((bits >> 40) & (2**24 - 1)) * count) >> 24
    dx = (((bits >> 16) & (2**24 - 1)) * count) >> 24
    return dy, dx, (bits & 1).bool()


def augment(
    images: Tensor, indices: Tensor, *, seed: int, epoch: int, crop_padding: int = 4, flip: bool = True
) -> Tensor:
    """Random crop of the zero-padded image, then a flip with probability 1/2 (He et al. 2016, Section 4.2).

    Shapes: images (B, C, H, W) of any dtype, indices (B,) int64 on the same device; returns the shape and
    dtype of `images`. What happens to an image depends on (seed, epoch, its index) only, not on the batch it
    comes in.

    The border is 0 of what comes in. The loaders pass raw uint8, so the border is black, as with
    torchvision's RandomCrop before ToTensor and Normalize: results compare with the usual recipes, and MNIST
    and digits are moved on their own background. Padding after normalisation would give a border of the mean
    colour instead.
    """
    if crop_padding == 0 and not flip:
        return images
    B, C, H, W = images.shape
    dy, dx, mirrored = crop_flip_draws(indices, seed=seed, epoch=epoch, crop_padding=crop_padding)
    rows = torch.arange(H, device=images.device) + dy[:, None]
    cols = torch.arange(W, device=images.device).expand(B, W)
    if flip:
        cols = torch.where(mirrored[:, None], W - 1 - cols, cols)
    cols = cols + dx[:, None]
    padded = pad(images, (crop_padding,) * 4)
    source = rows[:, :, None] * (W + 2 * crop_padding) + cols[:, None, :]
    flat = padded.flatten(2).gather(2, source.view(B, 1, H * W).expand(B, C, H * W))
    return flat.view(B, C, H, W)
