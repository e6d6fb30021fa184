"""Gradient descent with heavy ball on an ensemble: nothing per step but the products and two more calls.

    m <- momentum m + d fit / d p,   m <- m + lam p,   p <- p - lr m          (torch.optim.SGD with coupled decay)

Replicas are independent, so a block of steps is done chunk by chunk: the parameters and activations of a chunk stay
in the cache for the whole block, each matrix of the chunk contiguous and all of them in one flat vector, so that an
update is two calls for all matrices at once. Threads work on different chunks (`thread_pool`).

Matrices are padded with zeros, which stay zeros, to multiples of 16 bytes. MKL's rounding depends on where a matrix
starts: so that a replica's numbers do not depend on its place in the ensemble, every matrix starts on such a multiple.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from ncbench.models.replica.dufm import DUFM
from ncbench.models.replica.optim.dufm_gradient import FitGradient, padded_shapes, samples_as_columns
from ncbench.models.replica.optim.thread_pool import Workers

__all__ = ["FullBatchDescent"]

T = TypeVar("T")
# 116 networks of width 20, 35 of width 70, 4 with 500 samples and width 64: on Zen 4 (1 MiB of L2 and 16 of L3 per
# core) all within 3 % of the fastest of 3, 5, 7 and 9 MiB; 3 MiB cost 10 to 15 %, as a step is 12 to 22 short calls.
CHUNK_BYTES = 7 * 2**20
SMALLEST = 2**21  # multiply-adds of a chunk's step below which a second thread gains nothing


class FullBatchDescent:
    """Steps of gradient descent on the R networks of `model`, in place, and the norms that say how they are.

    `weight_decays` (R, L), `feature_decays` (R,), `rates` (R,) are per replica. `threads` (default: torch's number of
    intra-op threads) and `chunk`, replicas per chunk (default: what fits `CHUNK_BYTES`), change no bit of the result.
    """

    def __init__(
        self,
        model: DUFM,
        labels: Tensor,
        *,
        loss: str,
        weight_decays: Tensor,
        feature_decays: Tensor,
        rates: Tensor,
        momentum: float,
        threads: int | None = None,
        chunk: int | None = None,
    ) -> None:
        self.parameters = [parameter.detach() for parameter in (model.features.value, *model.weights)]
        self.labels, self.loss, self.relu, self.momentum = labels, loss, model.activation == "relu", momentum
        like = self.parameters[0]
        # Samples lie along the rows or the columns of H_1, whichever fills vector registers better.
        self.columns = samples_as_columns(like)
        self.padded = padded_shapes(self.parameters, self.columns)
        self.decays = torch.stack([feature_decays, *weight_decays.unbind(1)], 1).to(like)
        self.rates = rates.to(like)
        on_cpu = like.device.type == "cpu"
        self.threads = threads or torch.get_num_threads()
        widths = [W.shape[2] for W in self.parameters[1:]]
        # A chunk holds parameters, momenta, decays and rates, the activations, and two buffers of gradients.
        numbers = 4 * sum(map(prod, self.padded)) + like.shape[1] * (sum(widths) + 2 * max(widths))
        fits = max(1, CHUNK_BYTES // (numbers * like.element_size()))
        self.chunk = chunk or (fits if on_cpu else like.shape[0])
        # Multiply-adds of one replica's step; chunks are not made so small that a thread has too little to do.
        work = like.shape[1] * sum(prod(W.shape[1:]) for W in self.parameters[1:])
        self.fewest = 1 if chunk else max(1, SMALLEST // work)
        self._workers = Workers(self.threads if on_cpu else None)

    @torch.no_grad()
    def advance(self, steps: int, momenta: Sequence[Tensor], replicas: Tensor) -> None:
        """So many steps of the replicas with these indices; `momenta` are tensors like the parameters, or none."""
        self._each(replicas, lambda index: self._advance(_Chunk(self, index), steps, momenta))

    def _advance(self, chunk: "_Chunk", steps: int, momenta: Sequence[Tensor]) -> None:
        if momenta:  # torch.optim.SGD has none without momentum
            chunk.load(momenta, chunk.momenta)
        for _ in range(steps):
            if self._workers.stopped:
                return
            chunk.step()
        chunk.save(chunk.matrices, self.parameters)
        if momenta:
            chunk.save(chunk.momenta, momenta)

    @torch.no_grad()
    def norms(self, replicas: Tensor) -> Tensor:
        """(5, len(replicas)): ||f||, ||parameters||, and of the gradients ||d fit||, ||d penalty||, ||their sum||."""
        return torch.cat(self._each(replicas, lambda index: _Chunk(self, index).norms()), 1)

    def _each(self, replicas: Tensor, work: Callable[[Tensor], T]) -> list[T]:
        """`work` on every chunk of these replicas, in order."""
        return self._workers.each(self._pieces(replicas), work)

    def _pieces(self, replicas: Tensor) -> list[Tensor]:
        """The indices in chunks of nearly equal size, as many as threads can share evenly."""
        R = len(replicas)
        count = -(-R // self.chunk)
        if self.parameters[0].device.type == "cpu":
            count = -(-count // self.threads) * self.threads
        return list(replicas.tensor_split(max(1, min(count, R // self.fewest)))) if R else []


class _Chunk:
    """Copies of some replicas' parameters, all matrices in one flat vector, and of their momenta in another."""

    def __init__(self, owner: FullBatchDescent, index: Tensor) -> None:
        self.index, self.momentum, self.columns = index, owner.momentum, owner.columns
        self.shapes = [(len(index), *shape) for shape in owner.padded]
        self.p = owner.parameters[0].new_zeros(sum(map(prod, self.shapes)))
        self.m = torch.zeros_like(self.p)
        self.matrices, self.momenta = self._views(self.p), self._views(self.m)
        self.load(owner.parameters, self.matrices)
        self.fit = FitGradient(self.matrices, owner.labels, loss=owner.loss, relu=owner.relu, columns=owner.columns)
        decays, rates = owner.decays[index], owner.rates[index]
        per_matrix = [*map(prod, owner.padded)]
        self.decay = _factor([decays[:, l, None].expand(-1, size) for l, size in enumerate(per_matrix)])
        self.rate = _factor([-rates[:, None].expand(-1, size) for size in per_matrix])

    def load(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Copy this chunk's replicas of the ensemble's tensors to its own."""
        for source, target in zip(self._turned(sources), targets, strict=True):
            rows, columns = source.shape[1:]
            target[:, :rows, :columns] = source[self.index]

    def save(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Copy this chunk's tensors to its replicas of the ensemble's."""
        for source, target in zip(sources, self._turned(targets), strict=True):
            rows, columns = target.shape[1:]
            target.index_copy_(0, self.index, source[:, :rows, :columns])

    def _turned(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The ensemble's tensors as a chunk holds them: H_1 with its samples as columns or rows."""
        return [x.mT if self.columns and l == 0 else x for l, x in enumerate(tensors)]

    def step(self) -> None:
        """m <- momentum m + d fit / d p, m <- m + lam p, p <- p - lr m."""
        self.fit.add_to(self.momenta, keep=self.momentum)
        _add(self.m, self.decay, self.p)
        _add(self.p, self.rate, self.m)

    def norms(self) -> Tensor:
        """The rows of `FullBatchDescent.norms`, of this chunk's replicas."""
        self.fit.add_to(self.momenta, keep=0.0)
        penalty = torch.zeros_like(self.p)
        _add(penalty, self.decay, self.p)
        f = torch.linalg.vector_norm(self.fit.outputs(), dim=(1, 2))
        return torch.stack([f, *(self._norm(flat) for flat in (self.p, self.m, penalty, self.m + penalty))])

    def _norm(self, flat: Tensor) -> Tensor:
        each = [torch.linalg.vector_norm(matrix, dim=(1, 2)) for matrix in self._views(flat)]
        norms: Tensor = torch.linalg.vector_norm(torch.stack(each), dim=0)
        return norms

    def _views(self, flat: Tensor) -> list[Tensor]:
        """The matrices that lie one after another in a flat vector, each contiguous for all replicas."""
        ends = [*accumulate(map(prod, self.shapes))]
        parts = torch.tensor_split(flat, ends[:-1])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _factor(parts: Sequence[Tensor]) -> float | Tensor:
    """One number where all replicas and matrices share it (half the memory traffic, the same bits), or a vector."""
    flat = torch.cat([part.reshape(-1) for part in parts])
    return float(flat[0]) if bool((flat == flat[0]).all()) else flat


def _add(target: Tensor, factor: float | Tensor, x: Tensor) -> None:
    """target <- target + factor * x."""
    if isinstance(factor, float):
        target.add_(x, alpha=factor)
    else:
        target.addcmul_(factor, x)
