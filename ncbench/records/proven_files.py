"""The small files of a run folder that the manifest proves: a bit that is another is seen where the file is read.

A command may write them again: a resume, or one that puts other claims into a finished run. As with checkpoints the
digest comes first: before a file takes its place the manifest lists the digest of what is about to be written beside
that of what stands there. So a kill, or a power cut, at any moment leaves a file with a listed digest, and a reader who
comes between the two reads the manifest again before it speaks of damage. Where there is no manifest yet, the first
one lists the files as they are (`ncbench.records.compaction`); what a manifest does not list is read unproven. Only who
has the lock of the folder may write them: of two who list and write in turns the second would take the first's digest
out of the list.
"""

import hashlib
from pathlib import Path
from typing import Any

from ncbench.records.errors import DamagedError
from ncbench.records.manifest import Digests, read_both, read_small_files, write_manifest
from ncbench.records.schema import CONFIG, MANIFEST, OVERRIDES, REFERENCES, REPLICAS
from ncbench.records.small_files import MOST_JSON, MOST_YAML, BadRecordsError, read_bytes, read_yaml
from ncbench.records.whole_files import write_text

__all__ = [
    "PROVEN_FILES",
    "check_small_file",
    "check_small_files",
    "proven_yaml",
    "with_present",
    "write_proven",
]

PROVEN_FILES = (CONFIG, REPLICAS, REFERENCES, OVERRIDES)
_READINGS = 5  # of a file that is written anew again and again
_REMEDY = f"put a whole copy of it back, or, if you changed it yourself, delete {MANIFEST}: then nothing proves the run"


def check_small_file(folder: Path, name: str) -> None:
    """DamagedError of one line, naming the file, where the manifest lists it and it is another one, or is missing.

    The overrides may be missing: copies and uploads leave out what is hidden. BadRecordsError where a listed file is no
    regular one, or larger than such a file can be.
    """
    path, why = folder / name, ""
    for _ in range(_READINGS):
        digests = (read_small_files(folder) or {}).get(name)
        if digests is None:
            return
        try:
            if _digest(path) in digests:
                return
            why = "is damaged (its checksum is another)"
        except (FileNotFoundError, NotADirectoryError):
            if name == OVERRIDES:
                return
            why = "is missing"
    raise DamagedError(f"{path}: {why}; {_REMEDY}")


def check_small_files(folder: Path) -> None:
    """`check_small_file` of every file that a manifest may list."""
    for name in PROVEN_FILES:
        check_small_file(folder, name)


def proven_yaml(folder: Path, name: str) -> Any:
    """The content of a YAML file of a run folder, None where there is none.

    Raises DamagedError where the manifest says that it is another one, and as `read_yaml`.
    """
    check_small_file(folder, name)
    return read_yaml(folder / name) if (folder / name).is_file() else None


def write_proven(folder: Path, name: str, text: str) -> None:
    """Replace a small file of a run folder, once the manifest, if there is one, lists what it will be.

    A manifest that is damaged is left as it is: who reads the folder is told.
    """
    try:
        found = read_both(folder)
    except DamagedError:
        found = None
    if found is not None:
        listed, known = found
        before = known.get(name, [])
        # A file that is damaged by now must not become a whole one.
        whole = [digest for digest in _digests_there(folder, name) if not before or digest in before]
        digests = list(dict.fromkeys([hashlib.sha256(text.encode("utf-8")).hexdigest(), *whole]))
        if digests != before:
            write_manifest(folder, listed, {**known, name: digests})
    write_text(folder / name, text)


def with_present(folder: Path, known: Digests) -> Digests:
    """The known digests, and those of the files that are there and not among them, as they are now."""
    there = {name: _digests_there(folder, name) for name in PROVEN_FILES if name not in known}
    return {**known, **{name: digests for name, digests in there.items() if digests}}


def _digests_there(folder: Path, name: str) -> list[str]:
    """The digest of what stands there as a list; empty where there is no such file, or none that can be read."""
    try:
        return [_digest(folder / name)]
    except (BadRecordsError, FileNotFoundError, NotADirectoryError):
        return []


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, MOST_YAML if path.suffix == ".yaml" else MOST_JSON)).hexdigest()
