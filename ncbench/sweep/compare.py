"""Two runs of one configuration, value by value: identical, or where they differ first in the order of training.

Everything that a run records is compared with ==, NaN with NaN: no tolerance, as the same machine, versions and number
of threads give the same bits.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ncbench.records.part_sizes import check_sizes
from ncbench.records.schema import MEASURED, TABLES, arrow_schema, last_step, parts, row_key
from ncbench.records.small_files import BadRecordsError

__all__ = ["Comparison", "compare_digests", "compare_tables", "made_differently", "relative_difference"]


@dataclass
class Comparison:
    """What two runs have in common. `first` says the first difference in one sentence, "" where there is none.

    `values` and `steps` count what both have, `differing` the values that are not the same in both, `largest` is their
    largest relative difference and `largest_at` where it is; `missing` and `new` count the rows that only the first
    or only the second run has.
    """

    values: int = 0
    steps: set[int] = field(default_factory=set)
    first: str = ""
    first_at: tuple[int, int, int] | None = None  # step, table, row
    differing: int = 0
    largest: float = -1.0
    largest_at: str = ""
    missing: int = 0
    new: int = 0

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.first_at is None

    def found(self, at: tuple[int, int, int], sentence: str) -> None:
        """Note a difference; the one that comes first in the order of training stays."""
        if self.first_at is None or at < self.first_at:
            self.first_at, self.first = at, sentence

    def text(self) -> str:
        """The outcome, one line for each kind of it."""
        if self.identical:
            return f"identical: {self.values} values at {len(self.steps)} steps"
        lines = [f"different: {self.first}"]
        if self.differing:
            most = "not comparable as a ratio" if math.isinf(self.largest) else f"{self.largest:.3g} relative"
            lines += [f"{self.differing} of {self.values} values differ, by at most {most} ({self.largest_at})"]
        if self.missing or self.new:
            lines += [f"{self.missing} rows are missing, {self.new} are new"]
        return "\n".join(lines)


def compare_tables(recorded: Path, again: Path) -> Comparison:
    """All recorded tables of two run folders. Raises BadRecordsError for a table that cannot be read."""
    comparison = Comparison()
    for place, table in enumerate(TABLES):
        for one, other in _chunks(parts(recorded, table), parts(again, table)):
            _compare(comparison, place, table, _read(one, table), _read(other, table))
    return comparison


def _chunks(one: list[Path], other: list[Path]) -> Iterator[tuple[list[Path], list[Path]]]:
    """Pieces of a table with the same steps in both, cut where both end a part: few rows are in memory at a time."""
    ends = [-1, *sorted({last_step(part) for part in one} & {last_step(part) for part in other}), math.inf]
    for low, high in pairwise(ends):
        pieces = tuple([part for part in files if low < last_step(part) <= high] for files in (one, other))
        if any(pieces):
            yield pieces[0], pieces[1]


def _read(files: list[Path], table: str) -> pd.DataFrame:
    schema = arrow_schema(table)
    try:
        check_sizes(files[0].parent if files else Path(table), map(pq.read_metadata, files))
        read = [pq.read_table(file).select(schema.names).cast(schema) for file in files]
    except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError, OSError) as error:
        raise BadRecordsError(f"{files[0].parent} is not readable as records ({error})") from None
    frame: pd.DataFrame = pa.concat_tables([schema.empty_table(), *read]).unify_dictionaries().to_pandas()
    texts = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return frame.astype(dict.fromkeys(texts, str))


def _compare(comparison: Comparison, place: int, table: str, recorded: pd.DataFrame, again: pd.DataFrame) -> None:
    keys = row_key(table)
    both = recorded.merge(again, on=keys, how="outer", suffixes=("", " again"), indicator="of", sort=False)
    # In the order of training: by step, and within a step as it was recorded.
    order = recorded[keys].assign(order=np.arange(len(recorded)))
    both = both.merge(order, on=keys, how="left").sort_values(["step", "order"], kind="stable", ignore_index=True)
    for number in np.flatnonzero(both["of"] != "both")[:1]:
        row = both.iloc[number]
        what = (
            "recorded before, but not this time" if row["of"] == "left_only" else "recorded this time, but not before"
        )
        comparison.found((int(row["step"]), place, int(number)), f"{_where(table, row)}: {what}")
    comparison.missing += int((both["of"] == "left_only").sum())
    comparison.new += int((both["of"] == "right_only").sum())
    shared = both[both["of"] == "both"]
    comparison.steps |= {int(step) for step in shared["step"].unique()}
    for column in [name for name in TABLES[table] if name not in keys]:
        measured = column in MEASURED
        numbers = shared[column].map(np.size).sum() if TABLES[table][column].type == "floats" else len(shared)
        comparison.values += int(numbers) if measured else 0
        for row in np.flatnonzero(_unequal(shared[column], shared[f"{column} again"])):
            _note(comparison, place, table, column, shared.iloc[row], int(shared.index[int(row)]))


def _unequal(one: "pd.Series[Any]", other: "pd.Series[Any]") -> Any:
    """Which rows differ; two that are not a number are the same."""
    if one.dtype == object:
        return [not np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)]
    return ~((one == other) | (one.isna() & other.isna())).to_numpy()


def _note(comparison: Comparison, place: int, table: str, column: str, row: Any, number: int) -> None:
    """A row whose value is not the same, or whose matrix has some that are not."""
    one, other = np.atleast_1d(row[column]), np.atleast_1d(row[f"{column} again"])
    where = _where(table, row) + ("" if column in MEASURED else f", its {column}")
    if len(one) != len(other):
        comparison.found((int(row["step"]), place, number), f"{where}: {len(one)} and {len(other)} numbers")
        return
    for entry in np.flatnonzero(~((one == other) | (np.isnan(one) & np.isnan(other)))):
        at = where + (f", entry {entry}" if len(one) > 1 else "")
        before, now = one[entry], other[entry]
        relative = relative_difference(float(before), float(now))
        said = f"relative difference {relative:.3g}" if math.isfinite(relative) else "no finite ratio"
        comparison.found((int(row["step"]), place, number), f"{at}: {before!s} before, {now!s} this time ({said})")
        comparison.differing += 1
        if relative > comparison.largest:
            comparison.largest, comparison.largest_at = relative, at


def relative_difference(one: float, other: float) -> float:
    """|a - b| / max(|a|, |b|); infinite where one of them is not finite.

    >>> relative_difference(2.0, 1.0), relative_difference(0.0, 1.0), relative_difference(float("nan"), 1.0)
    (0.5, 1.0, inf)
    """
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other))


def _where(table: str, row: Any) -> str:
    """Step, layer, stage, measure and replica of a row."""
    of_network = f"{row['layer']}.{row['stage']} " if row["layer"] else ""
    name = {"spectra": "singular value", "grams": "Gram matrix", "means": "class means"}.get(table, table)
    if table == "measures":
        source = f" of {row['source_layer']}" if row["source_layer"] else ""
        name = f"{row['measure']}{source}" + (f" ({row['split']})" if row["split"] else "")
    elif table == "spectra":
        name += f" {row['index']}"
    elif table == "sample_grams":
        name = "Gram matrix of the samples"
    return f"step {row['step']}, {of_network}{name}, replica {row['replica']}"


def compare_digests(recorded: Mapping[str, str], again: Mapping[str, str]) -> tuple[int, str]:
    """Number of steps of which the weights have the same digest, and the first difference, "" where there is none.

    >>> compare_digests({"0": "a", "5": "b"}, {"0": "a", "5": "c"})
    (1, 'the weights differ from step 5 on')
    """
    steps = sorted({int(step) for step in (*recorded, *again)})
    for equal, step in enumerate(steps):
        before, now = recorded.get(str(step)), again.get(str(step))
        if before is None or now is None:
            what = "this time, but not before" if before is None else "before, but not this time"
            return equal, f"step {step}: the weights have a digest {what}"
        if before != now:
            return equal, f"the weights differ from step {step} on"
    return len(steps), ""


def made_differently(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """What is not the same around two runs, by their run.json: versions, machine, commit; "" where nothing is."""
    said = []
    for group, names in (("versions", None), ("device", ("accelerator", "name", "threads")), ("git", ("commit",))):
        before, now = recorded.get(group) or {}, again.get(group) or {}
        for key in names or dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key):
                said.append(f"{key} {before.get(key) or 'unknown'} before, {now.get(key) or 'unknown'} this time")
    return "; ".join(said)
