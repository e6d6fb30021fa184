"""When a run saves its checkpoints: the newest two for going on, and those that were asked for."""

import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from typing_extensions import override

from ncbench.records.schema import KEPT_CHECKPOINT, LAST_CHECKPOINT
from ncbench.training.checkpoints import current_step

__all__ = ["KeepEpochs", "SaveLast"]

_log = logging.getLogger(__name__)


class SaveLast(Checkpoint):
    """Saves at ends of epochs, at most once in `seconds`, and always at the last.

    A process that is killed sooner gets on all the same: its first checkpoint comes FIRST seconds after it began, and
    then the time between two doubles up to `seconds`, as far as saving takes at most SHARE of it. Networks in
    mini-batches are saved within an epoch too, every `seconds` and by the same share, but under several processes not.
    Where `asked` says so a checkpoint is saved at once, that is after the batch or the block, and training is left
    (SystemExit). `check` is called before anything is saved, and may raise; then `before` where this process
    is the one that records, so that the records are on the disk sooner than the checkpoint.

    Lightning runs callbacks of this base class after all others, so a checkpoint never precedes the measurements of
    its own epoch. `on_save` adds `step` to the checkpoint: the records kept on resume are those up to it.
    """

    FIRST, SHARE = 0.125, 0.05
    WITHIN = 1.0  # seconds: an epoch that is shorter is not interrupted by a checkpoint

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float,
        before: Callable[[], object] = lambda: None,
        asked: Callable[[], bool] = lambda: False,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.path, self.seconds = Path(folder) / LAST_CHECKPOINT, seconds
        self.before, self.asked, self.check = before, asked, check
        self._began = self._saved = time.monotonic()
        self._took = 0.0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._saved = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch or trainer.world_size > 1 or not pl_module.automatic_optimization:
            return
        asked, since = self.asked(), time.monotonic() - self._saved
        if (asked or since >= max(self.seconds, self.WITHIN, self._took / self.SHARE)) and _is_finite(pl_module):
            self._save(trainer)
        if asked:
            raise SystemExit(1)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last, asked = trainer.current_epoch + 1 == trainer.max_epochs, self.asked()
        now = time.monotonic()
        early = max(self.FIRST, self._saved - self._began, self._took / self.SHARE)
        due = last or asked or now - self._saved >= min(self.seconds, early)
        if trainer.world_size > 1:  # all save or none, by the clock of the first
            due = trainer.strategy.broadcast(due)
        if due:
            self._save(trainer)
        if asked and not last:
            raise SystemExit(1)

    def _save(self, trainer: pl.Trainer) -> None:
        self.check()
        began = time.monotonic()
        if trainer.is_global_zero:
            self.before()
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()
        self._took = self._saved - began

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["ncbench_step"] = current_step(trainer)


class KeepEpochs(Checkpoint):
    """Saves DIR/epoch_N.ckpt after N finished epochs, for every N that is asked for; 0: before training.

    It belongs in front of `SaveLast`: a run that is killed between the two resumes before N and saves N again. Where a
    resumed run has passed an N of which there is no checkpoint, the log says so. `check` is called before anything is
    saved, and may raise.
    """

    def __init__(
        self, folder: str | os.PathLike[str], epochs: Collection[int], check: Callable[[], object] = lambda: None
    ) -> None:
        self.folder, self.epochs, self.check = Path(folder), sorted(epochs), check

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, finished=_finished(trainer), first=True)
        for epoch in self.epochs:
            if epoch <= _finished(trainer) and not self._path(epoch).exists():
                _log.warning("trainer.keep_checkpoints: epoch %d has passed, so no checkpoint of it is kept", epoch)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, finished=_finished(trainer), first=False)

    def _save(self, trainer: pl.Trainer, finished: int, first: bool) -> None:
        begins = first and current_step(trainer) == 0  # and is not resumed within its first epoch
        if finished in self.epochs and (finished == 0) is first and begins is first:
            self.check()
            trainer.save_checkpoint(self._path(finished))

    def _path(self, epoch: int) -> Path:
        return self.folder / KEPT_CHECKPOINT.format(epoch)


def _is_finite(module: pl.LightningModule) -> bool:
    """Whether every weight is, so that the last checkpoint stays one that training can go on from."""
    return all(bool(torch.isfinite(x).all()) for x in module.state_dict().values() if x.is_floating_point())


def _finished(trainer: pl.Trainer) -> int:
    """Epochs finished, the one that is ending included."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(progress.processed)
