"""Checkpoints that a kill cannot corrupt, and which of them a resumed run starts from (`usable_checkpoint`).

A checkpoint is Lightning's own (weights and buffers, optimiser, loops) with the number of gradient steps,
`ncbench_step`.

Lightning writes through a temporary file in $TMPDIR and moves it; on another file system the move is a copy, and a
kill inside it destroys the old checkpoint with the new one. Here the temporary file lies beside its target, the
previous checkpoint is kept, and the SHA-256 of both stands in `checksums.json` before either gets its name.
"""

import hashlib
import json
import logging
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from ncbench.records.folder import write_text
from ncbench.records.schema import CHECKSUMS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT

__all__ = ["AtomicCheckpointIO", "CheckpointError", "SaveLast", "current_step", "usable_checkpoint"]

_log = logging.getLogger(__name__)

Fits = Callable[[dict[str, torch.Tensor]], object]


class CheckpointError(ValueError):
    """There are checkpoints, and none can be trusted."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes DIR/last.ckpt atomically and keeps the one before as DIR/previous.ckpt."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name}.tmp"
        with open(temporary, "wb") as handle:
            torch.save(checkpoint, handle)
            handle.flush()
            os.fsync(handle.fileno())
        # The checksums first: whichever of the two files a kill leaves as last.ckpt, its digest is listed.
        digests = [_digest(file) for file in (temporary, target) if file.exists()]
        write_text(target.parent / CHECKSUMS, json.dumps({"sha256": digests}))
        if target.exists():
            link = target.parent / f".{PREVIOUS_CHECKPOINT}.tmp"
            link.unlink(missing_ok=True)
            os.link(target, link)
            os.replace(link, target.parent / PREVIOUS_CHECKPOINT)
        os.replace(temporary, target)


class SaveLast(Checkpoint):
    """Saves at ends of epochs, at most once in `seconds`, and always at the last.

    Lightning runs callbacks of this base class after all others, so a checkpoint never precedes the measurements of
    its own epoch. `on_save` adds `step` to the checkpoint: the records kept on resume are those up to it.
    """

    def __init__(self, folder: str | os.PathLike[str], seconds: float) -> None:
        self.path, self.seconds = Path(folder) / LAST_CHECKPOINT, seconds
        self._saved = time.monotonic()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.monotonic() - self._saved >= self.seconds
        if trainer.world_size > 1:  # all save or none, by the clock of the first
            due = trainer.strategy.broadcast(due)
        if due:
            trainer.save_checkpoint(self.path)
            self._saved = time.monotonic()

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["ncbench_step"] = current_step(trainer)


def current_step(trainer: pl.Trainer) -> int:
    """Gradient steps taken: those the module counts itself, where it does, or Lightning's."""
    counted_by_module = getattr(trainer.lightning_module, "gd_step", None)
    return trainer.global_step if counted_by_module is None else int(counted_by_module)


def usable_checkpoint(folder: str | os.PathLike[str], fits: Fits | None = None) -> tuple[Path, int] | None:
    """The newest checkpoint in `folder` that can be trusted, and its step; None where there is no checkpoint at all.

    A checkpoint is trusted if its SHA-256 is listed, torch can load it, and `fits` (such as a module's
    load_state_dict) takes its weights. Where the newest is passed over the log says so. Raises CheckpointError (one
    line) where there are checkpoints and none can be trusted. Temporary files that a kill left behind are removed.
    """
    directory = Path(folder)
    for left in directory.glob(".*.tmp"):
        left.unlink()
    paths = [path for path in (directory / LAST_CHECKPOINT, directory / PREVIOUS_CHECKPOINT) if path.exists()]
    if not paths:
        return None
    try:
        listed = _listed(directory / CHECKSUMS)
        refused: list[str] = []
        for path in paths:
            try:
                step = _step_of(path, listed, fits)
            except CheckpointError as error:
                refused.append(str(error))
                continue
            if refused:
                _log.warning("%s; training goes on from %s, step %d", refused[0], path.name, step)
            return path, step
        raise CheckpointError("; ".join(refused))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete {directory} to train from the start") from error


def _listed(checksums: Path) -> list[str]:
    """The digests in checksums.json."""
    try:
        listed = json.loads(checksums.read_text())["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{checksums}: is missing or damaged") from error
    if not (isinstance(listed, list) and all(isinstance(digest, str) for digest in listed)):
        raise CheckpointError(f"{checksums}: is missing or damaged")
    return listed


def _step_of(path: Path, listed: list[str], fits: Fits | None) -> int:
    """The step of a checkpoint that can be trusted."""
    if _digest(path) not in listed:
        raise CheckpointError(f"{path}: is damaged (its checksum is another)")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        step = int(loaded["ncbench_step"])
        if fits is not None:
            fits(loaded["state_dict"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of this run's network") from error
    return step


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
