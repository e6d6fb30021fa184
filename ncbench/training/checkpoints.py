"""Checkpoints that a kill cannot corrupt, and which of them a resumed run starts from (`usable_checkpoint`).

`last.ckpt` and `previous.ckpt` are the newest two; `epoch_10.ckpt` is one that was asked for, and stays.

A checkpoint is Lightning's own (weights and buffers, optimiser, loops) with the number of gradient steps,
`ncbench_step`.

Lightning writes through a temporary file in $TMPDIR and moves it; on another file system the move is a copy, and a
kill inside it destroys the old checkpoint with the new one. Here the temporary file lies beside its target, the
previous checkpoint is kept, and the SHA-256 of each stands in `checksums.json` before it gets its name.
"""

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from ncbench.records.folder import completed, write_text
from ncbench.records.schema import CHECKSUMS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT

__all__ = [
    "AtomicCheckpointIO",
    "CheckpointError",
    "check_whole",
    "current_step",
    "usable_checkpoint",
]

_log = logging.getLogger(__name__)

Fits = Callable[[dict[str, torch.Tensor]], object]


class CheckpointError(ValueError):
    """There are checkpoints, and none can be trusted."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically; of DIR/last.ckpt the one before is kept as DIR/previous.ckpt."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name}.tmp"
        with completed(temporary, target):
            with open(temporary, "wb") as handle:
                torch.save(checkpoint, handle)
                handle.flush()
                os.fsync(handle.fileno())
            # The checksums first: whichever of the two files a kill leaves as last.ckpt, its digest is listed.
            newest, kept = _listed_or_found(target.parent)
            before = newest if target.name == LAST_CHECKPOINT else kept.get(target.name, [])
            previous = target.parent / PREVIOUS_CHECKPOINT
            # After a kill between the last two lines below there is the previous one alone.
            other = previous if target.name == LAST_CHECKPOINT and not target.exists() else target
            there = [_digest(other)] if other.exists() else []
            # A file that is damaged by now must not become a whole one.
            digests = [_digest(temporary), *(digest for digest in there if not before or digest in before)]
            if target.name == LAST_CHECKPOINT:
                newest = digests
            else:
                kept = {**kept, target.name: digests}
            write_text(target.parent / CHECKSUMS, json.dumps({"sha256": newest, "kept": kept}))
            if target.exists() and target.name == LAST_CHECKPOINT:
                # For a moment there is the previous one alone: never are both names those of one file.
                os.replace(target, previous)


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
        listed, _ = _listed(directory / CHECKSUMS)
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


def check_whole(path: Path) -> None:
    """CheckpointError (one line) where a checkpoint is not as it was written.

    Where nothing says how it was written (checksums.json is missing or damaged, or does not name it) the log says that
    it is unchecked.
    """
    try:
        newest, kept = _listed(path.parent / CHECKSUMS)
    except CheckpointError as error:
        _log.warning("%s: is unchecked, it may be damaged (%s)", path, error)
        return
    listed = kept.get(path.name, newest if path.name in (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT) else [])
    if not listed:
        _log.warning("%s: is unchecked, it may be damaged (%s does not name it)", path, path.parent / CHECKSUMS)
    elif _digest(path) not in listed:
        raise CheckpointError(f"{path}: is damaged (its checksum is another)")


def _listed_or_found(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The digests in checksums.json; where they are lost those of the newest two files as they are, said in the log.

    The training that goes on made these two. What it kept before is unchecked from then on (`check_whole`).
    """
    try:
        return _listed(folder / CHECKSUMS)
    except CheckpointError as error:
        if any(folder.glob("*.ckpt")):
            _log.warning("%s: the newest checkpoints are listed as they are, kept ones are unchecked", error)
        newest = (folder / LAST_CHECKPOINT, folder / PREVIOUS_CHECKPOINT)
        return [_digest(path) for path in newest if path.exists()], {}


def _listed(checksums: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The digests in checksums.json: of the newest two, and of those that are kept, by their names."""
    try:
        content = json.loads(checksums.read_text())
        newest, kept = content["sha256"], content.get("kept", {})
        lists = [newest, *kept.values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{checksums}: is missing or damaged") from error
    if not all(isinstance(listed, list) and all(isinstance(digest, str) for digest in listed) for listed in lists):
        raise CheckpointError(f"{checksums}: is missing or damaged")
    return newest, kept


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
