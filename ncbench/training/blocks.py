"""The base of the modules that train ensembles in full batch: a block of steps per Lightning epoch.

One Lightning epoch is one block: the steps up to the next measurement, checkpoint or refresh of the bar. A Lightning
training step of a single gradient step would cost more than the step itself, by a factor of three to ten.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["BlockModule"]

BLOCK = 1000  # steps after which the bar moves, a checkpoint may be written, and replicas are checked


class BlockModule(pl.LightningModule):
    """What the modules of ensembles share. `ends` are the steps at which blocks end: all of `ends_at`, and every BLOCK.

    `gd_step` counts steps: Lightning's own counters know nothing of them.
    """

    gd_step: Tensor

    def __init__(self, steps: int, ends_at: Sequence[int]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.steps = steps
        self.ends = sorted({*ends_at, *range(0, steps, BLOCK), steps} - {0})
        self.register_buffer("gd_step", torch.zeros((), dtype=torch.int64))

    def blocks_until(self, step: int) -> int:
        """How many blocks end at or before this step."""
        return bisect_right(self.ends, step)

    def is_check(self, end: int) -> bool:
        """Whether replicas are looked at after the block that ends here: a multiple of BLOCK, or the last step."""
        return end % BLOCK == 0 or end == self.steps

    def train_block(self, done: int, end: int) -> None:
        """The steps from `done` to `end`."""
        raise NotImplementedError

    @override
    def training_step(self, batch: Any, batch_idx: int) -> None:
        done = int(self.gd_step)
        end = next(end for end in self.ends if end > done)
        self.train_block(done, end)
        self.gd_step.fill_(end)

    @override
    def train_dataloader(self) -> range:
        return range(1)  # one block per epoch; the data are in the module

    def raw_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser without Lightning's wrapper, which costs as much as a step."""
        wrapped: Any = self.optimizers()
        raw: torch.optim.Optimizer = wrapped.optimizer
        return raw
