"""Checkpoints that a kill cannot corrupt, and which of them a resumed run starts from (`usable_checkpoint`).

`last.ckpt` and `previous.ckpt` are the newest two; `epoch_10.ckpt` is one that was asked for, and stays.

A checkpoint is Lightning's own (weights and buffers, optimiser, loops) with the number of gradient steps,
`ncbench_step`.

Lightning writes through a temporary file in $TMPDIR and moves it; on another file system the move is a copy, and a
kill inside it destroys the old checkpoint with the new one. Here the temporary file lies beside its target, the
previous checkpoint is kept, and the SHA-256 of each stands in `checksums.json` before it gets its name. Beside them
stand size and time of the newest, by which a sweep tells that it need not read it (`is_unchanged`).
"""

import hashlib
import json
import logging
import mmap
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from ncbench.records.checksums import (
    CheckpointError,
    checksums_or_present,
    checksums_or_why,
    is_whole_archive,
    read_checksums,
    stamp,
)
from ncbench.records.manifest import file_digest
from ncbench.records.schema import CHECKSUMS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT
from ncbench.records.whole_files import make_folder, refuse_link, replacing, write_text

__all__ = [
    "AtomicCheckpointIO",
    "check_whole",
    "current_step",
    "usable_checkpoint",
]

_log = logging.getLogger(__name__)

Fits = Callable[[dict[str, torch.Tensor]], object]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically; of DIR/last.ckpt the one before is kept as DIR/previous.ckpt.

    NumPy's numbers, as a schedule that calls NumPy leaves them in the optimiser's rates, are written as Python's. What
    else torch would refuse to read (`weights_only`) is a CheckpointError at the first checkpoint.
    """

    _readable = False

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        make_folder(target.parent)
        with replacing(target, lasting=True) as handle:
            _save(_with_plain_numbers(checkpoint), handle)
            handle.flush()
            self._read_again(handle)
            os.fsync(handle.fileno())  # no list is ahead of its files
            # The checksums first: whichever of the two files a kill leaves as last.ckpt, its digest is listed.
            newest, kept = checksums_or_present(target.parent)
            before = newest if target.name == LAST_CHECKPOINT else kept.get(target.name, [])
            previous = target.parent / PREVIOUS_CHECKPOINT
            # After a kill between the last two lines below there is the previous one alone.
            other = previous if target.name == LAST_CHECKPOINT and not target.exists() else target
            there = [file_digest(other)] if other.exists() else []
            # A file that is damaged by now must not become a whole one.
            written = hashlib.sha256(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)).hexdigest()
            digests = [written, *(digest for digest in there if not before or digest in before)]
            last = {}
            if target.name == LAST_CHECKPOINT:
                newest, last = digests, {"last": stamp(os.fstat(handle.fileno()))}
            else:
                kept = {**kept, target.name: digests}
            write_text(target.parent / CHECKSUMS, json.dumps({"sha256": newest, "kept": kept, **last}))
            if target.exists() and target.name == LAST_CHECKPOINT:
                # For a moment there is the previous one alone: never are both names those of one file.
                os.replace(target, previous)

    def _read_again(self, handle: BinaryIO) -> None:
        """CheckpointError where the first checkpoint holds what torch does not read again, before more is trained."""
        if self._readable:
            return
        try:
            handle.seek(0)
            torch.load(handle, map_location="meta", weights_only=True)  # without the numbers themselves
            handle.seek(0, os.SEEK_END)
        except pickle.UnpicklingError as error:
            kind = re.search(r"GLOBAL (\S+)", str(error))
            what = f"the type {kind[1]}" if kind else "a type that is not known"
            raise CheckpointError(
                f"no checkpoint can be kept: the state of network, optimiser or scheduler has a value of {what}, which "
                "torch does not read again; use tensors and plain numbers"
            ) from None
        self._readable = True


def current_step(trainer: pl.Trainer) -> int:
    """Gradient steps taken: those the module counts itself, where it does, or Lightning's."""
    counted_by_module = getattr(trainer.lightning_module, "gd_step", None)
    return trainer.global_step if counted_by_module is None else int(counted_by_module)


def usable_checkpoint(folder: str | os.PathLike[str], fits: Fits | None = None) -> tuple[Path, int] | None:
    """The newest checkpoint in `folder` that can be trusted, and its step; None where there is no checkpoint at all.

    A checkpoint is trusted if its SHA-256 is listed, torch can load it, and `fits` (such as a module's
    load_state_dict) takes its weights. Where the list is lost the checksums inside the file decide. Where that is so,
    or the newest is passed over, the log says so. Raises CheckpointError (one line) where there are checkpoints and
    none can be trusted, BadRecordsError where the folder is a link. Temporary files of a kill are removed.
    """
    directory = Path(folder)
    refuse_link(directory)
    for left in directory.glob(".*.tmp"):
        left.unlink()
    paths = [path for path in (directory / LAST_CHECKPOINT, directory / PREVIOUS_CHECKPOINT) if path.exists()]
    if not paths:
        return None
    try:
        listed, lost = checksums_or_why(directory / CHECKSUMS)
        refused: list[str] = []
        for path in paths:
            try:
                step = _step_of(path, listed, fits)
            except CheckpointError as error:
                refused.append(str(error))
                continue
            if lost:
                _log.warning("%s; %s is whole by the checksums inside it", lost, path.name)
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
        newest, kept = read_checksums(path.parent / CHECKSUMS)
    except CheckpointError as error:
        _log.warning("%s: is unchecked, it may be damaged (%s)", path, error)
        return
    listed = kept.get(path.name, newest if path.name in (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT) else [])
    if not listed:
        _log.warning("%s: is unchecked, it may be damaged (%s does not name it)", path, path.parent / CHECKSUMS)
    elif file_digest(path) not in listed:
        raise CheckpointError(f"{path}: is damaged (its checksum is another)")


def _with_plain_numbers(value: Any) -> Any:
    """The same nested value with NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, list, tuple):
        entries = [_with_plain_numbers(entry) for entry in (value.values() if isinstance(value, dict) else value)]
        return dict(zip(value, entries, strict=True)) if isinstance(value, dict) else type(value)(entries)
    return value


def _save(checkpoint: dict[str, Any], handle: BinaryIO) -> None:
    """torch.save, of which a full disk is not hidden behind what torch's archive says when it is closed too early."""
    try:
        torch.save(checkpoint, handle)
    except RuntimeError as error:
        first: BaseException | None = error
        while first is not None and not isinstance(first, OSError):
            first = first.__context__
        raise first or error from None


def _step_of(path: Path, listed: list[str] | None, fits: Fits | None) -> int:
    """The step of a checkpoint that can be trusted; without a list (None) by the checksums inside it."""
    if not (is_whole_archive(path) if listed is None else file_digest(path) in listed):
        raise CheckpointError(f"{path}: is damaged (its checksum is another)")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        step = int(loaded["ncbench_step"])
        if fits is not None:
            fits(loaded["state_dict"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of this run's network") from error
    return step
