"""Full-batch gradient descent on a stack of small networks, a block of steps per training step.

One Lightning epoch is one block: the steps up to the next measurement, checkpoint or refresh of the bar. A Lightning
training step of a single gradient step would cost more than the step itself, by a factor of three to ten.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from ncbench.models.replica import DUFM, FullBatchGradient
from ncbench.training.objectives import Decayed, PaperObjective, per_matrix

__all__ = ["FullBatchModule"]

BLOCK = 1000  # steps after which the bar moves and a checkpoint may be written


class FullBatchModule(pl.LightningModule):
    """Minimises fit + sum_l lam_l/2 ||W_l||^2 + lam_H/2 ||H_1||^2 for R networks at once by gradient descent.

    `weight_decay` is one number or one per matrix, `replicated` maps weight_decay / feature_decay to one number per
    replica and replaces them. `measure_steps` are the steps at which a block has to end. `gd_step` counts gradient
    steps: Lightning's own counters know nothing of them.
    """

    gd_step: Tensor

    def __init__(
        self,
        *,
        loss: str,
        weight_decay: float | Sequence[float],
        feature_decay: float | None,
        network: DUFM,
        labels: Tensor,
        optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        steps: int,
        measure_steps: Sequence[int] = (0,),
        replicated: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if feature_decay is None:
            raise ValueError("objective.feature_decay=null: free features need a decay >= 0")
        self.automatic_optimization = False
        self.network, self.loss_name, self.make_optimizer = network, loss, optimizer
        R, given = network.replicas, replicated or {}
        one_per_matrix = torch.tensor(per_matrix(weight_decay, network.depth), dtype=torch.float64)
        self.weight_decays = one_per_matrix.expand(R, network.depth)
        if "weight_decay" in given:
            of_replicas = torch.tensor(list(given["weight_decay"]), dtype=torch.float64)
            self.weight_decays = of_replicas[:, None].expand(R, network.depth)
        self.feature_decays = torch.tensor(list(given.get("feature_decay", [feature_decay] * R)), dtype=torch.float64)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("gd_step", torch.zeros((), dtype=torch.int64))
        decayed = [
            Decayed(f"head.{l}.linear.weight", W, self.weight_decays[:, l - 1])
            for l, W in enumerate(network.weights, 1)
        ]
        self.objective = PaperObjective(loss, decayed, self.feature_decays, len(labels))
        self.ends = sorted({*measure_steps, *range(0, steps, BLOCK), steps} - {0})
        self.gradient: FullBatchGradient | None = None

    def blocks_until(self, step: int) -> int:
        """How many blocks end at or before this gradient step."""
        return sum(end <= step for end in self.ends)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    @override
    def on_train_start(self) -> None:
        assert isinstance(self.labels, Tensor)
        self.gradient = FullBatchGradient(
            self.network,
            self.labels,
            loss=self.loss_name,
            weight_decays=self.weight_decays,
            feature_decays=self.feature_decays,
        )

    @override
    def training_step(self, batch: Any, batch_idx: int) -> None:
        assert self.gradient is not None
        wrapped: Any = self.optimizers()
        raw = wrapped.optimizer  # Lightning's wrapper costs as much as a step
        done = int(self.gd_step)
        end = next(end for end in self.ends if end > done)
        for _ in range(end - done):
            self.gradient()
            raw.step()
        self.gd_step.fill_(end)

    @override
    def train_dataloader(self) -> range:
        return range(1)  # one block per epoch; the data are the free features
