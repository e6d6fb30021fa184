"""How an optimiser uses the weight decay of its parameter groups, found out by a few steps on one number."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.data.draws import drawing

__all__ = ["weight_decay_of"]

_DECAY, _STEPS = 0.1, 3


def weight_decay_of(make: Callable[[Any], torch.optim.Optimizer]) -> str:
    """What the entry `weight_decay` of a group does: "coupled", "none" or "other".

    Coupled is the decay of the papers' objectives: lam p is added to the gradient of p, so that what is minimised is
    the loss plus lam/2 ||p||^2. None is that of an optimiser without decay (`torch.optim.Rprop`), which torch tells
    nobody, as a group may have any entry. Other is, say, the decoupled decay of `torch.optim.AdamW`.

    The steps are those of a number p from 1, on c/4 (p - 2)^2 with c = 0.1, with a decay of c: the gradient is -c/2,
    and +c/2 with the decay, so that steps which depend on its sign alone tell the two apart, too. An optimiser that
    takes no single number (`torch.optim.Muon`) gets it as a matrix. Where such steps fail, too, an optimiser whose
    defaults have no `weight_decay` has none, and every other counts as coupled.
    """
    decays = ((_DECAY, 0.0), (0.0, _DECAY), (0.0, 0.0))
    for axes in (1, 2):
        try:
            by_group, by_gradient, without = (_path(make, *pair, axes) for pair in decays)
        except Exception:
            continue
        if _alike(by_group, by_gradient):
            return "coupled"
        return "none" if _alike(by_group, without) else "other"
    made = make([{"params": [nn.Parameter(torch.ones(1, 1))], "weight_decay": 0.0}])
    return "coupled" if "weight_decay" in made.defaults else "none"


def _path(make: Callable[[Any], torch.optim.Optimizer], of_group: float, of_gradient: float, axes: int) -> Tensor:
    """How far p, of so many axes, is from its start after each step, (steps,)."""
    p = nn.Parameter(torch.ones((1,) * axes, dtype=torch.float64))
    moved = []

    def closure() -> Tensor:
        q = p.detach()
        p.grad = _DECAY / 2 * (q - 2) + of_gradient * q
        return (_DECAY / 4 * (q - 2).square() + of_gradient / 2 * q.square()).sum()

    with drawing(0), warnings.catch_warnings(action="ignore"):
        optimizer = make([{"params": [p], "weight_decay": of_group}])
        for _ in range(_STEPS):
            optimizer.step(closure)  # type: ignore[arg-type]
            moved.append(p.detach().flatten() - 1)
    return torch.cat(moved)


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-4 * torch.maximum(one.abs(), other.abs()).max())
