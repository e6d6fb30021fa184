"""Gradient descent with heavy ball on an ensemble, its replicas in lanes: the counterpart of `FullBatchDescent`."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncbench.models.replica.dufm import DUFM
from ncbench.models.replica.optim.lanes import step
from ncbench.models.replica.optim.lanes.cache import Cached
from ncbench.models.replica.optim.lanes.exponential import constants
from ncbench.models.replica.optim.lanes.layout import Layout
from ncbench.models.replica.optim.lanes.registers import block_of, lanes_for
from ncbench.models.replica.optim.thread_pool import Workers

__all__ = ["LaneDescent"]

T = TypeVar("T")
Array = NDArray[Any]
AT_ONCE = 10**9  # multiply-adds between two looks at whether the caller was interrupted: some 20 ms
_descend = Cached(step.descend)


class LaneDescent:
    """Steps of gradient descent on the R networks of `model`, in place, and the norms that say how they are.

    m <- momentum m + d fit / d p,   m <- m + lam p,   p <- p - lr m          (torch.optim.SGD with coupled decay)

    `weight_decays` (R, L), `feature_decays` (R,), `rates` (R,) are per replica. A replica's numbers are the same bits
    on x86-64 processors, and depend neither on the other replicas nor on `threads` (default: torch's number of intra-op
    threads), `lanes` (replicas in a vector), `block` (rows and columns of sums in registers) or `tile` (samples).
    Numbers below the smallest normal one are taken for zero, as the threads of `Workers` do.

    ValueError for another loss than mse and ce, tensors that are not on the CPU, or of another type than float32 and
    float64.
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
        lanes: int | None = None,
        block: tuple[int, int] | None = None,
        tile: int | None = None,
    ) -> None:
        self.parameters = [parameter.detach() for parameter in (model.features.value, *model.weights)]
        features = self.parameters[0]
        if loss not in ("mse", "ce"):
            raise ValueError(f"loss={loss} must be mse or ce")
        if features.device.type != "cpu" or features.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"parameters={features.dtype} on {features.device} must be float32 or float64 on cpu")
        dtype = np.dtype(str(features.dtype).removeprefix("torch."))
        R, N, _ = features.shape
        self.threads = threads or torch.get_num_threads()
        lanes = lanes or lanes_for(dtype.itemsize, R, self.threads)
        rows, columns = block or block_of(lanes, dtype.itemsize)
        self.shape = ((0,) * lanes, (0,) * rows, (0,) * columns)
        sizes = [W.shape[2] for W in self.parameters[1:]] + [self.parameters[-1].shape[1]]
        self.layout, self.sizes, self.labels = Layout(sizes, N, lanes, dtype, tile), np.array(sizes), labels.numpy()
        decays = torch.cat([feature_decays[:, None], weight_decays], 1)
        self.factors = torch.cat([decays, -rates[:, None]], 1).to(features).numpy()
        share, floor = 1 / len(labels), 0.0 if model.activation == "relu" else -np.inf
        self.scalars = step.Scalars(*map(dtype.type, (share, momentum, floor, 1, -np.inf)))
        self.numbers = constants(dtype) if loss == "ce" else np.zeros(0, dtype)
        work = N * sum(d * out for d, out in pairwise(sizes)) * 3 * lanes
        self.at_once = max(1, AT_ONCE // work)
        self._workers = Workers(self.threads)
        nobody = _Group(self, torch.arange(0))
        nobody.run(0)  # compiled here, once, and not by all threads

    @torch.no_grad()
    def advance(self, steps: int, momenta: Sequence[Tensor], replicas: Tensor) -> None:
        """So many steps of the replicas with these indices; `momenta` are tensors like the parameters, or none."""
        self._each(replicas, lambda index: self._advance(_Group(self, index), steps, momenta))

    def _advance(self, group: "_Group", steps: int, momenta: Sequence[Tensor]) -> None:
        if momenta:  # torch.optim.SGD has none without momentum
            group.load(momenta, group.m)
        for done in range(0, steps, self.at_once):
            if self._workers.stopped:
                return
            group.run(min(self.at_once, steps - done))
        group.save(group.p, self.parameters)
        if momenta:
            group.save(group.m, momenta)

    @torch.no_grad()
    def norms(self, replicas: Tensor) -> Tensor:
        """(5, len(replicas)): ||f||, ||parameters||, and of the gradients ||d fit||, ||d penalty||, ||their sum||.

        In float64, summed over samples, then rows, then entries of a row, one matrix after the other.
        """
        return torch.cat(self._each(replicas, lambda index: _Group(self, index).norms()), 1)

    def _each(self, replicas: Tensor, work: Callable[[Tensor], T]) -> list[T]:
        """`work` on every group of these replicas, in order."""
        return self._workers.each(replicas.split(self.layout.lanes), work)


class _Group:
    """Copies of up to `lanes` replicas' parameters and momenta; lanes beyond them hold zeros, which stay zeros."""

    def __init__(self, owner: LaneDescent, index: Tensor) -> None:
        self.owner, self.layout, self.index = owner, owner.layout, index.numpy()
        self.p, self.m = self.layout.zeros(), self.layout.zeros()
        self.work = self.layout.zeros(self.layout.work_length)
        self.load(owner.parameters, self.p)
        self.factors = self.layout.zeros(owner.factors.shape[1])
        self.factors.reshape(-1, self.layout.lanes)[:, : len(index)] = owner.factors[self.index].T

    def load(self, tensors: Sequence[Tensor], flat: Array) -> None:
        """Copy this group's replicas of the ensemble's tensors into a flat array."""
        self.layout.pack([x.numpy()[self.index] for x in tensors], flat)

    def save(self, flat: Array, tensors: Sequence[Tensor]) -> None:
        """Copy a flat array to this group's replicas of the ensemble's tensors."""
        for x, matrix in zip(tensors, self.layout.unpack(flat), strict=True):
            x.numpy()[self.index] = matrix[:, :, : len(self.index)].transpose(2, 0, 1)

    def run(self, steps: int, scalars: step.Scalars | None = None, outputs: Array | None = None) -> None:
        """`step.descend` with what this group holds."""
        owner = self.owner
        outputs = self.layout.zeros(0) if outputs is None else outputs
        problem = owner.shape, steps, owner.sizes, self.layout.places, owner.labels
        numbers = self.factors, scalars or owner.scalars, owner.numbers
        _descend(*problem, self.p, self.m, self.work, *numbers, outputs)

    def norms(self) -> Tensor:
        """The rows of `LaneDescent.norms`, of this group's replicas."""
        layout, n = self.layout, len(self.index)
        outputs = layout.zeros(layout.samples * layout.sizes[-1])
        self.run(1, self.owner.scalars._replace(momentum=self.owner.scalars.share * 0), outputs)
        p, fit = (self._entries(layout.unpack(flat)) for flat in (self.p, self.m))
        decays = self.factors.reshape(-1, layout.lanes)[: len(layout.sizes)].astype(np.float64)
        sizes = [layout.samples * layout.sizes[0], *map(int, self.owner.sizes[1:] * self.owner.sizes[:-1])]
        penalty = np.repeat(decays, sizes, 0) * p
        rows = [self._entries([outputs]), p, fit, penalty, fit + penalty]
        # accumulate, unlike sum, is one addition after the other.
        return torch.from_numpy(np.stack([np.sqrt(np.add.accumulate(x * x)[-1]) for x in rows])[:, :n])

    def _entries(self, matrices: Sequence[Array]) -> Array:
        """All entries one below the other, (entries, lanes), in float64."""
        parts = [matrix.reshape(-1, self.layout.lanes) for matrix in matrices]
        return np.concatenate(parts).astype(np.float64)
