"""What a figure draws: run folders, a table of what they hold, or a callback that has measured.

A table and a callback are written as run folders into a temporary directory for the time of the drawing, so that every
figure reads all of them in one way.
"""

import json
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ncbench.records.parts import part_path
from ncbench.records.runs import CrowdedError, NoRecordsError, UndefinedError
from ncbench.records.schema import REPLICAS, RUN, RUN_INFO, TABLES, TEXT, arrow_schema, row_key
from ncbench.records.small_files import BadRecordsError

__all__ = ["as_dir"]

# What a column says of the rows: the first that a table has decides.
KINDS = {"value": "measures", "singular_value": "spectra", "gram": "grams", "mean": "means"}
GIVEN = "load_measures, measure_network or callback.table() (measure, value), load_spectra, load_grams, load_means"
SINGULAR_VALUE = "singular_value"  # also a measure, in the table of measure_network
MISSING: dict[str, Any] = {"seed": -1, "replica": 0, "split": "train", "layer": "", "stage": "", "source_layer": ""}


@contextmanager
def as_dir(source: Any) -> Iterator[Any]:
    """The directory that a source is, or is written to; what is neither a table nor a callback is given back as it is.

    A callback is what has `write_run(folder)`; where it records into a `folder` already, that is the directory. Of a
    table every run (column `run`, else all of it) is a run folder; the columns of `load_replicas` may stand beside the
    others. Raises BadRecordsError for a table that says too little of its rows; a NoRecordsError of the drawing says
    what the table holds.
    """
    if isinstance(source, pd.DataFrame):
        with tempfile.TemporaryDirectory(prefix="ncbench-") as folder:
            held = _write_table(source, Path(folder))
            try:
                yield folder
            except (UndefinedError, CrowdedError):
                raise
            except NoRecordsError as error:
                said = str(error).removesuffix(" yet")  # nothing more comes to a table
                raise NoRecordsError(
                    f"{said}; the table holds {' and '.join(held)} alone: record into a folder (folder=DIR) and "
                    "give that, or give the callback"
                ) from None
    elif hasattr(source, "write_run"):
        if getattr(source, "folder", None) is not None:
            yield source.folder
            return
        with tempfile.TemporaryDirectory(prefix="ncbench-") as folder:
            run = Path(folder) / "run"
            source.write_run(run)
            yield run
    else:
        yield source


def _write_table(table: pd.DataFrame, base: Path) -> list[str]:
    """The run folders of a table; the names of the tables that its rows belong to."""
    columns = list(map(str, table.columns))
    kind = next((name for column, name in KINDS.items() if column in columns), None)
    if kind is None or (kind == "measures" and "measure" not in columns):
        raise BadRecordsError(f"table: has the columns {columns}; a figure draws those of {GIVEN}")
    if not len(table):
        raise BadRecordsError("table: has no rows")
    rows = _completed(table)
    parts = {kind: rows}
    if kind == "measures":
        singular = rows["measure"].astype(str) == SINGULAR_VALUE
        of_spectra = rows[singular].rename(columns={"value": SINGULAR_VALUE})
        parts = {name: part for name, part in (("measures", rows[~singular]), ("spectra", of_spectra)) if len(part)}
    for name, part in parts.items():
        for run, of_run in part.groupby(RUN, sort=False, observed=True):
            _write_part(of_run, name, base / _folder_name(str(run)))
    for run, of_run in rows.groupby(RUN, sort=False, observed=True):
        _write_inputs(of_run, base / _folder_name(str(run)), str(run))
    return ["singular values" if name == "spectra" else name for name in parts]


def _completed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of the records: what it lacks is that of one network at one step."""
    rows = table.reset_index(drop=True).copy()
    if RUN not in rows:
        rows[RUN] = "table"
    for name, value in MISSING.items():
        if name not in rows:
            rows[name] = value
        elif isinstance(value, str):
            rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)  # as read_csv leaves it
    if "step" not in rows:
        epochs = pd.to_numeric(rows["epoch"]) if "epoch" in rows else pd.Series(0, rows.index)
        if (epochs % 1 != 0).any():
            raise BadRecordsError("table: has epochs that are no whole numbers, and no column step")
        rows["step"] = epochs
    if "epoch" not in rows:
        rows["epoch"] = rows["step"]
    if "index" not in rows:
        rows["index"] = 0
    return rows


def _write_part(rows: pd.DataFrame, table: str, run: Path) -> None:
    """One part with all rows of a table of one run. Raises BadRecordsError where two rows are of the same thing."""
    key = [name for name in row_key(table) if name in rows]
    again = rows.duplicated(key)
    if again.any():
        row = rows[again].iloc[0]
        what = ".".join(str(row[name]) for name in ("layer", "stage", "measure") if name in row and str(row[name]))
        raise BadRecordsError(
            f"table: has several values of {what or table} at step {row['step']}; a column step, epoch or run tells "
            "them apart"
        )
    schema = arrow_schema(table)
    columns: dict[str, Any] = {}
    for name, column in TABLES[table].items():
        if name == "size":
            matrices = rows["gram" if "gram" in TABLES[table] else "mean"]
            columns[name] = pa.array([len(matrix) for matrix in matrices], schema.field(name).type)
        elif name in ("gram", "mean"):
            columns[name] = pa.array([matrix.ravel() for matrix in rows[name]], schema.field(name).type)
        elif column.type == TEXT:
            columns[name] = pa.array(rows[name].astype(str).tolist()).dictionary_encode()
        else:
            columns[name] = pa.array(pd.to_numeric(rows[name]).to_numpy()).cast(schema.field(name).type, safe=False)
    target = part_path(run, table, int(rows["step"].max()))
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), target)


def _write_inputs(rows: pd.DataFrame, run: Path, name: str) -> None:
    """run.json and replicas.json: the values of a replica are the further columns that are constant over its rows."""
    run.mkdir(parents=True, exist_ok=True)
    recorded = {*(column for columns in TABLES.values() for column in columns), RUN}
    further = [column for column in rows.columns if column not in recorded]
    replicas: list[dict[str, Any]] = []
    for replica, part in rows.groupby("replica"):
        known: dict[str, Any] = {"replica": int(str(replica))}
        if int(part["seed"].iloc[0]) >= 0:
            known["seed"] = int(part["seed"].iloc[0])
        for column in further:
            values = part[column].unique()
            value: Any = values[0] if len(values) == 1 else None
            value = value.item() if hasattr(value, "item") else value
            if isinstance(value, str | int | float) and isinstance(value, Hashable) and not pd.isna(value):
                known[str(column)] = value
        replicas.append(known)
    info = {"status": "done", "name": name, "replicas": len(replicas)}
    (run / REPLICAS).write_text(json.dumps(replicas), encoding="utf-8")
    (run / RUN_INFO).write_text(json.dumps(info), encoding="utf-8")


def _folder_name(run: str) -> str:
    """A run's name as a path below the temporary directory."""
    return "/".join(part for part in run.split("/") if part not in ("", ".", "..")) or "run"
