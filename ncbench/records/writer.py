"""Columnar, crash-safe records: one parquet file per table and measurement, renamed into place when complete.

A kill loses at most the measurement being written. On resume the files past the checkpoint's step are removed and
written again, so no row is there twice. Values are float64, names are dictionary-encoded.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ncbench.measure import Measurement

__all__ = ["TABLES", "RecordWriter", "summarise"]

SERIES = ["split", "layer", "stage", "measure", "source_layer"]
TABLES = ("measures", "spectra", "grams", "means", "sample_grams")
MEASURED = ("value", "singular_value", "gram", "mean")  # no two alike: a dictionary only costs time and space


class RecordWriter:
    """Writes measurements into a run folder. `seeds` holds the seed of every replica."""

    def __init__(self, folder: str | os.PathLike[str], seeds: Sequence[int]) -> None:
        self.folder = Path(folder)
        self.seeds = np.asarray(seeds, dtype=np.int64)
        for table in TABLES:
            (self.folder / table).mkdir(parents=True, exist_ok=True)

    def keep_until(self, step: int | None) -> None:
        """Remove what was recorded after this step (None: everything), and what a kill left unfinished."""
        for table in TABLES:
            for left in (self.folder / table).glob(".*.tmp"):
                left.unlink()
            for part in (self.folder / table).glob("part-*.parquet"):
                if step is None or int(part.stem.removeprefix("part-")) > step:
                    part.unlink()

    def write(self, step: int, epoch: float, found: Measurement) -> None:
        """One measurement as rows of `measures`, `spectra` and, where it has any, of the tables of matrices."""
        self._put("measures", step, self._measures(step, epoch, found))
        self._put("spectra", step, self._spectra(step, found))
        of_tables = (
            ("grams", "gram", found.grams),
            ("means", "mean", found.means),
            ("sample_grams", "gram", found.sample_grams),
        )
        for table, column, found_matrices in of_tables:
            if found_matrices:
                self._put(table, step, self._matrices(step, column, found_matrices))

    def _measures(self, step: int, epoch: float, found: Measurement) -> pa.Table:
        every = {**{(*key, ""): value for key, value in found.values.items()}, **found.of_sources}
        R, keys = len(self.seeds), list(every)
        names = {name: [key[i] for key in keys] for i, name in enumerate(SERIES)}
        values = np.stack([_numpy(every[key]) for key in keys])
        columns: dict[str, Any] = {
            "replica": np.tile(np.arange(R, dtype=np.int32), len(keys)),
            "seed": np.tile(self.seeds, len(keys)),
            "step": np.full(values.size, step, dtype=np.int64),
            "epoch": np.full(values.size, epoch, dtype=np.float64),
            **{key: _repeat(names[key], R) for key in ("split", "layer", "stage")},
            "source_layer": _repeat(names["source_layer"], R),
            "measure": _repeat(names["measure"], R),
            "value": values.reshape(-1),
        }
        return pa.table(columns)

    def _spectra(self, step: int, found: Measurement) -> pa.Table:
        tables = []
        for (layer, stage), s in found.spectra.items():
            values = _numpy(s)
            R, count = values.shape
            columns = {
                "replica": np.repeat(np.arange(R, dtype=np.int32), count),
                "step": np.full(values.size, step, dtype=np.int64),
                "layer": _repeat([layer], values.size),
                "stage": _repeat([stage], values.size),
                "index": np.tile(np.arange(count, dtype=np.int16), R),
                "singular_value": values.reshape(-1),
            }
            tables.append(pa.table(columns))
        return pa.concat_tables(tables).unify_dictionaries()

    def _matrices(self, step: int, column: str, found: Mapping[tuple[str, str], torch.Tensor]) -> pa.Table:
        """One row per replica and layer: the number of classes (`size`) and the matrix, row by row."""
        tables = []
        for (layer, stage), matrices in found.items():
            with np.errstate(over="ignore"):  # of a diverged replica
                values = _numpy(matrices).astype(np.float32)
            R, K, width = values.shape
            columns = {
                "replica": np.arange(R, dtype=np.int32),
                "step": np.full(R, step, dtype=np.int64),
                "layer": _repeat([layer], R),
                "stage": _repeat([stage], R),
                "size": np.full(R, K, dtype=np.int16),
                column: pa.ListArray.from_arrays(np.arange(R + 1, dtype=np.int32) * K * width, values.reshape(-1)),
            }
            tables.append(pa.table(columns))
        return pa.concat_tables(tables).unify_dictionaries()

    def _put(self, table: str, step: int, rows: pa.Table) -> None:
        target = self.folder / table / f"part-{step:012d}.parquet"
        temporary = target.parent / f".{target.name}.tmp"
        names = [name for name in rows.column_names if name not in MEASURED]
        pq.write_table(rows, temporary, compression="zstd", use_dictionary=names)
        os.replace(temporary, target)


def summarise(folder: str | os.PathLike[str], step: int | None = None) -> dict[str, dict[str, float | None]]:
    """Median and quartiles over replicas of every value recorded at a step (None: the last), under flat names.

    Names are `loss`, `<layer>.<stage>.<measure>`, with `@<source layer>` behind where there is one; values of the test
    split have `test.` in front. NaN becomes None.
    """
    parts = sorted((Path(folder) / "measures").glob("part-*.parquet"))
    chosen = parts[-1:] if step is None else [p for p in parts if int(p.stem.removeprefix("part-")) == step]
    flat: dict[str, dict[str, float | None]] = {}
    for part in chosen:
        rows = pq.read_table(part, columns=[*SERIES, "value"]).to_pandas()
        for key, group in rows.groupby(SERIES, sort=False, observed=True):
            split, *names, source = key
            name = ".".join(n for n in ("test" if split == "test" else "", *names) if n)
            name += f"@{source}" if source else ""
            with np.errstate(invalid="ignore"):  # between infinite values
                quartiles = np.quantile(group["value"], [0.5, 0.25, 0.75])
            found = [float(q) if np.isfinite(q) else None for q in quartiles]
            flat[name] = dict(zip(("median", "q25", "q75"), found))
    return flat


def _numpy(x: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return x.detach().double().cpu().numpy()


def _repeat(names: list[str], times: int) -> pa.DictionaryArray:
    distinct = list(dict.fromkeys(names))
    codes = np.repeat(np.asarray([distinct.index(n) for n in names], dtype=np.int32), times)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(distinct))
