"""How the matrices of some replicas lie in flat arrays, in the lanes of vectors."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ncbench.models.replica.optim.lanes.step import Places, row_step

__all__ = ["Layout"]

Array = NDArray[Any]
LINE = 64  # bytes of a line of the cache, on which arrays start
# The features, activations and gradients of a tile, half of an L2 cache of 1 MiB and more. With 500 samples and width
# 64 all between 25 and 71 samples in a tile were within 2 % of the fastest on Zen 4; one tile of 500 took a third more.
TILE_BYTES = 2**19


class Layout:
    """Where H_1 (N, d_1), W_1 ... W_L (d_{l+1}, d_l) of up to `lanes` replicas lie, as `step` describes it.

    `sizes` are d_1 ... d_L, K. `tile`, samples in a tile, is odd by itself: then the rows of a tile are spread over all
    sets of the cache. It changes no bit of the result.
    """

    def __init__(
        self, sizes: Sequence[int], samples: int, lanes: int, dtype: DTypeLike, tile: int | None = None
    ) -> None:
        self.sizes, self.samples, self.lanes, self.dtype = list(sizes), samples, lanes, np.dtype(dtype)
        widths, largest = self.sizes[1:-1], max(self.sizes[1:])
        fits = TILE_BYTES // (lanes * self.dtype.itemsize * (sum(self.sizes[:-1]) + 2 * largest))
        self.tile = tile or (samples if samples <= fits else max(1, (fits - 1) | 1))
        counts = [samples * sizes[0], *(out * row_step(d) for d, out in pairwise(self.sizes))]
        starts = [*accumulate(counts, initial=0)]
        self.length = starts.pop()
        hidden = [*accumulate((self.tile * d for d in widths), initial=0)]
        buffers = (hidden[-1], hidden[-1] + self.tile * largest)
        self.work_length = buffers[1] + self.tile * largest
        self.places = Places(np.array(starts[1:]), np.array([0, *hidden[:-1]]), buffers, self.tile)

    def zeros(self, length: int | None = None) -> Array:
        """A flat array of so many vectors (default: those of all matrices) that starts on a line of the cache."""
        numbers = (self.length if length is None else length) * self.lanes
        whole = np.zeros(numbers + LINE // self.dtype.itemsize, self.dtype)
        first = -whole.ctypes.data % LINE // self.dtype.itemsize
        return whole[first : first + numbers]

    def pack(self, matrices: Sequence[Array], flat: Array) -> None:
        """Write H_1 (n, N, d_1) and W_l (n, d_{l+1}, d_l) of n <= lanes replicas into a flat array."""
        features, *weights = matrices
        for samples, part in self._tiles(flat):
            part[:, :, : len(features)] = features[:, samples].transpose(2, 1, 0)
        for W, part in zip(weights, self._weights(flat), strict=True):
            part[:, :, : len(W)] = W.transpose(1, 2, 0)

    def unpack(self, flat: Array) -> list[Array]:
        """H_1 (N, d_1, lanes) and W_l (d_{l+1}, d_l, lanes) of a flat array."""
        features = np.empty((self.samples, self.sizes[0], self.lanes), self.dtype)
        for samples, part in self._tiles(flat):
            features[samples] = part.transpose(1, 0, 2)
        return [features, *self._weights(flat)]

    def _tiles(self, flat: Array) -> Iterator[tuple[slice, Array]]:
        """The samples of every tile, and its (d_1, samples, lanes)."""
        d = self.sizes[0]
        for first in range(0, self.samples, self.tile):
            end = min(first + self.tile, self.samples)
            part = flat[first * d * self.lanes : end * d * self.lanes]
            yield slice(first, end), part.reshape(d, end - first, self.lanes)

    def _weights(self, flat: Array) -> list[Array]:
        """W_l (d_{l+1}, d_l, lanes), views."""
        found = []
        for start, (d, out) in zip(self.places.weights.tolist(), pairwise(self.sizes), strict=True):
            numbers = flat[start * self.lanes :][: out * row_step(d) * self.lanes]
            found.append(numbers.reshape(out, row_step(d), self.lanes)[:, :d])
        return found
