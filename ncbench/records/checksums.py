"""`checksums.json`: the SHA-256 of every checkpoint of a run, and what stands in for it where it is lost."""

import logging
import os
import zipfile
import zlib
from pathlib import Path

from ncbench.records.manifest import file_digest
from ncbench.records.schema import CHECKSUMS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT
from ncbench.records.small_files import read_json

__all__ = [
    "CheckpointError",
    "checksums_or_present",
    "checksums_or_why",
    "is_unchanged",
    "is_whole_archive",
    "read_checksums",
    "stamp",
]

_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """There are checkpoints, and none can be trusted."""


def read_checksums(checksums: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The digests in checksums.json: of the newest two, and of those that are kept, by their names."""
    try:
        content = read_json(checksums)
        newest, kept = content["sha256"], content.get("kept", {})
        lists = [newest, *kept.values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{checksums}: is missing or damaged") from error
    if not all(isinstance(listed, list) and all(isinstance(digest, str) for digest in listed) for listed in lists):
        raise CheckpointError(f"{checksums}: is missing or damaged")
    return newest, kept


def checksums_or_why(checksums: Path) -> tuple[list[str] | None, str]:
    """The digests of the newest two, or None and why there are none."""
    try:
        return read_checksums(checksums)[0], ""
    except CheckpointError as error:
        return None, str(error)


def checksums_or_present(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The digests in checksums.json; where they are lost those of the newest two files as they are, said in the log.

    The training that goes on made these two. What it kept before is unchecked from then on (`check_whole`).
    """
    try:
        return read_checksums(folder / CHECKSUMS)
    except CheckpointError as error:
        if any(folder.glob("*.ckpt")):
            _log.warning("%s: the newest checkpoints are listed as they are, kept ones are unchecked", error)
        newest = (folder / LAST_CHECKPOINT, folder / PREVIOUS_CHECKPOINT)
        return [file_digest(path) for path in newest if path.exists()], {}


def stamp(state: os.stat_result) -> dict[str, int]:
    """What checksums.json keeps under `last` of a newest checkpoint that was just written: its size and time."""
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def is_unchanged(folder: Path) -> bool:
    """Whether last.ckpt has the size and time that it was written with: a sign, for which it is not read, no proof.

    False where nothing tells of it, as in a copy that got times of its own, or after an earlier version.
    """
    try:
        return bool(read_json(folder / CHECKSUMS)["last"] == stamp(os.stat(folder / LAST_CHECKPOINT)))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def is_whole_archive(path: Path) -> bool:
    """Whether every file of the archive that torch has written has the checksum (CRC-32) that the archive says."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False
