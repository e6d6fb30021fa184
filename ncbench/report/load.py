"""Reads the columnar records of run folders: measures, spectra, Gram matrices.

Records are written by the training as `RUN/<table>/part-<step>.parquet`. Reading is columnar: filters are
applied by pyarrow before anything becomes a DataFrame, and text columns arrive as pandas categoricals, so
that ten million rows fit into a few hundred megabytes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ncbench.report.once import in_report, shared
from ncbench.report.runs import (
    BadRecordsError,
    Dir,
    find_runs,
    load_references,
    load_replicas,
    load_run_info,
    named_runs,
    natural_key,
)

__all__ = [
    "find_runs",
    "load_final",
    "load_grams",
    "load_means",
    "load_measures",
    "load_references",
    "load_replicas",
    "load_run_info",
    "load_spectra",
]

Names = str | Iterable[str] | None
Steps = int | Iterable[int] | Literal["first", "last"] | None

_TEXT = pa.dictionary(pa.int32(), pa.string())
_TABLES: dict[str, dict[str, Any]] = {
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
    "spectra": {
        "replica": pa.int32(),
        "step": pa.int64(),
        "layer": _TEXT,
        "stage": _TEXT,
        "index": pa.int16(),
        "singular_value": pa.float64(),
    },
    "grams": {
        "replica": pa.int32(),
        "step": pa.int64(),
        "layer": _TEXT,
        "stage": _TEXT,
        "size": pa.int16(),
        "gram": pa.list_(pa.float32()),
    },
    "means": {
        "replica": pa.int32(),
        "step": pa.int64(),
        "layer": _TEXT,
        "stage": _TEXT,
        "size": pa.int16(),
        "mean": pa.list_(pa.float32()),
    },
}
_STAGES = ("", "pre", "post", "weight")


def load_measures(dir: Dir, measures: Names = None, layers: Names = None, steps: Steps = None) -> pd.DataFrame:
    """One row per recorded value of a measure.

    Columns: run, replica, seed, step, epoch, split, layer, stage, source_layer, measure, value.
    `measures` and `layers` keep the named ones (values of the whole network have layer ''); `steps` keeps
    the given steps, or with "first" or "last" that recorded step of every run. A run that has recorded nothing
    gives no row.
    """
    return _load(dir, "measures", steps, measure=measures, layer=layers)


def load_spectra(dir: Dir, steps: Steps = None, indices: Iterable[int] | None = None) -> pd.DataFrame:
    """Singular values, descending from index 0: run, replica, step, layer, stage, index, singular_value.

    Stages `pre` and `post` are those of the K x d matrix of class means, `weight` those of the matrix W_l.
    `indices` keeps the named ones.
    """
    return _load(dir, "spectra", steps, index=indices)


def load_grams(dir: Dir, steps: Steps = None) -> pd.DataFrame:
    """Gram matrices M M^T of the class means, not centred, one row each.

    Columns: run, replica, step, layer, stage, size (K), gram (a K x K array).
    """
    return _load_matrices(dir, "grams", "gram", steps)


def load_means(dir: Dir, steps: Steps = None) -> pd.DataFrame:
    """Class means, not centred, at the first and the last measurement, one matrix per row.

    Columns: run, replica, step, layer, stage, size (K), mean (a K x d array). Layers wider than 512 are not kept.
    """
    return _load_matrices(dir, "means", "mean", steps)


def _load_matrices(dir: Dir, table: str, column: str, steps: Steps) -> pd.DataFrame:
    frame = _load(dir, table, steps)
    matrices = [np.asarray(matrix).reshape(size, -1) for matrix, size in zip(frame[column], frame["size"])]
    frame[column] = pd.Series(matrices, index=frame.index, dtype=object)
    return frame


@shared
def load_final(dir: Dir, measures: Names = None, layers: Names = None) -> pd.DataFrame:
    """The last recorded value of every series of `load_measures`, with the same columns and filters.

    A series is a split, layer, stage and measure of a run. Differs from `load_measures(dir, steps="last")`
    where some series are recorded less often than others.
    """
    series = ["run", "split", "layer", "stage", "measure"]
    keep = _filters({"measure": measures, "layer": layers})
    steps = _table(dir, "measures", None, [*series, "step"], keep)
    # Grouped by pyarrow: of ten million rows a few hundred reach pandas.
    last = steps.group_by(series).aggregate([("step", "max")])["step_max"].unique().to_pylist()
    frame = load_measures(dir, measures, layers, steps=last)
    return frame[frame["step"] == frame.groupby(series, observed=True)["step"].transform("max")]


def layer_key(layer: str, place: int = 0) -> tuple[int, int, list[tuple[int, int, str]]]:
    """Sort key from input to output: '', features, the other layers in recorded order, head.1 ... head.L."""
    if layer in ("", "features"):
        return (0, len(layer), [])
    return (2, 0, natural_key(layer)) if layer.startswith("head.") else (1, place, [])


def _load(dir: Dir, table: str, steps: Steps, **names: Any) -> pd.DataFrame:
    found = _table(dir, table, steps, ["run", *_TABLES[table]], _filters(names))
    frame: pd.DataFrame = found.to_pandas(self_destruct=True)
    if not len(frame):  # a table without rows forgets its dictionary
        frame["run"] = pd.Categorical([], categories=list(named_runs(dir)))
    for name, order in (("layer", _ordered_layers), ("stage", _ordered_stages)):
        frame[name] = frame[name].cat.reorder_categories(order(list(frame[name].cat.categories)))
    return frame


def _filters(names: dict[str, Any]) -> list[Any]:
    return [_among(column, wanted) for column, wanted in names.items() if wanted is not None]


def _table(dir: Dir, table: str, steps: Steps, columns: list[str], keep: list[Any]) -> Any:
    if table == "measures" and steps is None and in_report():
        # A sweep is tens of thousands of small files: opening them costs more than filtering in memory.
        found = _all_measures(dir)
        for condition in keep:
            found = found.filter(condition)
        return found.select(columns)
    return _scan(dir, table, steps, columns, keep)


@shared
def _all_measures(dir: Dir) -> Any:
    return _scan(dir, "measures", None, ["run", *_TABLES["measures"]], [])


def _scan(dir: Dir, table: str, steps: Steps, columns: list[str], keep: list[Any]) -> Any:
    runs = named_runs(dir)
    schema = pa.schema(list(_TABLES[table].items()))
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


def _ordered_layers(layers: list[str]) -> list[str]:
    return sorted(layers, key=lambda layer: layer_key(layer, layers.index(layer)))


def _ordered_stages(stages: list[str]) -> list[str]:
    return sorted(stages, key=lambda stage: _STAGES.index(stage) if stage in _STAGES else len(_STAGES))
