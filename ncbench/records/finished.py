"""Whether a finished run is still all there, as it was written: its configuration, its records, its last weights."""

import logging
from pathlib import Path

from ncbench.records.checksums import checksums_or_why, is_unchanged
from ncbench.records.errors import DamagedError
from ncbench.records.manifest import REMEDY, file_digest
from ncbench.records.parts import proven_parts, without_proof
from ncbench.records.proven_files import check_small_files
from ncbench.records.schema import (
    CHECKPOINTS,
    CHECKSUMS,
    CONFIG,
    LAST_CHECKPOINT,
    MANIFEST,
    REFERENCES,
    REPLICAS,
    TABLES,
)

__all__ = ["check_finished", "check_records"]

_log = logging.getLogger(__name__)


def check_finished(folder: Path, *, quick: bool = False) -> None:
    """DamagedError of one line, naming the file, where a finished run lacks a piece or one is not as it was written.

    `quick`: the last checkpoint is read only where its size or time is not that of its writing (a GiB takes a second).
    A checkpoint that checksums.json does not tell of, as where that list is lost, is left to who reads it.
    Where no manifest proves the records, as of a run of an earlier version, the log says so.
    """
    for piece in (CONFIG, REPLICAS, REFERENCES, f"{CHECKPOINTS}/{LAST_CHECKPOINT}"):
        if not (folder / piece).is_file():
            raise DamagedError(f"{folder / piece}: is missing, though the run is finished; {REMEDY}")
    last = folder / CHECKPOINTS / LAST_CHECKPOINT
    listed, _ = checksums_or_why(folder / CHECKPOINTS / CHECKSUMS)
    taken_as_it_is = quick and is_unchanged(folder / CHECKPOINTS)
    if listed and not taken_as_it_is and file_digest(last) not in listed:
        raise DamagedError(f"{last}: is damaged (its checksum is another); {REMEDY}")
    if not check_records(folder):
        raise DamagedError(f"{folder / 'measures'}: holds no records, though the run is finished; {REMEDY}")


def check_records(folder: Path) -> bool:
    """DamagedError of one line where a file of the record is not as it was written; whether there are any measures.

    Where no manifest proves the records the log says so.
    """
    check_small_files(folder)
    found = {table: proven_parts(folder, table) for table in TABLES}
    if without_proof(folder):
        _log.warning("%s: nothing proves that these records are as they were written (no %s)", folder, MANIFEST)
    return bool(found["measures"])
