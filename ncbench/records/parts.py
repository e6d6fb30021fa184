"""The files of a table: how they are named, and which of them count.

A part holds the rows of one measurement, `part-<step>.parquet`, or of several, `part-<first>-<last>.parquet`: parts are
merged, so that a long run does not have more files than a folder bears. What is written anew stands beside what it
replaces until the manifest lists it, so that a reader, and whoever comes after a kill, sees one or the other. The
standard library alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from ncbench.records.errors import DamagedError
from ncbench.records.manifest import REMEDY, Listed, check_listed, read_manifest
from ncbench.records.schema import TABLES

__all__ = ["first_step", "is_part", "last_step", "part_path", "parts", "proven_parts", "without_proof"]

_NAME = re.compile(r"part-(\d{12,})(?:-(\d{12,}))?\.parquet")
Steps = tuple[int, int]  # the first and the last of a part
_LISTINGS = 5  # parts may be merged between reading the manifest and looking for what it lists


def part_path(folder: Path, table: str, step: int, last: int | None = None) -> Path:
    """Where the rows that were measured at this step stand, or those from this step to the last."""
    steps = f"{step:012d}" if last is None or last == step else f"{step:012d}-{last:012d}"
    return folder / table / f"part-{steps}.parquet"


def first_step(part: Path) -> int:
    """The first step whose rows stand in a part, by its name."""
    return _steps(part)[0]


def last_step(part: Path) -> int:
    """The last step whose rows stand in a part, by its name."""
    return _steps(part)[1]


def is_part(path: Path) -> bool:
    """Whether a file has the name of a part; a copy that a file manager has made (`part-... (1).parquet`) has not."""
    return _NAME.fullmatch(path.name) is not None


def _steps(part: Path) -> Steps:
    name = _NAME.fullmatch(part.name)
    assert name is not None, part
    first, last = name.groups()
    return int(first), int(first if last is None else last)


def parts(folder: Path, table: str) -> list[Path]:
    """The finished parts of a table of a run folder that count, in the order of their steps.

    These are all that the manifest lists, and of the others those whose steps neither it nor another part has. Raises
    DamagedError where a listed one is missing, and for a damaged manifest.
    """
    return _present(folder, table)[0]


def proven_parts(folder: Path, table: str) -> list[Path]:
    """As `parts`, once those that the manifest lists are known to be as they were written.

    Raises DamagedError where one is not, and for a file whose name only begins as that of a part.
    """
    for other in sorted((folder / table).glob("part-*.parquet")):
        if not is_part(other):
            raise DamagedError(
                f"{other}: is no part of a record (its name is not part-STEP.parquet); move it elsewhere"
            )
    for last in range(_LISTINGS - 1, -1, -1):
        found, listed = _present(folder, table)
        try:
            check_listed(found, listed)
            break
        except FileNotFoundError:  # merged just now
            if not last:
                raise
    return found


def _present(folder: Path, table: str) -> tuple[list[Path], Mapping[str, Listed] | None]:
    missing: list[str] = []
    for _ in range(_LISTINGS):
        listed = read_manifest(folder)
        names = {Path(name).name for name in listed or {} if name.startswith(f"{table}/")}
        present = {path.name: path for path in (folder / table).glob("part-*.parquet") if is_part(path)}
        missing = sorted(names - present.keys())
        if not missing:
            break
    else:
        raise DamagedError(f"{folder / table / missing[0]}: is missing; {REMEDY}")
    found = [path for name, path in present.items() if name in names]
    taken = [_steps(path) for path in found]
    others = {path: steps for path in present.values() if not _overlaps(steps := _steps(path), taken)}
    wide = [(first, last) for first, last in others.values() if first < last]
    found += [path for path, steps in others.items() if not _stands_elsewhere(steps, wide)]
    return sorted(found, key=last_step), listed


def _overlaps(steps: Steps, taken: list[Steps]) -> bool:
    return any(steps[0] <= last and first <= steps[1] for first, last in taken)


def _stands_elsewhere(steps: Steps, wide: list[Steps]) -> bool:
    """Whether the rows of an unlisted part stand in a wider one: merged, but not listed yet."""
    return any(first <= steps[0] and steps[1] <= last and (first, last) != steps for first, last in wide)


def without_proof(folder: Path) -> bool:
    """Whether the folder has records and no manifest, so that nothing says whether they are as they were written."""
    return read_manifest(folder) is None and any(parts(folder, table) for table in TABLES)
