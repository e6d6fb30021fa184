"""Ensembles of explicit factors of the deep unconstrained features model, minimised at once by batched L-BFGS.

One sample per class, L + 1 factors H (d, K), W_l (d, d), W_L (K, d) with the same decay lam, float64, R of each:

    (1/K) sum_c -log softmax(z_c)_c + lam/2 sum_i ||F_i||_F^2,  z = W_L ... W_1 H           ("ce", linear)
    1/(2K) ||W_L relu(... relu(W_1 H)) - I||_F^2 + lam/2 sum_i ||F_i||_F^2                  ("mse", ReLU)

Minima of the second often lie on kinks of the ReLU, where descent creeps and its gradient does not vanish. So the ReLU
is rounded off, x -> (x + e)^2 / (4 e) for |x| <= e, and e is taken to zero along `WIDTHS`; what is reported is always
the objective itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from ncbench.models.replica import LBFGSState
from ncbench.models.replica.optim.lbfgs import minimise
from ncbench.models.replica.optim.lbfgs_state import RUNNING

Factors = list[Tensor]
WIDTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # e / largest pre-activation of the layer
SLICE = 50  # rounds after which replicas that stand still are left out
MEMORY = 12


@dataclass(frozen=True)
class Cell:
    """A problem: `loss` "ce" or "mse", K classes, L weight matrices, the decay of every factor."""

    loss: str
    num_classes: int
    depth: int
    decay: float

    @property
    def name(self) -> str:
        """Its file's name, and what --cells is compared with."""
        return f"{self.loss}_K{self.num_classes}_L{self.depth}_{self.decay:g}"


