"""Rows of a table as parquet files, and back: how they are encoded, and that a damaged page is seen.

Text and whole numbers repeat, so they are dictionary-encoded; measured values are split into streams of bytes, whose
first ones (sign and exponent) are alike: 15 % less than as they stand. Every page has a checksum. `parts` whose digest
the manifest has are proven besides (`ncbench.records.parts`).
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncbench.records.errors import DamagedError
from ncbench.records.manifest import REMEDY
from ncbench.records.part_sizes import check_sizes
from ncbench.records.parts import first_step, last_step, part_path, parts
from ncbench.records.schema import FLOATS, MEASURED, TABLES, arrow_schema
from ncbench.records.whole_files import make_folder, replacing

__all__ = [
    "UNREADABLE",
    "name_unreadable",
    "read_part",
    "read_steps",
    "recorded_steps",
    "rows_at",
    "unreadable",
    "write_part",
]

UNREADABLE = (pa.ArrowException, OSError, KeyError)  # what pyarrow raises for a file that is no parquet, or damaged


def write_part(folder: Path, table: str, rows: pa.Table, *, sync: bool = False) -> Path:
    """Write rows, in the order of their steps, as one part, renamed into place when complete; with `sync` on the disk.

    Returns the part. A part of the same steps is replaced.
    """
    steps = rows["step"]
    target = part_path(folder, table, steps[0].as_py(), steps[-1].as_py())
    names = [name for name in rows.column_names if name not in MEASURED]
    (measured,) = (name for name in rows.column_names if name in MEASURED)
    leaf = f"{measured}.list.element" if TABLES[table][measured].type == FLOATS else measured
    make_folder(target.parent)
    with replacing(target, lasting=sync) as handle:
        pq.write_table(
            rows,
            handle,
            compression="zstd",
            use_dictionary=names,
            column_encoding={leaf: "BYTE_STREAM_SPLIT"},
            write_page_checksum=True,
        )
    return target


def read_part(part: Path, table: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of one part, with the columns and types of the schema. Raises DamagedError where it is unreadable."""
    schema = arrow_schema(table)
    names = columns or schema.names
    try:
        about = pq.read_metadata(part)
        check_sizes(part.parent, [about])
        if missing := [name for name in names if name not in about.schema.to_arrow_schema().names]:
            raise DamagedError(f"{part}: has no column {missing[0]}; {REMEDY}")
        rows = pq.read_table(part, columns=names, page_checksum_verification=True)
        return rows.select(names).cast(pa.schema([schema.field(name) for name in names]))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise unreadable(part, error) from None


def unreadable(part: Path, error: BaseException) -> DamagedError:
    """The line on a part that pyarrow cannot read."""
    return DamagedError(f"{part}: is not readable as records ({' '.join(str(error).split())}); {REMEDY}")


def name_unreadable(files: Iterable[Path], table: str) -> None:
    """Raises DamagedError for the first of these parts that is unreadable on its own."""
    for file in files:
        read_part(file, table)


def read_steps(part: Path, table: str) -> list[int]:
    """The steps that a part has rows of, ascending."""
    if first_step(part) == last_step(part):
        return [first_step(part)]
    return sorted(pc.unique(read_part(part, table, ["step"])["step"]).to_pylist())


def recorded_steps(folder: Path, table: str = "measures") -> list[int]:
    """The steps at which a run has rows of a table, ascending."""
    return [step for part in parts(folder, table) for step in read_steps(part, table)]


def rows_at(folder: Path, table: str, step: int | None = None) -> pa.Table:
    """The rows of a table of a run at one step (None: the last that is recorded); none where nothing was recorded."""
    files = parts(folder, table)
    if step is None and files:
        step = last_step(files[-1])
    for file in files:
        if step is not None and first_step(file) <= step <= last_step(file):
            return read_part(file, table).filter(pc.field("step") == step)
    return arrow_schema(table).empty_table()
