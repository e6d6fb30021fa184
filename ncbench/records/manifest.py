"""`manifest.json`: the files of a record with their SHA-256, so that a record proves itself.

Of the parts of the tables it has size, digest and rows. It is written when parts have become final
(`ncbench.records.compaction`), after they are on the disk. A part that it lists and that is missing or another one is
damage. A part that it does not list is one of the newest, which a kill may leave behind. Of the small files it has the
digests that each may have (`ncbench.records.proven_files`). Records of earlier versions have no manifest, or one
without the small files: nothing proves what is not listed. The standard library and yaml alone.
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
from ncbench.records.small_files import open_regular, read_json
from ncbench.records.whole_files import write_text

__all__ = [
    "Digests",
    "Listed",
    "check_listed",
    "file_digest",
    "read_both",
    "read_manifest",
    "read_small_files",
    "write_manifest",
]

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


_KINDS = {"bytes": int, "sha256": str, "rows": int, "measurements": int}  # of what a part's entry says
Digests = dict[str, list[str]]  # by the name of a small file below the run folder: one of these is its SHA-256


def read_manifest(folder: Path) -> dict[str, Listed] | None:
    """The listed parts by their names below the run folder (`measures/part-....parquet`); None without a manifest.

    Raises DamagedError, a ValueError, where the manifest is not as it was written.
    """
    content = read_both(folder)
    return None if content is None else content[0]


def read_small_files(folder: Path) -> Digests | None:
    """The digests of the listed small files; None without a manifest. Raises as `read_manifest`."""
    content = read_both(folder)
    return None if content is None else content[1]


def read_both(folder: Path) -> tuple[dict[str, Listed], Digests] | None:
    """The listed parts and the digests of the small files, read at once; None without a manifest.

    Raises as `read_manifest`.
    """
    path = folder / MANIFEST
    try:
        content: Any = read_json(path)
        if content["version"] != VERSION:
            raise DamagedError(
                f"{path}: has version {content['version']}, which another version of ncbench has written"
            )
        small = content.get("small_files", {"sha256": _own_digest({}), "files": {}})  # of an earlier version
        if content["sha256"] != _own_digest(content["parts"]) or small["sha256"] != _own_digest(small["files"]):
            raise ValueError("its own checksum is another")
        parts = {name: Listed(**entry) for name, entry in content["parts"].items()}
        for values in small["files"].values():
            if not (isinstance(values, list) and all(isinstance(digest, str) for digest in values)):
                raise TypeError
        if not all(type(value) is _KINDS[key] for listed in parts.values() for key, value in asdict(listed).items()):
            raise TypeError
        return parts, small["files"]
    except FileNotFoundError:
        return None
    except DamagedError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # Python's own words on what is of another type say nothing to the user.
        why = str(error).removeprefix(f"{path} ") if isinstance(error, ValueError) else "no manifest has this form"
        raise DamagedError(
            f"{path}: is damaged ({why}); put a whole copy of it back, or delete it: then nothing proves the records"
        ) from None


def write_manifest(folder: Path, listed: Mapping[str, Listed], small_files: Mapping[str, list[str]]) -> None:
    """Replace the manifest. The parts that it lists have to be on the disk."""
    parts = {name: asdict(listed[name]) for name in sorted(listed)}
    files = {name: small_files[name] for name in sorted(small_files)}
    # With a digest of their own: an earlier version, which takes that of the parts alone, reads this manifest, too.
    # What it writes anew of these files it does not list, so that a changed one is called damaged.
    small = {"sha256": _own_digest(files), "files": files}
    content = {"version": VERSION, "sha256": _own_digest(parts), "parts": parts, "small_files": small}
    write_text(folder / MANIFEST, json.dumps(content, indent=0))


def _own_digest(listed: Any) -> str:
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


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
    """SHA-256 of a file as 64 hex digits; a file that has not changed is read once in a process.

    Raises BadRecordsError where it is no regular file: a pipe is not waited for.
    """
    state = path.stat()
    if time.time_ns() - state.st_mtime_ns < _SETTLED:
        return _digest(path)
    return _known_digest(path, state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=100_000)
def _known_digest(path: Path, *_state: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
