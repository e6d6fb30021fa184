"""Training an ensemble to stationarity: L-BFGS with one line search per replica, chunks on threads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ncbench.models.replica.optim.lbfgs import Problem, minimise
from ncbench.models.replica.optim.lbfgs_state import RUNNING, LBFGSState
from ncbench.models.replica.optim.thread_pool import Workers

__all__ = ["LBFGS", "EnsembleLBFGS", "lbfgs_settings"]

# Samples times parameters in a chunk: with less, threads wait for the interpreter more than they compute. 64 networks
# of fig1_blobs_quick take 13 ms a round on one thread and 8 on two, 16 of them 3.3 and 5.4.
WORK = 5_000_000
SLICE = 100  # rounds after which replicas that stand still are left out and the others are shared anew


@dataclass(frozen=True)
class LBFGS:
    """What a run says about it: the length of a first step along the gradient, and how many pairs are kept.

    scipy's L-BFGS-B has `maxcor` 10; on tanh autoencoders 20 and 50 pairs needed the same number of evaluations within
    6 %, and 20 take less time.
    """

    lr: float = 1.0
    memory: int = 20


def lbfgs_settings(make: Callable[..., object]) -> LBFGS | None:
    """What is made where an optimiser is asked for, if it is an `LBFGS`; None for a torch optimiser."""
    return make() if isinstance(make, partial) and make.func is LBFGS else None


class EnsembleLBFGS:
    """Rounds of L-BFGS on R networks, from and to `state`; the networks themselves are not touched.

    `problem_of` makes the objective of the replicas with given indices, a function of their flat parameters;
    `samples` are those that it is taken over. A replica stands still from max |gradient| <= `tolerance` on. `threads`
    (default: torch's number of intra-op threads) change no bit of the result.
    """

    def __init__(
        self,
        problem_of: Callable[[Tensor], Problem],
        samples: int,
        state: LBFGSState,
        settings: LBFGS,
        tolerance: float,
        threads: int | None = None,
    ) -> None:
        self.problem_of, self.samples = problem_of, samples
        self.state, self.settings, self.tolerance = state, settings, tolerance
        on_cpu = state.get_buffer("x").device.type == "cpu"
        self.threads = (threads or torch.get_num_threads()) if on_cpu else 1
        self._workers = Workers(self.threads if on_cpu else None)

    @torch.no_grad()
    def advance(self, rounds: int) -> None:
        """So many rounds of the replicas that are running: in each, one evaluation of F and its gradient."""
        for start in range(0, rounds, SLICE):
            running = (self.state.get_buffer("code") == RUNNING).nonzero()[:, 0]
            if not len(running):
                return
            worthwhile = len(running) * self.samples * self.state.get_buffer("x").shape[1] // WORK
            pieces = running.tensor_split(min(self.threads, max(1, worthwhile)))
            self._workers.each(pieces, partial(self._advance, rounds=min(SLICE, rounds - start)))

    def _advance(self, index: Tensor, rounds: int) -> None:
        local = self.state.take(index)
        minimise(local, self.problem_of(index), rounds, self.tolerance, self.settings.lr)
        self.state.put(index, local)
