"""The measurements of one training, in the order in which they were made: a table, and a run folder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ncbench.measure.measures import Measurement
from ncbench.measure.network import rows

if TYPE_CHECKING:
    import pandas as pd

    from ncbench.measure.run_record import RunRecord

__all__ = ["History", "Sink"]

Entry = tuple[int, float, Measurement]
Sink = Callable[[int, float, Measurement], None]
MATRICES = ("spectra", "grams", "means")


class History:
    """Every value as a row; spectra and matrices go to a run folder that is open, or are kept until one is asked for.

    Gram matrices and class means are kept of some measurements, and always of the last one: they wait until the next
    has come. With a `sink` nothing is kept here: it gets each measurement, and at the end the matrices that the last
    one was without, in a measurement that has no values.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        self.sink = sink
        self.record: RunRecord | None = None
        self._values: list[Entry] = []
        self._kept: list[Entry] = []
        self._waiting: Entry | None = None

    def __len__(self) -> int:
        return len(self._values)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process has no folder: one process at a time writes there."""
        return {**vars(self), "record": None}

    def add(self, step: int, epoch: float, measurement: Measurement, *, grams: bool, means: bool) -> None:
        """One measurement with all its matrices, of which `grams` and `means` say whether they stay."""
        if self.sink is None:
            self._values.append((step, epoch, Measurement(values=measurement.values)))
        kept = replace(measurement, grams=measurement.grams if grams else {}, means=measurement.means if means else {})
        waiting = Measurement(
            grams={} if grams else measurement.grams, means={} if means else measurement.means
        )  # of the last measurement they stay too, and which that is an early stop decides
        self._waiting = (step, epoch, waiting)
        self._keep(step, epoch, kept)

    def finish(self) -> None:
        """The training is over: the matrices of the last measurement stay."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and (waiting[2].grams or waiting[2].means):
            self._keep(*waiting)

    def table(self) -> "pd.DataFrame":
        """Every value measured so far, one row each."""
        import pandas as pd

        listed = [{"step": step, "epoch": epoch, **row} for step, epoch, values in self._values for row in rows(values)]
        return pd.DataFrame(listed)

    def state(self, *, matrices: bool) -> list[dict[str, Any]]:
        """What is kept as plain values and tensors; without `matrices` the values alone, which a checkpoint can carry.

        Where a folder is open it has the matrices.
        """
        if not matrices or not self._kept or self.record is not None:
            return [_plain(*entry) for entry in self._values]
        waiting = [] if self._waiting is None else [self._waiting]
        return [_plain(*entry) for entry in [*self._kept, *waiting]]

    @classmethod
    def of_state(cls, state: list[dict[str, Any]]) -> "History":
        """The history with what `state` gave."""
        history = cls()
        for entry in state:
            step, epoch = entry["step"], entry["epoch"]
            split_up = dict(zip(map(tuple, entry["keys"]), entry["values"].split(entry["sizes"]), strict=True))
            named: dict[str, Any] = {name: {tuple(key): x for key, x in entry[name]} for name in MATRICES}
            history._kept.append((step, epoch, Measurement(values=split_up, **named)))
            if split_up:
                history._values.append((step, epoch, Measurement(values=split_up)))
        return history

    def write_run(self, folder: str | os.PathLike[str], values: Mapping[str, Any], recorded_by: str) -> None:
        """What is kept as a run folder. ValueError where nothing has been measured, or a folder has it already."""
        from ncbench.measure.run_record import RunRecord

        if self.record is not None:
            raise ValueError(f"{recorded_by} records in a folder already, {self.record.run.path}; copy that")
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
        if self.sink is not None:
            self.sink(step, epoch, measurement)
        elif self.record is not None:
            self.record.write(step, epoch, measurement)
        else:
            self._kept.append((step, epoch, measurement))


def _plain(step: int, epoch: float, measurement: Measurement) -> dict[str, Any]:
    """A measurement as `History.of_state` takes it: all values in one tensor, as a file has an entry for each."""
    values = [x.cpu() for x in measurement.values.values()]
    return {
        "step": step,
        "epoch": epoch,
        "keys": [list(key) for key in measurement.values],
        "sizes": [len(x) for x in values],
        "values": torch.cat(values) if values else torch.zeros(0, dtype=torch.float64),
        **{name: [(list(key), x.cpu()) for key, x in getattr(measurement, name).items()] for name in MATRICES},
    }
