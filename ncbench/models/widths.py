"""The widths d_1 ... d_L of H_1 ... H_L, from what a configuration says, and the channels of images."""

from collections.abc import Sequence
from typing import Any

__all__ = ["check_widths", "image_channels", "layer_widths"]


def layer_widths(width: int | Sequence[int], depth: int) -> list[int]:
    """d_1 ... d_L from one width for all or one per layer; ValueError where the list has another length.

    >>> layer_widths(20, 3), layer_widths([30, 20, 10], 3)
    ([20, 20, 20], [30, 20, 10])
    """
    widths = [width] * depth if isinstance(width, int) else [*map(int, width)]
    if len(widths) != depth:
        raise ValueError(f"width={widths} must be one number, or one for each of H_1 ... H_L ({depth})")
    return widths


def image_channels(input_shape: tuple[int, ...]) -> int:
    """C of (C, H, W); ValueError for inputs that are no images, which convolutions need."""
    if len(input_shape) != 3:
        raise ValueError(f"input_shape={tuple(input_shape)} must be (C, H, W); model=mlp takes inputs of any shape")
    return input_shape[0]


def check_widths(name: str, widths: Any) -> None:
    """ValueError unless `widths`, the argument of this name, is a list of whole numbers of at least 1."""
    several = isinstance(widths, Sequence) and not isinstance(widths, str)
    if not several or any(not isinstance(width, int) or isinstance(width, bool) or width < 1 for width in widths):
        raise ValueError(f"{name}={list(widths) if several else widths} must be widths of at least 1")
