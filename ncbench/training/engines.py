"""Which engine takes the steps of an ensemble with free features: `trainer.engine`.

    torch   `FullBatchDescent`: batched products of torch, on any device
    lanes   `LaneDescent`: a replica per lane of a vector, the same bits on x86-64 processors; on the CPU

Both are the same arithmetic in another order, so that they differ by rounding, and a run goes on with the engine with
which it began. What `auto` is depends on the shapes alone, and never on the machine: `lanes` for networks so small that
a step of torch is mostly calls, and for ensembles that fill half a vector of 64 bytes, unless a matrix is so large that
those of 16 replicas leave the cache. There it is the faster one (scripts/bench_dufm.py, docs/performance.md).
"""

from typing import TYPE_CHECKING, Any

import torch

from ncbench.models.replica import DUFM, FullBatchDescent

if TYPE_CHECKING:
    from ncbench.models.replica.optim.lanes import LaneDescent

__all__ = ["descent", "engine_of", "is_heavy_ball"]

# Multiply-adds of a forward pass over all samples up to which one replica alone is as fast in lanes as with torch.
SMALL = 100_000
# Bytes of one number of every replica: from here on, `lanes` is faster up to matrices of LARGE entries.
FILLED, LARGE = 32, 150 * 150


def is_heavy_ball(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the engines take this optimiser's steps: torch.optim.SGD as the papers use it."""
    group = optimizer.param_groups[0]
    others = ("nesterov", "dampening", "weight_decay", "maximize")
    return type(optimizer) is torch.optim.SGD and not any(group[name] for name in others)


def engine_of(asked: str, network: DUFM, optimizer: torch.optim.Optimizer) -> str:
    """lanes or torch; ValueError of one line where lanes are asked for and cannot be."""
    features = network.features.value
    fits = (
        is_heavy_ball(optimizer) and features.device.type == "cpu" and features.dtype in (torch.float32, torch.float64)
    )
    if asked == "auto":
        return "lanes" if fits and _favours_lanes(network) else "torch"
    if asked == "lanes" and not fits:
        raise ValueError(
            "trainer.engine=lanes: needs torch.optim.SGD without nesterov, and float32 or float64 on the CPU; use auto"
        )
    return asked


def descent(engine: str, network: DUFM, labels: torch.Tensor, **problem: Any) -> "FullBatchDescent | LaneDescent":
    """The engine of this name; numba is imported for lanes alone."""
    if engine == "torch":
        return FullBatchDescent(network, labels, **problem)
    from ncbench.models.replica.optim.lanes import LaneDescent

    return LaneDescent(network, labels, **problem)


def _favours_lanes(network: DUFM) -> bool:
    features = network.features.value
    entries = [W.shape[1] * W.shape[2] for W in network.weights]
    filled = network.replicas * features.element_size() >= FILLED
    return features.shape[1] * sum(entries) <= SMALL or (filled and max(entries) <= LARGE)
