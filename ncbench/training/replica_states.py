"""Which replicas of an ensemble still run, and why the others stand still.

    diverged   a parameter is not finite, or ||parameters|| > 1e6: the replica keeps its values of the block's start
    dead       the outputs are zero on every sample and the gradient of the fit is nothing beside the decay's, at two
               checks in a row: what is left is the decay to zero (the trivial solution, loss 1/2 for mse); of free
               features also what is stationary with outputs of zero
    converged  ||gradient|| <= tolerance max(1, ||parameters||), where the run asks for a tolerance, or
               max |gradient| <= schedule.stationary
    stalled    L-BFGS found no lower value along the gradient itself, above that tolerance: not stationary

A replica that is not running is frozen: its parameters and its momentum change no more. Divergence is looked for
after every block of steps; the others, which need a gradient, at the checks only.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ncbench.models.replica.optim.lbfgs_state import CONVERGED, STALLED

__all__ = ["ReplicaStates"]

RUNNING, NAMES = 0, {1: "converged", 2: "diverged", 3: "dead", 4: "stalled"}
CODES = {name: code for code, name in NAMES.items()}
LARGEST = 1e6  # five factors of this norm still multiply to a finite float32; initial norms are below 1e3
NOTHING = 1e-6  # of 1 for outputs, of the decay's gradient for the fit's: near zero the ratio only falls further


class ReplicaStates(nn.Module):
    """The state of R replicas, the step at which each was frozen, and which looked dead at the last check.

    All of it is in the checkpoint.
    """

    code: Tensor
    since: Tensor
    suspect: Tensor

    def __init__(self, replicas: int, tolerance: float | None = None) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.register_buffer("code", torch.zeros(replicas, dtype=torch.int8))
        self.register_buffer("since", torch.full((replicas,), -1, dtype=torch.int64))
        self.register_buffer("suspect", torch.zeros(replicas, dtype=torch.bool))

    @property
    def running(self) -> Tensor:
        """(R,) bool."""
        return self.code == RUNNING

    @torch.no_grad()
    def find_diverged(self, parameters: Sequence[Tensor], step: int) -> Tensor:
        """Mark the running replicas whose parameters left every sensible range; (R,) bool, those just marked."""
        squares = sum(p.detach().flatten(1).double().square().sum(1) for p in parameters)
        assert isinstance(squares, Tensor)
        diverged = self.running & ~(squares <= LARGEST**2)  # a comparison with NaN is false
        self.mark(diverged, "diverged", step)
        return diverged

    @torch.no_grad()
    def check(self, norms: Tensor, step: int) -> None:
        """Mark running replicas as dead or converged from `FullBatchDescent.norms` of all of them, (5, R)."""
        outputs, parameters, fit, penalty, total = norms
        silent = (outputs <= NOTHING) & (fit <= NOTHING * penalty) & self.running
        self.mark(silent & self.suspect, "dead", step)  # once is not enough: momentum may bring a unit back to life
        self.suspect.copy_(silent)
        if self.tolerance is not None:
            small = total <= self.tolerance * parameters.clamp_min(1.0)
            self.mark(small & self.running & ~silent, "converged", step)

    def check_minimised(self, code: Tensor, step: int) -> None:
        """Mark running replicas as converged or stalled as the codes of an `LBFGSState` say, (R,)."""
        for ended, name in ((CONVERGED, "converged"), (STALLED, "stalled")):
            self.mark((code == ended) & self.running, name, step)

    def wake(self) -> None:
        """Let the replicas that had converged or stalled run again: the objective has changed."""
        awake = (self.code == CODES["converged"]) | (self.code == CODES["stalled"])
        self.code[awake] = RUNNING
        self.since[awake] = -1

    def mark(self, replicas: Tensor, name: str, step: int) -> None:
        """Freeze these replicas, (R,) bool, for the reason of this name."""
        self.code[replicas] = CODES[name]
        self.since[replicas] = step

    def summary(self) -> dict[str, list[dict[str, Any]]]:
        """The frozen replicas: {"converged": [{"replica": i, "step": its last}, ...], "diverged": ..., "dead": ...}."""
        steps = self.since.tolist()
        return {
            name: [{"replica": i, "step": steps[i]} for i in (self.code == code).nonzero().flatten().tolist()]
            for code, name in NAMES.items()
        }