class Objective:
    """Values and gradients of R sets of factors as rows of one matrix, as `minimise` calls it.

    `widths` (R, L-1) are the half-widths e of the rounded ReLUs, none for the ReLU itself. `decays` (R,).
    """

    def __init__(self, cell: Cell, width: int, decays: Tensor, widths: Tensor | None = None) -> None:
        K, d = cell.num_classes, width
        self.cell, self.decays, self.widths = cell, decays, widths
        self.shapes = [(d, K), *[(d, d)] * (cell.depth - 1), (K, d)]
        self.eye = torch.eye(K, dtype=torch.float64)

    def of(self, index: Tensor) -> "Objective":
        """The same for some of the rows."""
        part = Objective.__new__(Objective)
        part.__dict__.update(self.__dict__, decays=self.decays[index])
        part.widths = None if self.widths is None else self.widths[index]
        return part

    def split(self, flat: Tensor) -> Factors:
        """Views of the rows as factors (R, rows, columns)."""
        ends = list(accumulate(a * b for a, b in self.shapes[:-1]))
        return [x.view(-1, *shape) for x, shape in zip(flat.tensor_split(ends, 1), self.shapes, strict=True)]

    def pre_activations(self, flat: Tensor) -> list[Tensor]:
        """W_l H_l for l < L."""
        H, *Ws = self.split(flat)
        pres = []
        for W in Ws[:-1]:
            pres.append(W @ H)
            H = pres[-1].relu() if self.cell.loss == "mse" else pres[-1]
        return pres

    def __call__(self, flat: Tensor, gradient: Tensor) -> Tensor:
        """Values (R,); writes the gradients."""
        H, *Ws = self.split(flat)
        features, slopes = [H], []
        for l, W in enumerate(Ws[:-1]):
            value, slope = self._activate(W @ features[-1], l)
            features.append(value)
            slopes.append(slope)
        fit, G = self._fit(Ws[-1] @ features[-1])
        into = self.split(gradient)
        for l in range(len(Ws), 0, -1):
            into[l].copy_(G @ features[l - 1].mT)
            G = Ws[l - 1].mT @ G
            if l > 1 and slopes[l - 2] is not None:
                G = G * slopes[l - 2]
        into[0].copy_(G)
        gradient.addcmul_(flat, self.decays[:, None])
        return fit + self.decays / 2 * flat.square().sum(1)

    def _activate(self, pre: Tensor, l: int) -> tuple[Tensor, Any]:
        if self.cell.loss == "ce":
            return pre, None
        if self.widths is None:
            return pre.relu(), (pre > 0).to(pre)
        e = self.widths[:, l, None, None]
        inside = pre.clamp(-e, e).add_(e)
        slope = inside / (2 * e)
        return inside.mul_(slope).mul_(0.5).add_((pre - e).relu_()), slope

    def _fit(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        K = self.cell.num_classes
        if self.cell.loss == "mse":
            G = (Z - self.eye) / K
            return G.square().sum((1, 2)) * (K / 2), G
        log = torch.log_softmax(Z, 1)
        return -log.diagonal(dim1=1, dim2=2).mean(1), (log.exp() - self.eye) / K


def value(cell: Cell, width: int, flat: Tensor) -> Tensor:
    """The objective itself at every row."""
    objective = Objective(cell, width, torch.full((len(flat),), cell.decay, dtype=torch.float64))
    return objective(flat, torch.empty_like(flat))


def descend(objective: Objective, flat: Tensor, rounds: int, tolerance: float) -> Tensor:
    """Where L-BFGS ends from every row; a single row by scipy's, which costs a quarter of a round of the ensemble's."""
    if len(flat) == 1 and objective.cell.loss == "mse":
        return _alone(objective, flat, rounds, tolerance)
    state = LBFGSState(len(flat), flat.shape[1], MEMORY, torch.float64)
    state.restart(flat)
    for _ in range(0, rounds, SLICE):
        running = (state.get_buffer("code") == RUNNING).nonzero()[:, 0]
        if not len(running):
            break
        local = state.take(running)
        minimise(local, objective.of(running), SLICE, tolerance, 0.1)
        state.put(running, local)
    return state.get_buffer("x").clone()


def _alone(objective: Objective, flat: Tensor, rounds: int, tolerance: float) -> Tensor:
    gradient = torch.empty_like(flat)

    def evaluate(x: Any) -> tuple[float, Any]:
        values = objective(torch.from_numpy(x)[None], gradient)
        return float(values), gradient[0].numpy().copy()

    options = {"gtol": tolerance, "ftol": 1e-17, "maxiter": 4 * rounds, "maxfun": 4 * rounds, "maxcor": MEMORY}
    end = minimize(evaluate, flat[0].numpy(), method="L-BFGS-B", jac=True, options=options)
    return torch.from_numpy(end.x)[None]


def settle(
    cell: Cell, width: int, flat: Tensor, rounds: int, keep: int = 4, widths: Sequence[float] = WIDTHS
) -> tuple[Tensor, Tensor, Tensor]:
    """(values, rows, places among the starts) of the `keep` lowest ends of the descent from every row, lowest first.

    "ce": L-BFGS to a gradient of 1e-5 times the decay. "mse": the same along the rounded ReLUs, half of the rows (at
    least `keep`) dropped after every width.
    """
    decays = torch.full((len(flat),), cell.decay, dtype=torch.float64)
    places = torch.arange(len(flat))
    if cell.loss == "ce":
        flat = descend(Objective(cell, width, decays), flat, rounds, 1e-5 * cell.decay)
        return _lowest(cell, width, flat, places, keep)
    for share in widths:
        objective = Objective(cell, width, decays[: len(flat)])
        objective.widths = _half_widths(objective, flat, share)
        flat = descend(objective, flat, rounds, 1e-10 if share < 1e-4 else 1e-8)
        _, flat, places = _lowest(cell, width, flat, places, max(keep, len(flat) // 2))
    return _lowest(cell, width, flat, places, keep)


def largest_slope(cell: Cell, width: int, flat: Tensor) -> float:
    """Largest entry of the gradient at a single row, the ReLU rounded off over the last of `WIDTHS`."""
    objective = Objective(cell, width, torch.full((1,), cell.decay, dtype=torch.float64))
    if cell.loss == "mse":
        objective.widths = _half_widths(objective, flat, WIDTHS[-1])
    gradient = torch.empty_like(flat)
    objective(flat, gradient)
    return float(gradient.abs().max())


def _half_widths(objective: Objective, flat: Tensor, share: float) -> Tensor:
    largest = [pre.abs().amax((1, 2)) for pre in objective.pre_activations(flat)]
    return share * torch.stack(largest, 1).clamp(min=1e-6)


def _lowest(cell: Cell, width: int, flat: Tensor, places: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    values = value(cell, width, flat).nan_to_num(torch.inf)
    order = values.argsort()[:keep]
    return values[order], flat[order], places[order]
