"""Full-batch training of an ensemble of fully connected networks: to stationarity by L-BFGS, or by gradient steps.

Source: arXiv 2402.03991 (v1, v3). Letters: L layers, Theta_l = (W_l, b_l), lam the weight decay, delta the factor of
the first layer's; rows are samples.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data import PointSet
from ncbench.measure import Measurement
from ncbench.models.replica import EnsembleLBFGS, Layout, LBFGSState, Perceptron, SquaredError, lbfgs_settings
from ncbench.models.replica.optim.lbfgs_state import RUNNING, STALLED
from ncbench.training.blocks import BlockModule
from ncbench.training.ensemble_measures import EnsembleMeasures
from ncbench.training.objectives import Decayed, SquaredObjective
from ncbench.training.replica_states import ReplicaStates

__all__ = ["PerceptronModule"]

Optimizer = Callable[..., Any]


class PerceptronModule(BlockModule):
    """Minimises 1/N sum ||f(x_i) - y_i||^2 + lam (delta ||Theta_1||^2 + sum_{l>=2} ||Theta_l||^2) for R networks.

    `optimizer` makes an `LBFGS`, whose steps are evaluations of the gradient, or a torch optimiser of one tensor that
    holds all parameters; with `annealing` its rate falls as (1 + cos(pi step/steps))/2. `weight_decays` and `deltas`
    are one number per replica. For the first `warm_steps` the weight decay is `warm_decay`; then L-BFGS starts anew. A
    replica stands still from max |gradient| <= `stationary` on (None: it does not); torch optimisers are looked at
    after each block only. `matched_pairs` pairs replicas (on the samples, on their class means) that are equal
    otherwise.

    ValueError for another loss than squared.
    """

    def __init__(
        self,
        *,
        loss: str,
        weight_decays: Sequence[float],
        deltas: Sequence[float],
        network: Perceptron,
        points: PointSet,
        optimizer: Optimizer,
        steps: int,
        measure_steps: Sequence[int] = (0,),
        stationary: float | None = None,
        warm_decay: float | None = None,
        warm_steps: int | None = None,
        annealing: str | None = None,
        matched_pairs: Sequence[tuple[int, int]] = (),
        kmeans: bool = False,
    ) -> None:
        super().__init__(steps, [*measure_steps, warm_steps or steps])
        if loss != "squared":
            raise ValueError(f"loss={loss} must be squared for a perceptron")
        self.network, self.points, self.make_optimizer = network, points, optimizer
        self.stationary, self.warm_steps, self.annealing = stationary, warm_steps, annealing
        R, first_factors = network.replicas, torch.tensor(deltas, dtype=torch.float64)
        self.decays = _decays(torch.tensor(weight_decays, dtype=torch.float64), first_factors, network.depth)
        self.warm_decays = None
        if warm_decay is not None:
            self.warm_decays = _decays(torch.full((R,), warm_decay, dtype=torch.float64), first_factors, network.depth)
        decayed = [
            Decayed(f"head.{l}.linear.{kind}", parameter, self.decays[:, l - 1])
            for l, layer in enumerate(network.layers, 1)
            for kind, parameter in layer.linear.named_parameters()
        ]
        self.objective = SquaredObjective(decayed, points.targets)
        self.states = ReplicaStates(R)
        self.measures = EnsembleMeasures(network, points, self.decays, matched_pairs=matched_pairs, kmeans=kmeans)
        self.layout = Layout(network)
        self.lbfgs: LBFGSState | None = None
        settings = lbfgs_settings(optimizer)
        if settings is not None:
            self.lbfgs = LBFGSState(R, self.layout.size, settings.memory, network.weights[0].dtype)
        self.flat = [torch.empty(0)]  # in a list: it is no parameter of the module, whose own are the network's

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        if self.lbfgs is not None:
            return None
        self.flat = [torch.nn.Parameter(self.layout.gather(self.network))]
        made: torch.optim.Optimizer = self.make_optimizer(self.flat)
        self.base_rate = float(made.param_groups[0]["lr"])
        return made

    @override
    def on_train_start(self) -> None:
        start = self.layout.gather(self.network)
        if self.lbfgs is None:
            self.flat[0].data.copy_(start)
        elif int(self.gd_step) == 0:
            self.lbfgs.restart(start)

    @override
    def train_block(self, done: int, end: int) -> None:
        self.points = self.points.to(self.device)
        warm = self.warm_steps is not None and done < self.warm_steps
        decays = self.warm_decays if warm and self.warm_decays is not None else self.decays
        if done == self.warm_steps:
            # The objective has changed: what was stationary is not any more, and L-BFGS must forget its pairs.
            self.states.wake()
            if self.lbfgs is not None:
                self.lbfgs.restart(self.layout.gather(self.network))
                self.lbfgs.get_buffer("code").copy_(torch.where(self.states.running, RUNNING, STALLED))
        if self.lbfgs is not None:
            self._lbfgs_block(decays, done, end)
        else:
            self._gradient_block(decays, done, end)

    def _lbfgs_block(self, decays: Tensor, done: int, end: int) -> None:
        assert self.lbfgs is not None
        points = self.points
        problem_of = partial(SquaredError, self.network, self.layout, points.inputs, points.targets, decays)
        samples, tolerance = points.inputs.shape[1], self.stationary or 0.0
        EnsembleLBFGS(problem_of, samples, self.lbfgs, self.make_optimizer(), tolerance).advance(end - done)
        self.layout.scatter(self.lbfgs.get_buffer("x"), self.network)
        self.states.check_minimised(self.lbfgs.get_buffer("code"), end)

    def _gradient_block(self, decays: Tensor, done: int, end: int) -> None:
        """Steps of a torch optimiser on all replicas; those that stand still are put back afterwards."""
        optimizer, flat = self.raw_optimizer(), self.flat[0]
        problem = self._problem(decays)
        flat.grad = torch.zeros_like(flat)
        group = optimizer.param_groups[0]
        state = [x for x in optimizer.state[flat].values() if isinstance(x, Tensor) and x.shape == flat.shape]
        before = [(x, x.detach().clone()) for x in (flat, *state)]
        for step in range(done, end):
            if self.annealing == "cosine":
                group["lr"] = self.base_rate * (1 + math.cos(math.pi * step / self.steps)) / 2
            problem(flat.detach(), flat.grad)
            optimizer.step()
        put_back = ~self.states.running | self.states.find_diverged([flat], end)
        for x, earlier in before:
            x.data[put_back] = earlier[put_back]
        self.layout.scatter(flat.detach(), self.network)
        if self.is_check(end) and self.stationary is not None:
            problem(flat.detach(), flat.grad)
            small = flat.grad.abs().amax(1) <= self.stationary
            self.states.mark(small & self.states.running, "converged", end)

    def _problem(self, decays: Tensor) -> SquaredError:
        everyone = torch.arange(self.network.replicas, device=self.device)
        return SquaredError(self.network, self.layout, self.points.inputs, self.points.targets, decays, everyone)

    def further_measures(self, measurement: Measurement) -> Measurement:
        """What only an ensemble on its data can tell, added to a measurement of the network as it is."""
        step = int(self.gd_step)
        return self.measures.measure(
            ends=step in (0, self.steps), last=step == self.steps, grams=bool(measurement.grams)
        )


def _decays(weight_decays: Tensor, deltas: Tensor, depth: int) -> Tensor:
    """(R, L): lam delta for the first layer, lam for the others."""
    decays = weight_decays[:, None].repeat(1, depth)
    decays[:, 0] *= deltas
    return decays
