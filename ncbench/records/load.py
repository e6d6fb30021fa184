"""Reads the columnar records of run folders: measures, spectra, Gram matrices.

Reading is columnar (`ncbench.records.tables`); text columns become pandas categoricals.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.cache import cached
from ncbench.records.errors import DamagedError
from ncbench.records.layers import layer_key, stage_key
from ncbench.records.runs import (
    Dir,
    find_runs,
    load_references,
    load_replicas,
    load_run_info,
    named_runs,
)
from ncbench.records.schema import RUN, SERIES, columns
from ncbench.records.tables import Steps, filters, read_table

__all__ = [
    "find_runs",
    "load_final",
    "load_grams",
    "load_means",
    "load_measures",
    "load_references",
    "load_replicas",
    "load_run_info",
    "load_sample_grams",
    "load_spectra",
]

Names = str | Iterable[str] | None


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


def load_sample_grams(dir: Dir, steps: Steps = None) -> pd.DataFrame:
    """Gram matrices Z Z^T of all samples, sorted by class, one row each; recorded for few samples only.

    Columns: run, replica, step, layer, stage, size (N), gram (an N x N array).
    """
    return _load_matrices(dir, "sample_grams", "gram", steps)


def load_means(dir: Dir, steps: Steps = None) -> pd.DataFrame:
    """Class means, not centred, at the first and the last measurement, one matrix per row.

    Columns: run, replica, step, layer, stage, size (K), mean (a K x d array). Layers wider than 512 are not kept.
    """
    return _load_matrices(dir, "means", "mean", steps)


def _load_matrices(dir: Dir, table: str, column: str, steps: Steps) -> pd.DataFrame:
    frame = _load(dir, table, steps)
    both = zip(frame[column], frame["size"], strict=True)
    try:
        matrices = [np.asarray(matrix).reshape(size, -1) for matrix, size in both]
    except (ValueError, TypeError):
        raise DamagedError(f"{table} of {dir}: has a matrix whose numbers do not fit its number of rows") from None
    frame[column] = pd.Series(matrices, index=frame.index, dtype=object)
    return frame


@cached
def load_final(dir: Dir, measures: Names = None, layers: Names = None) -> pd.DataFrame:
    """The last recorded value of every series of `load_measures`, with the same columns and filters.

    A series is a split, layer, stage, source layer and measure of a run. Differs from
    `load_measures(dir, steps="last")` where some series are recorded less often than others.
    """
    series = [RUN, *SERIES]
    conditions = filters({"measure": measures, "layer": layers})
    steps = read_table(dir, "measures", None, [*series, "step"], conditions)
    # Grouped by pyarrow, so that of ten million rows a few hundred reach pandas.
    last = steps.group_by(series).aggregate([("step", "max")])["step_max"].unique().to_pylist()
    frame = load_measures(dir, measures, layers, steps=last)
    return frame[frame["step"] == frame.groupby(series, observed=True)["step"].transform("max")]


def _load(dir: Dir, table: str, steps: Steps, **names: Any) -> pd.DataFrame:
    rows = read_table(dir, table, steps, [RUN, *columns(table)], filters(names))
    frame: pd.DataFrame = rows.to_pandas(self_destruct=True)
    if not len(frame):  # a table without rows forgets its dictionary
        frame[RUN] = pd.Categorical([], categories=list(named_runs(dir)))
    orders = {"layer": _ordered_layers, "source_layer": _ordered_layers, "stage": _ordered_stages}
    for name, order in orders.items():
        if name in frame:
            frame[name] = frame[name].cat.reorder_categories(order(list(frame[name].cat.categories)))
    return frame


def _ordered_layers(layers: list[str]) -> list[str]:
    return sorted(layers, key=lambda layer: layer_key(layer, layers.index(layer)))


def _ordered_stages(stages: list[str]) -> list[str]:
    return sorted(stages, key=stage_key)
