"""What the loggers get of a run, read from its records: numbers and pictures of one measurement, by their names.

The names of numbers are those of `ncbench.measure.keys.logged_name`; theory lines stand under `theory/`, singular
values under `spectra/<layer>/<stage>`, cosines of the class means under `gram/<layer>/<stage>`. A run has the same
names from one measurement to the next, but for measures that are taken at the last one only, and so has every run of a
sweep whose networks have the same layers: what is not defined is NaN, it is not left out. Quartiles over replicas
(`.q25`, `.q75`) stand beside every median of a run with several replicas, and of no other.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ncbench.measure.keys import logged_name
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import REFERENCES, REPLICAS, SERIES
from ncbench.records.small_files import read_json
from ncbench.records.storage import recorded_steps, rows_at
from ncbench.report.figures.gram import cosines

__all__ = ["EPOCH", "RATE", "STEP", "History", "Row"]

Values = npt.NDArray[np.float64]

STEP, EPOCH, RATE = (logged_name("", "", "", name) for name in ("step", "epoch", "learning_rate"))
_QUARTILES = {".q25": 0.25, ".q75": 0.75}
_MANY = ("spectra", "curve")  # measures whose theory lines are many numbers each: figures of the report draw them


@dataclass(frozen=True)
class Row:
    """One measurement. `numbers` holds medians and quartiles over replicas, the step, the epoch and the learning rate.

    `spectra` (the singular values of all replicas) and `cosines` (K x K, of the replica with the lowest loss at this
    step, whose number is `replica`) are there where Gram matrices were recorded: at every `measure.gram_every`-th
    measurement, at the first and at the last.
    """

    step: int
    numbers: dict[str, float]
    spectra: dict[str, Values] = field(default_factory=dict)
    cosines: dict[str, Values] = field(default_factory=dict)
    replica: int = 0


class History:
    """The rows of the run in a folder; read anew from the files at every call, but for the theory lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps at which measures are recorded, ascending."""
        return recorded_steps(self.folder)

    def row(self, step: int) -> Row:
        """What was recorded at a step."""
        frame = rows_at(self.folder, "measures", step).to_pandas()
        rates = read_run_info(self.folder).get("learning_rates") or {}
        rate = rates.get(str(step))
        numbers = {STEP: float(step), EPOCH: float(frame["epoch"].iloc[0]), RATE: np.nan if rate is None else rate}
        losses = np.full(1, np.nan)
        for series, group in frame.groupby(list(SERIES), sort=False, observed=True):
            split, layer, stage, measure, source = map(str, series)
            name = logged_name(split, layer, stage, f"{measure}@{source}" if source else measure)
            values = group["value"].to_numpy()
            numbers |= _over_replicas(name, values)
            if name == logged_name("", "", "", "loss"):
                losses = values
        numbers |= self._theory
        grams = self._grouped("grams", step)
        if not len(grams):
            return Row(step, numbers)
        best = int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))
        return Row(step, numbers, dict(self._spectra(step)), dict(_cosines(grams, best)), best)

    @functools.cached_property
    def _theory(self) -> dict[str, float]:
        """The theory lines, which are one number per replica, like a measure that does not change."""
        replicas = len(read_json(self.folder / REPLICAS))
        lines: dict[str, Values] = {}
        for entry in read_json(self.folder / REFERENCES):
            measure = entry.get("measure", "loss")
            if measure in _MANY:
                continue
            of = () if measure == "loss" else (measure,)
            values = lines.setdefault("/".join(("theory", entry["name"], *of)), np.full(replicas, np.nan))
            value = entry["value"]
            values[slice(None) if entry["replicas"] is None else entry["replicas"]] = np.nan if value is None else value
        return {key: x for name, values in lines.items() for key, x in _over_replicas(name, values).items()}

    def _spectra(self, step: int) -> Iterator[tuple[str, Values]]:
        for (layer, stage), group in self._grouped("spectra", step):
            yield f"spectra/{layer}/{stage}", group["singular_value"].to_numpy()

    def _grouped(self, table: str, step: int) -> Any:
        frame = rows_at(self.folder, table, step).to_pandas()
        return frame.groupby(["layer", "stage"], sort=False, observed=True)


def _cosines(grams: Any, replica: int) -> Iterator[tuple[str, Values]]:
    for (layer, stage), group in grams:
        row = group[group["replica"] == replica].iloc[0]
        yield f"gram/{layer}/{stage}", cosines(np.asarray(row["gram"]).reshape(int(row["size"]), -1))


def _over_replicas(name: str, values: Values) -> dict[str, float]:
    """The median under its name and the quartiles beside it; NaN where the value of any replica is NaN.

    >>> _over_replicas("nc/loss", np.array([3.0])), _over_replicas("nc/loss", np.array([1.0, 2.0, 5.0]))
    ({'nc/loss': 3.0}, {'nc/loss': 2.0, 'nc/loss.q25': 1.5, 'nc/loss.q75': 3.5})
    """
    if len(values) == 1:
        return {name: float(values[0])}
    with np.errstate(invalid="ignore"):  # between infinite values
        quartiles = np.quantile(values, list(_QUARTILES.values()))
        median = float(np.median(values))
    return {name: median} | {name + ending: float(x) for ending, x in zip(_QUARTILES, quartiles, strict=True)}
