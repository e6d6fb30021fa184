"""Training that left the finite numbers ends, and says where."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["DivergedError", "StopDiverged"]


class DivergedError(RuntimeError):
    """The loss or a weight is not finite; of an ensemble: every replica has diverged."""


class StopDiverged(pl.Callback):
    """Raises `DivergedError` at the end of the epoch (block) in which training diverged.

    It belongs in front of the callbacks that record and save, so that neither sees the epoch: the last checkpoint is
    one of finite weights. The loss of every step stays on its device and is looked at once per epoch. An ensemble goes
    on while one replica is left (`ReplicaStates`).
    """

    def __init__(self) -> None:
        self._first: tuple[Tensor, Tensor] | None = None  # step and value of the first loss that is not finite

    @override
    def state_dict(self) -> dict[str, Any]:  # of a checkpoint within an epoch
        return {} if self._first is None else {"first": self._first}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first = state_dict.get("first")

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):  # a block of an ensemble
            return
        loss = loss.detach()
        first = _on(self._first, loss.device)
        step, value = first or (torch.full_like(loss, -1, dtype=torch.int64), torch.zeros_like(loss))
        new = ~torch.isfinite(loss) & (step < 0)
        self._first = torch.where(new, trainer.global_step, step), torch.where(new, loss, value)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        states = getattr(pl_module, "states", None)
        why = _of_network(self._first, trainer, pl_module) if states is None else _of_ensemble(states)
        self._first = None
        # Under several processes each has losses of its own, and all of them have to stop.
        if trainer.strategy.reduce_boolean_decision(why is not None, all=False):
            raise DivergedError(f"diverged: {why or 'another process has a loss that is not finite'}")


def _on(first: tuple[Tensor, Tensor] | None, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """On the device of the losses: from a checkpoint it comes on the CPU."""
    return None if first is None else (first[0].to(device), first[1].to(device))


def _of_network(first: tuple[Tensor, Tensor] | None, trainer: pl.Trainer, module: pl.LightningModule) -> str | None:
    """Which number of the network is not finite; None where all are."""
    at = f"(epoch {trainer.current_epoch + 1})"
    if first is not None and int(first[0]) >= 0:
        return f"the loss is {float(first[1])} at step {int(first[0])} {at}"
    state = {name: x for name, x in module.state_dict().items() if x.is_floating_point()}
    if state and not bool(torch.stack([torch.isfinite(x).all() for x in state.values()]).all()):
        name = next(name for name, x in state.items() if not bool(torch.isfinite(x).all()))
        return f"{name} is not finite after step {trainer.global_step} {at}"
    return None


def _of_ensemble(states: Any) -> str | None:
    """That all replicas have diverged, and when the last of them did; None where one has not."""
    diverged = states.summary()["diverged"]
    if len(diverged) < len(states.code):
        return None
    last = max(entry["step"] for entry in diverged)
    return f"every replica ({len(diverged)} of {len(diverged)}), the last one in the block up to step {last}"
