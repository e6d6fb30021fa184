"""Training an ensemble of perceptrons to stationarity: L-BFGS with one line search per replica, chunks on threads."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ncbench.models.replica.optim.lbfgs import minimise
from ncbench.models.replica.optim.lbfgs_state import RUNNING, LBFGSState
from ncbench.models.replica.optim.perceptron_gradient import Layout, SquaredError
from ncbench.models.replica.optim.thread_pool import Workers
from ncbench.models.replica.perceptron import Perceptron

__all__ = ["LBFGS", "PerceptronLBFGS"]

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


class PerceptronLBFGS:
    """Rounds of L-BFGS on the R networks of `network`, from and to `state`; the network itself is not touched.

    `inputs` (R or 1, N, d), `targets` (R or 1, N, c), `decays` (R, L) as in `SquaredError`; a replica stands still from
    max |gradient| <= `tolerance` on. `threads` (default: torch's number of intra-op threads) change no bit of the
    result.
    """

    def __init__(
        self,
        network: Perceptron,
        layout: Layout,
        inputs: Tensor,
        targets: Tensor,
        decays: Tensor,
        state: LBFGSState,
        settings: LBFGS,
        tolerance: float,
        threads: int | None = None,
    ) -> None:
        self.problem = (network, layout, inputs, targets, decays)
        self.state, self.settings, self.tolerance = state, settings, tolerance
        self.samples = inputs.shape[1]
        on_cpu = network.weights[0].device.type == "cpu"
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
        minimise(local, SquaredError(*self.problem, index), rounds, self.tolerance, self.settings.lr)
        self.state.put(index, local)
