"""The measurements of one training, in the order in which they were made: a table, and a run folder."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncbench.measure.measures import Measurement
from ncbench.measure.network import rows

if TYPE_CHECKING:
    import pandas as pd

    from ncbench.measure.run_record import RunRecord

__all__ = ["History"]


class History:
    """Every value as a row; spectra and matrices go to a run folder that is open, or are kept until one is asked for.

    Gram matrices and class means are kept of some measurements, and always of the last one: they wait until the next
    has come.
    """

    def __init__(self) -> None:
        self.record: RunRecord | None = None
        self._rows: list[dict[str, Any]] = []
        self._kept: list[tuple[int, float, Measurement]] = []
        self._waiting: tuple[int, float, Measurement] | None = None

    def add(self, step: int, epoch: float, measurement: Measurement, *, grams: bool, means: bool) -> None:
        """One measurement with all its matrices, of which `grams` and `means` say whether they stay."""
        self._rows += [{"step": step, "epoch": epoch, **row} for row in rows(measurement)]
        kept = replace(measurement, grams=measurement.grams if grams else {}, means=measurement.means if means else {})
        waiting = Measurement(
            grams={} if grams else measurement.grams, means={} if means else measurement.means
        )  # of the last measurement they stay too, and which that is an early stop decides
        self._waiting = (step, epoch, waiting)
        self._keep(step, epoch, kept)

    def finish(self) -> None:
        """The training is over: the matrices of the last measurement stay."""
        if self._waiting is not None:
            self._keep(*self._waiting)
            self._waiting = None

    def table(self) -> "pd.DataFrame":
        """Every value measured so far, one row each."""
        import pandas as pd

        return pd.DataFrame(self._rows)

    def write_run(self, folder: str | os.PathLike[str], values: Mapping[str, Any], recorded_by: str) -> None:
        """What is kept as a run folder. Raises ValueError where nothing has been measured."""
        from ncbench.measure.run_record import RunRecord

        if not self._kept:
            raise ValueError(f"{recorded_by} has measured nothing yet; it measures while trainer.fit runs")
        record = RunRecord(folder, values, recorded_by=recorded_by)
        record.check(0)
        record.begin(0)
        try:
            for step, epoch, measurement in self._kept:
                record.write(step, epoch, measurement)
            if self._waiting is not None:
                record.write(*self._waiting)
        finally:
            record.close("done")

    def _keep(self, step: int, epoch: float, measurement: Measurement) -> None:
        if self.record is not None:
            self.record.write(step, epoch, measurement)
        else:
            self._kept.append((step, epoch, measurement))
