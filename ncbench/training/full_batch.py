"""Full-batch training of an ensemble of models with free features: by gradient steps, or to stationarity by L-BFGS."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from ncbench.measure import Measurement
from ncbench.models.replica import (
    DUFM,
    DUFMLayout,
    DUFMObjective,
    EnsembleLBFGS,
    FullBatchGradient,
    LBFGSState,
    lbfgs_settings,
)
from ncbench.models.replica.optim.lbfgs_state import CONVERGED
from ncbench.training.blocks import BlockModule
from ncbench.training.engines import descent, engine_of, is_heavy_ball
from ncbench.training.full_batch_measures import FullBatchMeasures
from ncbench.training.replica_states import NOTHING, ReplicaStates

if TYPE_CHECKING:
    from ncbench.models.replica import FullBatchDescent
    from ncbench.models.replica.optim.lanes import LaneDescent

__all__ = ["FullBatchModule"]


class FullBatchModule(BlockModule):
    """Minimises fit + sum_l lam_l/2 ||W_l||^2 + lam_H/2 ||H_1||^2 for R networks at once.

    `weight_decays` (R, L) are one number per replica and matrix, `feature_decays` and `rates` (R) one per replica;
    without `rates` all have the optimiser's. `measure_steps` are the steps at which a block has to end. A replica
    stops where ||gradient|| <= `tolerance` max(1, ||parameters||), or max |gradient| <= `stationary`; None: nowhere.
    `hessian` measures the curvature at the last step.

    `optimizer` makes an `LBFGS`, whose steps are evaluations of the gradient and which looks for `stationary` after
    each, or a torch optimiser. torch.optim.SGD is read for its rate and momentum and its steps are taken by the
    `engine` (`ncbench.training.engines`), which leaves its state as torch would; every other torch optimiser takes its
    own steps. A checkpoint says which engine it was.
    """

    def __init__(
        self,
        *,
        loss: str,
        weight_decays: Sequence[Sequence[float]],
        feature_decays: Sequence[float],
        network: DUFM,
        labels: Tensor,
        optimizer: Callable[..., Any],
        steps: int,
        measure_steps: Sequence[int] = (0,),
        rates: Sequence[float] | None = None,
        tolerance: float | None = None,
        stationary: float | None = None,
        hessian: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(steps, measure_steps)
        self.network, self.loss_name, self.make_optimizer = network, loss, optimizer
        self.weight_decays = torch.tensor(weight_decays, dtype=torch.float64).reshape(network.replicas, network.depth)
        self.feature_decays = torch.tensor(feature_decays, dtype=torch.float64).reshape(network.replicas)
        self.rates, self.stationary = None if rates is None else list(rates), stationary
        self.register_buffer("labels", labels, persistent=False)
        self.states = ReplicaStates(network.replicas, tolerance)
        self.measures = FullBatchMeasures(
            network,
            labels,
            loss=loss,
            weight_decays=self.weight_decays,
            feature_decays=self.feature_decays,
            hessian_at=steps if hessian else None,
        )
        self.objective = self.measures.objective
        self.descent: FullBatchDescent | LaneDescent | None = None
        self.engine = engine
        self.gradient: FullBatchGradient | None = None
        self.layout = DUFMLayout(network)
        self.lbfgs: LBFGSState | None = None
        settings = lbfgs_settings(optimizer)
        if settings is not None:
            dtype = network.features.value.dtype
            self.lbfgs = LBFGSState(network.replicas, self.layout.size, settings.memory, dtype)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        if self.lbfgs is not None:
            self.engine = "torch"
            return None
        optimizer: torch.optim.Optimizer = self.make_optimizer(self.network.parameters())
        self.engine = engine_of(self.engine, self.network, optimizer)
        if self.rates is not None and not is_heavy_ball(optimizer):
            raise ValueError(
                f"lr={self.rates} needs torch.optim.SGD without nesterov, as no other optimiser here has several rates"
            )
        return optimizer

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["engine"] = self.engine

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.engine = checkpoint.get("engine", "torch")

    @override
    def on_train_start(self) -> None:
        assert isinstance(self.labels, Tensor)
        if self.lbfgs is not None:
            if int(self.gd_step) == 0:
                self.lbfgs.restart(self.layout.gather(self.network))
            return
        optimizer = self.raw_optimizer()
        group = optimizer.param_groups[0]
        rates = torch.tensor(self.rates or [group["lr"]] * self.network.replicas, dtype=torch.float64)
        problem: dict[str, Any] = {
            "loss": self.loss_name,
            "weight_decays": self.weight_decays,
            "feature_decays": self.feature_decays,
        }
        momentum = float(group.get("momentum", 0.0))
        self.descent = descent(self.engine, self.network, self.labels, rates=rates, momentum=momentum, **problem)
        self.gradient = None if is_heavy_ball(optimizer) else FullBatchGradient(self.network, self.labels, **problem)
        if self.gradient is None:
            self._momenta()
            # From here on all threads are the engine's. What lies between its blocks is too small to be shared: on a
            # busy machine a copy of 0.5 MB was seen to wait 5 ms for a second intra-op thread.
            torch.set_num_threads(1)

    @override
    def on_train_end(self) -> None:
        if self.descent is not None:
            torch.set_num_threads(self.descent.threads)

    @override
    def train_block(self, done: int, end: int) -> None:
        if self.lbfgs is not None:
            self._lbfgs_block(self.lbfgs, done, end)
            return
        parameters = [self.network.features.value, *self.network.weights]
        before = [(x, x.detach().clone()) for x in (*parameters, *self._optimizer_state())]
        self._advance(end - done)
        # A torch optimiser steps all replicas; those that stand still, and those that have just diverged, go back.
        put_back = ~self.states.running | self.states.find_diverged(parameters, end)
        for x, earlier in before:
            x.data[put_back] = earlier[put_back]
        if self.is_check(end):
            assert self.descent is not None
            everyone = torch.arange(self.network.replicas, device=self.device)
            self.states.check(self.descent.norms(everyone), end)
            if self.stationary is not None:
                small = self.measures.largest_gradients() <= self.stationary
                self.states.mark(small & self.states.running, "converged", end)

    def _lbfgs_block(self, state: LBFGSState, done: int, end: int) -> None:
        decays = torch.cat([self.feature_decays[:, None], self.weight_decays], 1)
        assert isinstance(self.labels, Tensor)
        problem_of = partial(DUFMObjective, self.network, self.layout, self.labels, decays, self.loss_name)
        samples, tolerance = len(self.labels), self.stationary or 0.0
        EnsembleLBFGS(problem_of, samples, state, self.make_optimizer(), tolerance).advance(end - done)
        self.layout.scatter(state.get_buffer("x"), self.network)
        # What is stationary without outputs has arrived at zero: it is dead, as under gradient descent.
        with torch.no_grad():
            outputs = self.network(torch.arange(samples, device=self.device))
        silent = torch.linalg.vector_norm(outputs, dim=(1, 2)) <= NOTHING
        self.states.mark(silent & (state.get_buffer("code") == CONVERGED) & self.states.running, "dead", end)
        self.states.check_minimised(state.get_buffer("code"), end)

    def further_measures(self, measurement: Measurement) -> Measurement:
        """What the gradient and, at the last step, the Hessian say of the ensemble: see `FullBatchMeasures`."""
        return self.measures.further(int(self.gd_step))

    def is_trained_apart(self) -> bool:
        """Whether nothing that measuring sets for a while in this process is used while a block is trained.

        So it is with the engines on the CPU, whose threads are their own and which draw no random numbers; but with
        float64 Lightning changes torch's default dtype during a block, and that of every thread.
        """
        features, engine = self.network.features.value, self.descent is not None and self.gradient is None
        return engine and features.device.type == "cpu" and features.dtype == torch.float32

    def _advance(self, steps: int) -> None:
        assert self.descent is not None
        running = self.states.running.nonzero().flatten()
        if self.gradient is None:
            self.descent.advance(steps, self._momenta(), running)
        elif len(running):
            optimizer = self.raw_optimizer()
            for _ in range(steps):
                self.gradient()
                optimizer.step()

    def _momenta(self) -> list[Tensor]:
        """The momenta, where torch.optim.SGD keeps them; none without momentum."""
        optimizer = self.raw_optimizer()
        if not optimizer.param_groups[0].get("momentum"):
            return []
        momenta = []
        for parameter in (self.network.features.value, *self.network.weights):
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momenta.append(state["momentum_buffer"])
        return momenta

    def _optimizer_state(self) -> list[Tensor]:
        """What the optimiser keeps per entry of a parameter, replica by replica."""
        return [
            value
            for parameter, state in self.raw_optimizer().state.items()
            for value in state.values()
            if isinstance(value, Tensor) and value.shape == parameter.shape
        ]
