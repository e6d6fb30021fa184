"""Reads the columnar records as pyarrow tables: which columns, which rows, with the name of the run in front.

Filters are applied by pyarrow before anything becomes a DataFrame, so that ten million rows fit into a few hundred
megabytes. Columns and file names are those of `ncbench.records.schema`.
"""

import functools
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ncbench.records.cache import cached, in_report
from ncbench.records.errors import DamagedError
from ncbench.records.manifest import REMEDY
from ncbench.records.part_sizes import check_sizes
from ncbench.records.parts import last_step, proven_parts
from ncbench.records.run_info import MOST_REPLICAS
from ncbench.records.runs import Dir, named_runs
from ncbench.records.schema import MEASURED, RUN, TABLES, TEXT, arrow_schema, columns
from ncbench.records.small_files import BadRecordsError
from ncbench.records.storage import UNREADABLE, name_unreadable, read_steps, unreadable

__all__ = ["Steps", "filters", "read_table"]

Steps = int | Iterable[int] | Literal["first", "last"] | None
_WORDS: tuple[Literal["first"], Literal["last"]] = ("first", "last")
_READINGS = 5
Checked = list[int] | Literal["first", "last"] | None


def filters(names: dict[str, Any]) -> list[Any]:
    """Conditions that keep the rows with the given values, for every column that is not None."""
    return [_among(column, wanted) for column, wanted in names.items() if wanted is not None]


def read_table(dir: Dir, table: str, steps: Steps, wanted: list[str], conditions: list[Any]) -> Any:
    """The rows of one table of all runs in `dir` that meet the conditions, as a pyarrow table of the wanted columns.

    `steps` are numbers, or "first" or "last": that recorded step of every run. Raises BadRecordsError for others.
    """
    steps = _checked(steps)
    if table == "measures" and steps is None and in_report():
        # A sweep is tens of thousands of small files: opening them costs more than filtering in memory.
        rows = _all_measures(dir)
        for condition in conditions:
            rows = rows.filter(condition)
        return rows.select(wanted)
    return _scan(dir, table, steps, wanted, conditions)


@cached
def _all_measures(dir: Dir) -> Any:
    return _scan(dir, "measures", None, [RUN, *columns("measures")], [])


def _scan(dir: Dir, table: str, steps: Checked, wanted: list[str], conditions: list[Any]) -> Any:
    runs = named_runs(dir)
    # An empty table first: its dictionary names every run, also those that have recorded nothing.
    tables = [_with_run(arrow_schema(table).empty_table(), 0, list(runs)).select(wanted)]
    for code, folder in enumerate(runs.values()):
        rows = _rows(folder, table, [name for name in wanted if name != RUN], conditions, steps)
        if rows is not None:
            tables.append(_with_run(rows, code, list(runs)).select(wanted))
    return pa.concat_tables(tables).unify_dictionaries()


def _rows(folder: Path, table: str, wanted: list[str], conditions: list[Any], steps: Checked) -> Any:
    """The rows of one run; None where it has no parts. A run that is going on may merge its parts meanwhile."""
    for last in range(_READINGS - 1, -1, -1):
        files = proven_parts(folder, table)
        try:
            return _read(files, table, wanted, conditions, steps) if files else None
        except FileNotFoundError:
            if not last:
                raise
    return None


def _read(files: list[Path], table: str, wanted: list[str], conditions: list[Any], steps: Checked) -> Any:
    text = [name for name, column in TABLES[table].items() if column.type == TEXT]
    reading = ds.ParquetFileFormat(
        read_options=ds.ParquetReadOptions(dictionary_columns=text),
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True),
    )
    if isinstance(steps, str):
        steps = [_end(files, table, steps)]
    if steps is not None:
        files = _with_steps(files, steps)
        conditions = [*conditions, ds.field("step").isin(steps)]
    condition = functools.reduce(lambda both, other: both & other, conditions) if conditions else None
    try:
        dataset = ds.dataset([str(file) for file in files], schema=arrow_schema(table), format=reading)
        check_sizes(files[0].parent, (part.metadata for part in dataset.get_fragments()))
        rows = dataset.to_table(columns=wanted, filter=condition)
        _check_rows(files, table, rows)
        return rows
    except MemoryError:
        raise BadRecordsError(f"{files[0].parent} needs more memory than there is") from None
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        name_unreadable(files, table)
        raise unreadable(files[0].parent, error) from None


def _check_rows(files: list[Path], table: str, rows: Any) -> None:
    """DamagedError for rows that no run writes: without a value or a replica, or of more replicas than a run may have.

    A column that a part lacks is read as one without values.
    """
    for name in ("replica", "step", *MEASURED):
        if name in rows.column_names and rows[name].null_count:
            name_unreadable(files, table)
            raise DamagedError(f"{files[0].parent}: has rows without a {name}; {REMEDY}")
    if "replica" in rows.column_names and len(rows):
        bounds = pc.min_max(rows["replica"])
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if not 0 <= low <= high < MOST_REPLICAS:
            raise DamagedError(f"{files[0].parent}: has rows of replica {low if low < 0 else high}; {REMEDY}")


def _with_steps(files: list[Path], numbers: list[int]) -> list[Path]:
    """The parts that may hold those steps: a part has what was measured after the part before it, up to its step."""
    ends = [-1, *map(last_step, files)]
    some = [
        file
        for file, (low, high) in zip(files, pairwise(ends), strict=True)
        if any(low < number <= high for number in numbers)
    ]
    return some or files[:1]


def _end(files: list[Path], table: str, word: str) -> int:
    """The first or the last recorded step."""
    for file in files if word == "first" else reversed(files):
        steps = read_steps(file, table)
        if steps:
            return steps[0 if word == "first" else -1]
    return 0


def _with_run(table: Any, code: int, names: list[str]) -> Any:
    codes = pa.array(np.full(table.num_rows, code, dtype=np.int32))
    return table.add_column(0, RUN, pa.DictionaryArray.from_arrays(codes, names))


def _among(column: str, wanted: str | Iterable[str] | Iterable[int]) -> Any:
    if isinstance(wanted, str):
        wanted = [wanted]
    kind = int if column == "index" else str
    return ds.field(column).isin([kind(value) for value in wanted])


def _checked(steps: Any) -> Checked:
    """The steps as a list: an iterator would be used up by the first run. Checked before there are files to read."""
    if steps is None:
        return None
    for word in _WORDS:
        if isinstance(steps, str) and steps == word:
            return word
    try:
        given = [steps] if isinstance(steps, str) or not isinstance(steps, Iterable) else list(steps)
        numbers = [int(step) for step in given]
        whole = numbers == given and all(-(2**63) <= number < 2**63 for number in numbers)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise BadRecordsError(f"steps={steps!r} must be a step, several steps, 'first' or 'last'")
    return numbers
