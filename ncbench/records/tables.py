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
import pyarrow.parquet as pq

from ncbench.records.cache import cached, in_report
from ncbench.records.part_sizes import check_sizes
from ncbench.records.runs import Dir, named_runs
from ncbench.records.schema import RUN, TABLES, TEXT, arrow_schema, columns, last_step, parts
from ncbench.records.small_files import BadRecordsError

__all__ = ["Steps", "filters", "read_table"]

Steps = int | Iterable[int] | Literal["first", "last"] | None
_WORDS: tuple[Literal["first"], Literal["last"]] = ("first", "last")
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
        files = parts(folder, table)
        if files:
            rows = _read(files, table, [name for name in wanted if name != RUN], conditions, steps)
            tables.append(_with_run(rows, code, list(runs)).select(wanted))
    return pa.concat_tables(tables).unify_dictionaries()


def _read(files: list[Path], table: str, wanted: list[str], conditions: list[Any], steps: Checked) -> Any:
    text = [name for name, column in TABLES[table].items() if column.type == TEXT]
    reading = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=text))
    try:
        if isinstance(steps, str):
            steps = [_end(files, steps)]
        if steps is not None:
            files = _with_steps(files, steps)
            conditions = [*conditions, ds.field("step").isin(steps)]
        condition = functools.reduce(lambda both, other: both & other, conditions) if conditions else None
        dataset = ds.dataset([str(file) for file in files], schema=arrow_schema(table), format=reading)
        check_sizes(files[0].parent, (part.metadata for part in dataset.get_fragments()))
        return dataset.to_table(columns=wanted, filter=condition)
    except MemoryError:
        raise BadRecordsError(f"{files[0].parent} needs more memory than there is") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadRecordsError(f"{files[0].parent} is not readable as records ({reason})") from None


def _with_steps(files: list[Path], numbers: list[int]) -> list[Path]:
    """The parts that may hold those steps: a part has what was measured after the part before it, up to its step."""
    ends = [-1, *map(last_step, files)]
    some = [
        file
        for file, (low, high) in zip(files, pairwise(ends), strict=True)
        if any(low < number <= high for number in numbers)
    ]
    return some or files[:1]


def _end(files: list[Path], word: str) -> int:
    """The first or the last recorded step."""
    extreme = pc.min if word == "first" else pc.max
    for file in files if word == "first" else reversed(files):
        with pq.ParquetFile(file) as part:
            check_sizes(file.parent, [part.metadata])
            steps = part.read(columns=["step"])["step"]
        if len(steps):
            return int(extreme(steps).as_py())
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
        whole = numbers == given
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise BadRecordsError(f"steps={steps!r} must be a step, several steps, 'first' or 'last'")
    return numbers
