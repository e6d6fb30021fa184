"""How parts become final: few files however long a run is, each of them listed in the manifest, at every flush.

Sixteen measurements in a row become one part, sixteen of those one, and so on, up to a size; what is left over is one
part, too, and is written again with what comes next. Nothing that is listed is ever written over or removed before the
manifest lists what takes its place: new parts, then the manifest, then the removal. A kill between any two of these
leaves files that nobody reads (`ncbench.records.parts`) and that the next flush removes.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncbench.records.manifest import Listed, file_digest, read_both, read_manifest, write_manifest
from ncbench.records.parts import first_step, is_part, last_step, parts, proven_parts, without_proof
from ncbench.records.proven_files import with_present
from ncbench.records.schema import MANIFEST, TABLES
from ncbench.records.storage import read_part, write_part
from ncbench.records.whole_files import sync_file, sync_folder

__all__ = ["drop_all", "flush", "keep_until", "make_room"]

_log = logging.getLogger(__name__)

FACTOR = 16
MOST_BYTES, MOST_ROWS = 64 << 20, 4_000_000  # of a merged part: it has to fit into memory as a table


@dataclass(frozen=True)
class _Block:
    """Parts in a row that are one part, or are to become one."""

    sources: tuple[Path, ...]
    measurements: int
    rows: int
    bytes: int


def flush(folder: Path) -> None:
    """Merge the parts of every table as far as they are due, and list them all in the manifest."""
    final = {table: _merged(folder, table) for table in TABLES}
    _seal(folder, final)


def keep_until(folder: Path, step: int) -> None:
    """Remove the rows of later steps than this one, and what a kill left unfinished.

    Raises DamagedError where what is kept is not as it was written.
    """
    if without_proof(folder):
        _log.warning("%s: no %s proves the records up to step %d; from now on one does", folder, MANIFEST, step)
    listed = read_manifest(folder) or {}
    final: dict[str, list[Path]] = {}
    for table in TABLES:
        final[table] = []
        for part in proven_parts(folder, table):
            if first_step(part) > step:  # none of it stays, whatever it holds
                continue
            if last_step(part) > step:
                final[table] += _cut(folder, table, part, pc.field("step") <= step)
            else:
                final[table].append(part)
                if f"{table}/{part.name}" not in listed:
                    read_part(part, table)  # it has to be readable at least
    _seal(folder, final)


def drop_all(folder: Path) -> None:
    """Remove every row and the manifest, whatever state they are in."""
    (folder / MANIFEST).unlink(missing_ok=True)
    _remove_others(folder, dict.fromkeys(TABLES, ()))


def make_room(folder: Path, table: str, step: int) -> None:
    """See to it that rows of this step may be written: where a listed part has some, they stand alone and unlisted."""
    for part in parts(folder, table):
        if first_step(part) <= step <= last_step(part):
            steps = pc.field("step")
            around = [*_cut(folder, table, part, steps < step), *_cut(folder, table, part, steps > step)]
            of_step = _cut(folder, table, part, steps == step)
            final = {name: parts(folder, name) for name in TABLES}
            final[table] = sorted([*(other for other in final[table] if other != part), *around], key=last_step)
            _seal(folder, final, beside=of_step)


def _merged(folder: Path, table: str) -> list[Path]:
    """The parts of a table once they are merged; those that are merged still stand beside them."""
    listed = read_manifest(folder) or {}
    blocks = [_block(part, listed.get(f"{table}/{part.name}")) for part in parts(folder, table)]
    size = FACTOR
    while True:
        joined = _join(blocks, size, leftovers=size == FACTOR)
        if joined == blocks and size > FACTOR:
            break
        blocks, size = joined, size * FACTOR
    return [_write(folder, table, block) for block in blocks]


def _block(part: Path, listed: Listed | None) -> _Block:
    rows = pq.read_metadata(part).num_rows if listed is None else listed.rows
    return _Block((part,), 1 if listed is None else listed.measurements, rows, part.stat().st_size)


def _join(blocks: list[_Block], size: int, *, leftovers: bool) -> list[_Block]:
    """Blocks in a row, each smaller than `size` measurements, as one as soon as they have so many.

    With `leftovers` the last ones are one block too, though they have fewer.
    """
    joined: list[_Block] = []
    waiting: list[_Block] = []
    for block in blocks:
        if block.measurements < size and _fits([*waiting, block]):
            waiting.append(block)
            if sum(one.measurements for one in waiting) >= size:
                joined.append(_as_one(waiting))
                waiting = []
        else:
            joined += [*waiting, block]
            waiting = []
    return [*joined, *([_as_one(waiting)] if waiting and leftovers else waiting)]


def _fits(blocks: Iterable[_Block]) -> bool:
    together = _as_one(blocks)
    return together.bytes <= MOST_BYTES and together.rows <= MOST_ROWS


def _as_one(blocks: Iterable[_Block]) -> _Block:
    every = list(blocks)
    return _Block(
        tuple(source for block in every for source in block.sources),
        sum(block.measurements for block in every),
        sum(block.rows for block in every),
        sum(block.bytes for block in every),
    )


def _write(folder: Path, table: str, block: _Block) -> Path:
    if len(block.sources) == 1:
        return block.sources[0]
    rows = pa.concat_tables([read_part(source, table) for source in block.sources]).unify_dictionaries()
    return write_part(folder, table, rows, sync=True)


def _cut(folder: Path, table: str, part: Path, wanted: pc.Expression) -> list[Path]:
    """The wanted rows of a part as parts of 16^n measurements, so that merging goes on as if there were no others."""
    rows = read_part(part, table)
    kept = rows.filter(wanted)
    if len(kept) == len(rows):
        return [part]
    steps = pc.unique(kept["step"]).to_pylist()
    written: list[Path] = []
    while steps:
        size = 1
        while size * FACTOR <= len(steps):
            size *= FACTOR
        some = kept.filter(pc.field("step").isin(steps[:size]))
        written.append(write_part(folder, table, some, sync=True))
        steps = steps[size:]
    return written


def _seal(folder: Path, final: dict[str, list[Path]], beside: Iterable[Path] = ()) -> None:
    """List these parts in the manifest, and the small files that it lacks; remove all parts but these and `beside`."""
    known, known_files = read_both(folder) or ({}, {})
    listed: dict[str, Listed] = {}
    for table, files in final.items():
        for part in files:
            name = f"{table}/{part.name}"
            listed[name] = known.get(name) or _listed(part, table)
        if any(f"{table}/{part.name}" not in known for part in files):
            sync_folder(folder / table)
    small_files = with_present(folder, known_files)
    if listed != known or small_files != known_files:
        write_manifest(folder, listed, small_files)
    _remove_others(folder, {table: [*files, *beside] for table, files in final.items()})


def _listed(part: Path, table: str) -> Listed:
    """What the manifest says of a part, which is on the disk by then."""
    sync_file(part)
    rows = read_part(part, table, ["step"])
    return Listed(part.stat().st_size, file_digest(part), len(rows), len(pc.unique(rows["step"])))


def _remove_others(folder: Path, final: Mapping[str, Iterable[Path]]) -> None:
    for table, files in final.items():
        written = filter(is_part, (folder / table).glob("part-*.parquet"))
        for file in {*written, *(folder / table).glob(".*.tmp")} - set(files):
            file.unlink()
