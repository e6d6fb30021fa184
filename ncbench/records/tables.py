"""Reads the columnar records as pyarrow tables: which columns, which rows, with the name of the run in front.

Records are written by the training as `RUN/<table>/part-<step>.parquet`. Filters are applied by pyarrow before anything
becomes a DataFrame, so that ten million rows fit into a few hundred megabytes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ncbench.records.cache import cached, in_report
from ncbench.records.runs import BadRecordsError, Dir, named_runs

__all__ = ["COLUMNS", "Steps", "filters", "read_table"]

Steps = int | Iterable[int] | Literal["first", "last"] | None

_TEXT = pa.dictionary(pa.int32(), pa.string())
_PLACE = {"replica": pa.int32(), "step": pa.int64(), "layer": _TEXT, "stage": _TEXT}
COLUMNS: dict[str, dict[str, Any]] = {
    "measures": {
        "replica": pa.int32(),
        "seed": pa.int64(),
        "step": pa.int64(),
        "epoch": pa.float64(),
        "split": _TEXT,
        "layer": _TEXT,
        "stage": _TEXT,
        "source_layer": _TEXT,
        "measure": _TEXT,
        "value": pa.float64(),
    },
    "spectra": _PLACE | {"index": pa.int16(), "singular_value": pa.float64()},
    "grams": _PLACE | {"size": pa.int16(), "gram": pa.list_(pa.float32())},
    "means": _PLACE | {"size": pa.int16(), "mean": pa.list_(pa.float32())},
    "sample_grams": _PLACE | {"size": pa.int16(), "gram": pa.list_(pa.float32())},
}


def filters(names: dict[str, Any]) -> list[Any]:
    """Conditions that keep the rows with the given values, for every column that is not None."""
    return [_among(column, wanted) for column, wanted in names.items() if wanted is not None]


def read_table(dir: Dir, table: str, steps: Steps, columns: list[str], keep: list[Any]) -> Any:
    """The rows of one table of all runs in `dir` that meet the conditions, as a pyarrow table with these columns."""
    if table == "measures" and steps is None and in_report():
        # A sweep is tens of thousands of small files: opening them costs more than filtering in memory.
        found = _all_measures(dir)
        for condition in keep:
            found = found.filter(condition)
        return found.select(columns)
    return _scan(dir, table, steps, columns, keep)


@cached
def _all_measures(dir: Dir) -> Any:
    return _scan(dir, "measures", None, ["run", *COLUMNS["measures"]], [])


def _scan(dir: Dir, table: str, steps: Steps, columns: list[str], keep: list[Any]) -> Any:
    runs = named_runs(dir)
    schema = pa.schema(list(COLUMNS[table].items()))
    tables = [_with_run(schema.empty_table(), 0, list(runs)).select(columns)]
    for code, run in enumerate(runs.values()):
        parts = sorted(path for path in (run / table).glob("part-*.parquet"))
        if parts:
            found = _read(parts, schema, [name for name in columns if name != "run"], keep, steps)
            tables.append(_with_run(found, code, list(runs)).select(columns))
    return pa.concat_tables(tables).unify_dictionaries()


def _read(parts: list[Path], schema: Any, columns: list[str], keep: list[Any], steps: Steps) -> Any:
    text = [name for name in schema.names if schema.field(name).type == _TEXT]
    reading = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=text))
    try:
        if isinstance(steps, str):
            steps = _end(parts, steps)
        if steps is not None:
            wanted = _whole(steps)
            parts = _with_steps(parts, wanted)
            keep = [*keep, ds.field("step").isin(wanted)]
        condition = None
        for one in keep:
            condition = one if condition is None else condition & one
        dataset = ds.dataset([str(part) for part in parts], schema=schema, format=reading)
        return dataset.to_table(columns=columns, filter=condition)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadRecordsError(f"{parts[0].parent}: not readable as records ({str(error).splitlines()[0]})") from None


def _with_steps(parts: list[Path], wanted: list[int]) -> list[Path]:
    """The parts that may hold those steps: `part-N` has what was measured after the part before it, up to step N."""
    last = [int(part.stem.removeprefix("part-")) for part in parts]
    first = [-1, *last[:-1]]
    kept = [p for p, low, high in zip(parts, first, last) if any(low < step <= high for step in wanted)]
    return kept or parts[:1]


def _end(parts: list[Path], word: str) -> int:
    """The first or the last recorded step."""
    if word not in ("first", "last"):
        raise BadRecordsError(f"steps={word!r}: has to be a step, several steps, 'first' or 'last'")
    extreme = pc.min if word == "first" else pc.max
    for part in parts if word == "first" else reversed(parts):
        steps = pq.read_table(part, columns=["step"])["step"]
        if len(steps):
            return int(extreme(steps).as_py())
    return 0


def _with_run(table: Any, code: int, names: list[str]) -> Any:
    codes = pa.array(np.full(table.num_rows, code, dtype=np.int32))
    return table.add_column(0, "run", pa.DictionaryArray.from_arrays(codes, names))


def _among(column: str, wanted: str | Iterable[str] | Iterable[int]) -> Any:
    if isinstance(wanted, str):
        wanted = [wanted]
    kind = int if column == "index" else str
    return ds.field(column).isin([kind(one) for one in wanted])


def _whole(steps: int | Iterable[int]) -> list[int]:
    return [int(step) for step in np.atleast_1d(np.asarray(steps if isinstance(steps, int) else list(steps)))]
