"""What becomes of the measurements of a Lightning training: a table, a run folder, a sink; and through checkpoints."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from ncbench.measure.handover import Handover
from ncbench.measure.history import History, Sink
from ncbench.measure.own_training import device_of, training_values
from ncbench.measure.trainer_state import steps_taken

if TYPE_CHECKING:
    import pandas as pd

    from ncbench.measure.run_record import RunRecord

__all__ = ["Recording"]

_log = logging.getLogger(__name__)

STATE = "ncbench_measures"  # of a checkpoint: the values of every callback


class Recording(pl.Callback):
    """A callback with a history of measurements: where they go is `sink`, or `folder`, or neither (a table alone).

    A checkpoint carries the values, so that the table of a resumed training has those from before it; spectra and
    matrices are in the folder. Of a training in processes that the strategy starts (ddp_spawn, ddp_fork, ddp_notebook),
    `table` and `write_run` have what process 0 measured. Raises ValueError where both `sink` and `folder` are given.
    """

    def __init__(self, sink: Sink | None, folder: str | os.PathLike[str] | None) -> None:
        if sink is not None and folder is not None:
            raise ValueError(f"folder={folder}: measurements go to a sink already")
        self.sink, self.folder = sink, None if folder is None else Path(folder)
        self.history, self.handover = History(sink), Handover()
        self._values: dict[str, Any] = {}

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.sink is None:
            checkpoint.setdefault(STATE, {})[self._position(trainer)] = self.history.state(matrices=False)

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint.get(STATE, {}).get(self._position(trainer))
        if self.sink is None and state is not None and trainer.state.fn == "fit" and trainer.is_global_zero:
            self.history = History.of_state(state)

    def begin_history(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        network: nn.Module,
        measured: dict[str, Any],
        fresh: bool,
    ) -> "RunRecord | None":
        """A new table where the training begins (`fresh`); the record of its folder, if it may be written there.

        `measured` are the arguments of `own_training.network_values` beside the network.
        """
        if fresh and len(self.history):
            _log.warning(
                "%s begins a new training; its table no longer has the %d measurements of the last one (read table() "
                "after each training, or give each Trainer a callback of its own)",
                type(self).__name__,
                len(self.history),
            )
        if fresh:
            self.history = History(self.sink)
        if self.sink is not None:
            return None
        self._values = training_values(trainer, pl_module, network, **measured)
        if self.folder is None or getattr(trainer, "fast_dev_run", False):  # a trial, which leaves nothing behind
            return None
        from ncbench.measure.run_record import RunRecord  # with pyarrow, which only a folder needs

        record = RunRecord(self.folder, self._values, recorded_by=type(self).__name__, device=device_of(network))
        record.check(steps_taken(trainer), alone=trainer.is_global_zero)
        return record

    def end_history(self, trainer: pl.Trainer, status: str, error: str | None = None) -> None:
        """The last measurement has been made: its matrices stay, and who waits for it has it."""
        self.history.finish()
        if self.history.record is not None:
            self.history.record.close(status, error)
        if trainer.is_global_zero and self.sink is None:
            self.handover.leave(trainer, [self._values, self.history.state(matrices=True)])

    def table(self) -> "pd.DataFrame":
        """Every value measured so far, one row each (empty where a sink takes them)."""
        self._collect()
        return self.history.table()

    def write_run(self, folder: str | os.PathLike[str]) -> None:
        """Write what has been measured as a run folder; ValueError where that is nothing, or where one is there."""
        self._collect()
        self.history.write_run(folder, self._values, type(self).__name__)

    def _position(self, trainer: pl.Trainer) -> int:
        """Which of the trainer's callbacks of this kind this is: a checkpoint has the values of each."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        return [callback for callback in callbacks if isinstance(callback, Recording)].index(self)

    def _collect(self) -> None:
        """Take over what was measured in a process that the strategy has started."""
        left = self.handover.collect()
        if left is not None:
            self._values, self.history = left[0], History.of_state(left[1])
