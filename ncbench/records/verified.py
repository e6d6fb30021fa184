"""On which processors a record was trained again with the same bits: `verified.json` beside it.

`python -m ncbench.sweep verify RECORD --note` writes it, with the runs whose weights were identical at all measured
steps; the pages of the record and the index read it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench.records.run_info import is_whole
from ncbench.records.small_files import BadRecordsError, read_json
from ncbench.records.whole_files import write_text

__all__ = ["VERIFIED", "note_verified", "processor", "said_of_verified"]

VERIFIED = "verified.json"


def processor(device: Mapping[str, Any]) -> str:
    """The machine of a run and the processor that its engine's code was compiled for: `AMD EPYC (code for znver5)`."""
    import llvmlite.binding

    target = os.environ.get("NUMBA_CPU_NAME") or llvmlite.binding.get_host_cpu_name()
    return f"{device.get('name') or 'an unknown machine'} (code for {target})"


def note_verified(record: Path, on: str, identical: Mapping[str, int]) -> None:
    """Add that these runs, measured steps by configuration hash, were identical on this processor."""
    path = record / VERIFIED
    known = _read(path)
    known[on] = {**known.get(on, {}), **identical}
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")


def said_of_verified(record: Path, hashes: list[str]) -> str:
    """A sentence on the runs with these hashes; "" where none of them was verified anywhere.

    BadRecordsError for a file that says something else.
    """
    found = []
    for on, runs in _read(record / VERIFIED).items():
        steps = [count for run, count in runs.items() if run in hashes]
        if steps:
            ran = f"{len(steps)} of {len(hashes)} runs, " if len(hashes) > 1 else ""
            found.append(f"{on} ({ran}{sum(steps)} measured steps)")
    return f"Trained again with the same bits on {'; '.join(found)}." if found else ""


def _read(path: Path) -> dict[str, dict[str, int]]:
    known: dict[str, dict[str, int]] = read_json(path) if path.is_file() else {}
    listed = known.values() if isinstance(known, dict) else [None]
    if not all(isinstance(runs, dict) and all(map(is_whole, runs.values())) for runs in listed):
        raise BadRecordsError(f"{path}: must map processors to runs and their measured steps")
    return known
