"""Columnar, crash-safe records: a parquet file per table and measurement, merged into few files at every flush.

A kill loses at most the measurement being written, a power cut at most those since the last flush. On resume the rows
past the checkpoint's step are removed and written again, so no row is there twice. Tables and columns are those of
`ncbench.records.schema`, files those of `ncbench.records.parts`.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from ncbench.records import compaction
from ncbench.records.layers import rows_of_split
from ncbench.records.parts import last_step, parts
from ncbench.records.schema import SERIES, TABLES, arrow_schema
from ncbench.records.storage import rows_at, write_part
from ncbench.records.whole_files import make_folder

if TYPE_CHECKING:
    from ncbench.measure.measures import Measurement

__all__ = ["RecordWriter", "summarise"]

MOST_UNLISTED = 64  # measurements after which the parts are merged and listed, whether a checkpoint asks for it or not
Matrices = Mapping[tuple[str, str], torch.Tensor]


class RecordWriter:
    """Writes measurements into a run folder. `seeds` holds the seed of every replica."""

    def __init__(self, folder: str | os.PathLike[str], seeds: Sequence[int]) -> None:
        self.folder = Path(folder)
        self.seeds = np.asarray(seeds, dtype=np.int64)

        self._last: dict[str, int] = {}  # the last step of each table, once it has been written to
        self._unlisted = 0

    def keep_until(self, step: int | None) -> None:
        """Remove what was recorded after this step (None: everything), and what a kill left unfinished.

        Raises DamagedError where a part that stays is not as it was written.
        """
        for table in TABLES:
            make_folder(self.folder / table)
        if step is None:
            compaction.drop_all(self.folder)
        else:
            compaction.keep_until(self.folder, step)
        self._last = {}

    def flush(self) -> None:
        """See to it that everything written so far is on the disk, in few files, and listed with its checksum.

        Before a checkpoint, so that no checkpoint is ahead of its records.
        """
        compaction.flush(self.folder)
        self._unlisted = 0

    def write(self, step: int, epoch: float, measurement: "Measurement") -> None:
        """One measurement as rows of `measures`, `spectra` and the tables of matrices, of those it has values for."""
        if measurement.values or measurement.of_sources:
            self._put("measures", step, self._measures(step, epoch, measurement))
        if measurement.spectra:
            self._put("spectra", step, self._spectra(step, measurement.spectra))
        matrices_of = (
            ("grams", "gram", measurement.grams),
            ("means", "mean", measurement.means),
            ("sample_grams", "gram", measurement.sample_grams),
        )
        for table, column, matrices in matrices_of:
            if matrices:
                self._put(table, step, self._matrices(table, step, column, matrices))
        self._unlisted += 1
        if self._unlisted >= MOST_UNLISTED:
            self.flush()

    def _measures(self, step: int, epoch: float, measurement: "Measurement") -> pa.Table:
        """One row per series and replica; a series with no source layer has an empty one."""
        series = {(*key, ""): value for key, value in measurement.values.items()} | measurement.of_sources
        names = {name: [key[i] for key in series] for i, name in enumerate(SERIES)}
        values = np.stack([_numpy(value) for value in series.values()])
        R = len(self.seeds)
        columns: dict[str, Any] = {
            "replica": np.tile(np.arange(R, dtype=np.int32), len(series)),
            "seed": np.tile(self.seeds, len(series)),
            "step": np.full(values.size, step, dtype=np.int64),
            "epoch": np.full(values.size, epoch, dtype=np.float64),
            **{name: _repeat(texts, R) for name, texts in names.items()},
            "value": values.reshape(-1),
        }
        return _table("measures", columns)

    def _spectra(self, step: int, spectra: Matrices) -> pa.Table:
        """One row per layer, stage, replica and index."""
        arrays = [_numpy(values) for values in spectra.values()]
        sizes = [values.size for values in arrays]
        indices = [np.indices(values.shape) for values in arrays]  # of the replicas, and of the singular values
        columns = {
            "replica": np.concatenate([replica.ravel() for replica, _ in indices]).astype(np.int32),
            "step": np.full(sum(sizes), step, dtype=np.int64),
            "layer": _repeat([layer for layer, _ in spectra], sizes),
            "stage": _repeat([stage for _, stage in spectra], sizes),
            "index": np.concatenate([index.ravel() for _, index in indices]).astype(np.int16),
            "singular_value": np.concatenate([values.ravel() for values in arrays]),
        }
        return _table("spectra", columns)

    def _matrices(self, table: str, step: int, column: str, matrices_of: Matrices) -> pa.Table:
        """One row per layer, stage and replica: the number of rows (`size`) and the matrix, row by row."""
        tables = []
        for (layer, stage), matrices in matrices_of.items():
            with np.errstate(over="ignore"):  # of a diverged replica
                values = _numpy(matrices).astype(np.float32)
            R, size, width = values.shape
            offsets = np.arange(R + 1, dtype=np.int32) * size * width
            columns = {
                "replica": np.arange(R, dtype=np.int32),
                "step": np.full(R, step, dtype=np.int64),
                "layer": _repeat([layer], R),
                "stage": _repeat([stage], R),
                "size": np.full(R, size, dtype=np.int16),
                column: pa.ListArray.from_arrays(offsets, values.reshape(-1)),
            }
            tables.append(_table(table, columns))
        return pa.concat_tables(tables).unify_dictionaries()

    def _put(self, table: str, step: int, rows: pa.Table) -> None:
        if table not in self._last:
            self._last[table] = max(map(last_step, parts(self.folder, table)), default=-1)
        if step <= self._last[table]:
            compaction.make_room(self.folder, table, step)
        write_part(self.folder, table, rows)
        self._last[table] = max(step, self._last[table])


def summarise(
    folder: str | os.PathLike[str], step: int | None = None, *, without: Collection[int] = ()
) -> dict[str, dict[str, float | None]]:
    """Median and quartiles over replicas of every value recorded at a step (None: the last), under flat names.

    The replicas `without` are left out, such as those that diverged, unless no other is there.
    Names are `loss`, `<layer>.<stage>.<measure>`, with `@<source layer>` behind where there is one; values of another
    split than the training split have its name in front (`test.accuracy`). NaN becomes None.
    """
    rows = rows_at(Path(folder), "measures", step).select([*SERIES, "replica", "value"]).to_pandas()
    lost = rows["replica"].isin(list(without))
    rows = rows if lost.all() else rows[~lost]
    summary: dict[str, dict[str, float | None]] = {}
    for series, group in rows.groupby(list(SERIES), sort=False, observed=True):
        with np.errstate(invalid="ignore"):  # between infinite values
            quartiles = np.quantile(group["value"], [0.5, 0.25, 0.75])
        finite = [float(q) if np.isfinite(q) else None for q in quartiles]
        summary[_flat_name(*series)] = dict(zip(("median", "q25", "q75"), finite, strict=True))
    return summary


def _flat_name(split: str, layer: str, stage: str, measure: str, source_layer: str) -> str:
    names = ("" if split in rows_of_split() else split, layer, stage, measure)
    return ".".join(name for name in names if name) + (f"@{source_layer}" if source_layer else "")


def _table(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """The columns in the schema's order and types."""
    schema = arrow_schema(table)
    assert columns.keys() == set(schema.names), f"columns of {table}: {sorted(columns)}"
    return pa.table(dict(columns), schema=schema)


def _numpy(values: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return values.detach().double().cpu().numpy()


def _repeat(texts: list[str], times: int | list[int]) -> pa.DictionaryArray:
    """Every text so many times (each its own number of times), dictionary-encoded."""
    codes_of = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    codes = np.repeat(np.asarray([codes_of[text] for text in texts], dtype=np.int32), times)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(codes_of)))
