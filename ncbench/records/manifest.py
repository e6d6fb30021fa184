"""`manifest.json`: the parts of a run's tables, each with its size and SHA-256, so that a record proves itself.

The manifest is written when parts have become final (`ncbench.records.compaction`), after they are on the disk. A part
that it lists and that is missing or another one is damage. A part that it does not list is one of the newest, which a
kill may leave behind. Records of earlier versions have no manifest: nothing proves them. The standard library alone.
"""

import functools
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ncbench.records.errors import DamagedError
from ncbench.records.schema import MANIFEST
from ncbench.records.whole_files import write_text

__all__ = ["Listed", "check_listed", "file_digest", "read_manifest", "write_manifest"]

VERSION = 1
_SETTLED = 2e9  # nanoseconds after which a change of a file is sure to change its time
REMEDY = "put a whole copy of it back, or delete the run's folder and train it again"


@dataclass(frozen=True)
class Listed:
    """What the manifest says of a part: its size and digest, how many rows it has, and of how many measurements."""

    bytes: int
    sha256: str
    rows: int
    measurements: int


def read_manifest(folder: Path) -> dict[str, Listed] | None:
    """The listed parts by their names below the run folder (`measures/part-....parquet`); None without a manifest.

    Raises DamagedError, a ValueError, where the manifest is not as it was written.
    """
    path = folder / MANIFEST
    try:
        content: Any = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise DamagedError(
                f"{path}: has version {content['version']}, which another version of ncbench has written"
            )
        if content["sha256"] != _own_digest(content["parts"]):
            raise ValueError("its own checksum is another")
        return {name: Listed(**entry) for name, entry in content["parts"].items()}
    except FileNotFoundError:
        return None
    except DamagedError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedError(
            f"{path}: is damaged ({error}); put a whole copy of it back, or delete it: then nothing proves the records"
        ) from None


def write_manifest(folder: Path, listed: Mapping[str, Listed]) -> None:
    """Replace the manifest. The parts that it lists have to be on the disk."""
    parts = {name: asdict(listed[name]) for name in sorted(listed)}
    content = {"version": VERSION, "sha256": _own_digest(parts), "parts": parts}
    write_text(folder / MANIFEST, json.dumps(content, indent=0))


def _own_digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_listed(paths: Iterable[Path], listed: Mapping[str, Listed] | None) -> None:
    """Raises DamagedError, naming the file, for the first of these parts that is not as the manifest says."""
    for path in paths:
        entry = (listed or {}).get(f"{path.parent.name}/{path.name}")
        if entry is None:
            continue
        size = path.stat().st_size
        if size != entry.bytes:
            raise DamagedError(f"{path}: is damaged ({size} bytes, not {entry.bytes}); {REMEDY}")
        if file_digest(path) != entry.sha256:
            raise DamagedError(f"{path}: is damaged (its checksum is another); {REMEDY}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits; a file that has not changed is read once in a process."""
    state = path.stat()
    if time.time_ns() - state.st_mtime_ns < _SETTLED:
        return _digest(path)
    return _known_digest(path, state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=100_000)
def _known_digest(path: Path, *_state: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
