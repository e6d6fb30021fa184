"""The parameters of an ensemble as one row of numbers per replica, which is what L-BFGS works on.

Every matrix starts on a multiple of 64 bytes: a product's rounding depends on where its matrices start, and so a
replica's numbers do not depend on its place in the ensemble.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["ALIGNED", "Block", "FlatLayout"]

ALIGNED = 64  # bytes


class Block(NamedTuple):
    """Where one matrix of every replica lies."""

    start: int
    shape: tuple[int, ...]

    def of(self, flat: Tensor) -> Tensor:
        """This block of every row of (R, P), (R, *shape), a view."""
        return flat[:, self.start : self.start + prod(self.shape)].view(len(flat), *self.shape)


class FlatLayout:
    """Where the tensors of a replica lie in its row of `size` = P numbers; what pads them stays zero.

    `shapes` are those of one replica's blocks, one after another, which may be larger than the tensors that `tensors`
    names for a network; `layers` are the numbers under which `per_entry` knows them.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], layers: Sequence[int], like: Tensor) -> None:
        step = ALIGNED // like.element_size()
        self.blocks: list[Block] = []
        self.layers = list(layers)
        place = 0
        for shape in shapes:
            self.blocks.append(Block(place, tuple(shape)))
            place = -(-(place + prod(shape)) // step) * step
        self.size = place

    def tensors(self, network: Any) -> list[Tensor]:
        """The network's tensors (R, ...) in the order of the blocks."""
        raise NotImplementedError

    def gather(self, network: Any) -> Tensor:
        """The network's parameters as a new (R, P)."""
        first = self.tensors(network)[0]
        flat = first.detach().new_zeros(len(first), self.size)
        for part, tensor in self._pairs(flat, network):
            part.copy_(tensor.detach())
        return flat

    def scatter(self, flat: Tensor, network: Any) -> None:
        """Write (R, P) into the network's parameters."""
        with torch.no_grad():
            for part, tensor in self._pairs(flat, network):
                tensor.copy_(part)

    def per_entry(self, of_layers: Tensor) -> Tensor:
        """(R, P) with the number of its layer, from (R, layers), in every block, and 0 between them."""
        flat = of_layers.new_zeros(len(of_layers), self.size)
        for block, l in zip(self.blocks, self.layers, strict=True):
            flat[:, block.start : block.start + prod(block.shape)] = of_layers[:, l, None]
        return flat

    def _pairs(self, flat: Tensor, network: Any) -> list[tuple[Tensor, Tensor]]:
        """The part of each block that a tensor fills, and the tensor."""
        pairs = zip(self.blocks, self.tensors(network), strict=True)
        parts = []
        for block, tensor in pairs:
            filled = [slice(end) for end in tensor.shape]
            parts.append((block.of(flat)[tuple(filled)], tensor))
        return parts
