"""Steps of gradient descent of as many networks as a vector has lanes, compiled by numba.

    D_L = (f - Y)/N or (softmax(f) - Y)/N,   G_{W_l} = D_l H_l^T,   D_{l-1} = (W_l^T D_l) * 1[H_l > 0]
    m <- momentum m + G,   m <- m + lam p,   p <- p - rate m                       (H_l, D_l: one column per sample)

Samples are taken in tiles, so that the activations of all layers of a tile stay in the cache; the sums over samples go
on from tile to tile in the order of the samples, so that tiles change no bit.

Where the vectors lie: H_1 tile by tile, each (d_1, samples of the tile), then W_1 ... W_L, W_l in rows of
`row_step(d_l)`; the momenta likewise. `work` has H_2 ... H_L of a tile and two buffers of gradients.
"""

from typing import Any, NamedTuple

from numba import njit
from numba.extending import register_jitable

from ncbench.models.replica.optim.lanes.exponential import exponential
from ncbench.models.replica.optim.lanes.product import product
from ncbench.models.replica.optim.lanes.vectors import add, at_most, divide, fma, load, multiply, splat, store, subtract

__all__ = ["Places", "Scalars", "descend", "row_step"]

_inlined = njit(inline="always")


class Places(NamedTuple):
    """Where matrices start, in vectors: W_1 ... W_L in the parameters, H_2 ... H_L and two buffers in `work`.

    `hidden` has an entry for H_1 too, which is not used. `tile` is the largest number of samples in a tile.
    """

    weights: Any
    hidden: Any
    buffers: tuple[int, int]
    tile: int


class Scalars(NamedTuple):
    """Numbers of the parameters' type: 1/N, the momentum, what rectifies (0, or `lowest` for the identity), 1, -inf."""

    share: Any
    momentum: Any
    floor: Any
    one: Any
    lowest: Any


def row_step(columns: int) -> int:
    """Odd, so that the entries of a column are spread over all sets of the cache."""
    return columns | 1


_row_step = register_jitable(row_step)


@njit(nogil=True, error_model="numpy")
def descend(
    shape: Any,
    steps: int,
    sizes: Any,
    places: Any,
    labels: Any,
    p: Any,
    m: Any,
    work: Any,
    factors: Any,
    scalars: Any,
    numbers: Any,
    outputs: Any,
) -> None:
    """So many steps of the parameters `p` and momenta `m`, in place.

    `sizes` are d_1 ... d_L, K; `factors` are L + 2 vectors: the decays of H_1, W_1 ... W_L, and minus the rate.
    `numbers` are the `constants` of exp, or none for the squared error. With room for f in `outputs`, (N, K) vectors,
    nothing moves: f is written there, and `m` becomes momentum m and the gradient of the fit.
    """
    for _ in range(steps):
        keep = scalars.momentum
        for first in range(0, len(labels), places.tile):
            count = min(places.tile, len(labels) - first)
            _forward(shape, sizes, places, first, count, p, work, scalars)
            if len(outputs):
                _copy(shape, sizes[-1], places.buffers[0], first, count, work, outputs)
            if len(numbers):
                _softmax(shape, sizes[-1], places.buffers[0], count, work, numbers)
            _residual(shape, sizes[-1], places.buffers[0], labels[first : first + count], work, scalars)
            _backward(shape, sizes, places, first, count, p, m, work, keep, scalars)
            keep = scalars.one
        if not len(outputs):
            _update(shape, sizes, places, len(labels), p, m, factors)


@_inlined
def _forward(shape, sizes, places, first, count, p, work, scalars):
    """H_2 ... H_L, and f into the first buffer: H_{l+1} = s(W_l H_l)."""
    L, zero = len(sizes) - 1, scalars.share - scalars.share
    for l in range(L):
        source, at = (p, first * sizes[0]) if l == 0 else (work, places.hidden[l])
        target, floor = (places.buffers[0], scalars.lowest) if l == L - 1 else (places.hidden[l + 1], scalars.floor)
        size = (sizes[l + 1], count, sizes[l])
        W = (places.weights[l], _row_step(sizes[l]), 1)
        product(shape, size, p, W, source, (at, count, 1), work, (target, count, 1), zero, floor, (work, -1))


@_inlined
def _backward(shape, sizes, places, first, count, p, m, work, keep, scalars):
    """From D_L in the first buffer: m <- keep m + G of all weights, and momentum m + G of these samples' features."""
    zero, lowest = scalars.share - scalars.share, scalars.lowest
    here, other = places.buffers
    for l in range(len(sizes) - 2, -1, -1):
        source, at = (p, first * sizes[0]) if l == 0 else (work, places.hidden[l])
        step, D, size = _row_step(sizes[l]), (here, count, 1), (sizes[l + 1], sizes[l], count)
        G = (places.weights[l], step, 1)
        product(shape, size, work, D, source, (at, 1, count), m, G, keep, lowest, (work, -1))
        target, into, kept = (m, at, scalars.momentum) if l == 0 else (work, other, zero)
        mask = at if l > 0 and scalars.floor == 0 else -1
        size, W = (sizes[l], count, sizes[l + 1]), (places.weights[l], 1, step)
        product(shape, size, p, W, work, D, target, (into, count, 1), kept, lowest, (work, mask))
        here, other = other, here


@_inlined
def _copy(shape, K, at, first, count, work, outputs):
    """f of these samples, in the order of the samples."""
    for i in range(count):
        for k in range(K):
            store(outputs, (first + i) * K + k, load(work, at + k * count + i, shape))


@_inlined
def _softmax(shape, K, at, count, work, numbers):
    """f <- softmax(f): exp(f - max f), divided by their sum in the order of the classes."""
    for i in range(at, at + count):
        largest = load(work, i, shape)
        for k in range(1, K):
            f = load(work, i + k * count, shape)
            largest = at_most(f, largest, largest, f)
        total = subtract(largest, largest)
        for k in range(K):
            e = exponential(subtract(load(work, i + k * count, shape), largest), numbers, shape)
            store(work, i + k * count, e)
            total = add(total, e)
        for k in range(K):
            store(work, i + k * count, divide(load(work, i + k * count, shape), total))


@_inlined
def _residual(shape, K, at, labels, work, scalars):
    """D_L = (f - Y) 1/N, from f or its softmax."""
    count, share = len(labels), splat(scalars.share, shape)
    for k in range(K):
        for i in range(count):
            y = scalars.one if labels[i] == k else scalars.one - scalars.one
            place = at + k * count + i
            store(work, place, multiply(subtract(load(work, place, shape), splat(y, shape)), share))


@_inlined
def _update(shape, sizes, places, N, p, m, factors):
    """m <- m + lam p, p <- p - rate m, each one fused multiply-add."""
    L = len(sizes) - 1
    rate = load(factors, L + 1, shape)
    for l in range(L + 1):
        decay = load(factors, l, shape)
        first = 0 if l == 0 else places.weights[l - 1]
        count = N * sizes[0] if l == 0 else sizes[l] * _row_step(sizes[l - 1])
        for i in range(first, first + count):
            w = load(p, i, shape)
            g = fma(decay, w, load(m, i, shape))
            store(m, i, g)
            store(p, i, fma(rate, g, w))
