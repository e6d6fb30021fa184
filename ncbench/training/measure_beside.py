"""`MeasureBeside`: an ensemble is measured in a thread of its own while the training goes on.

The weights of a measured step are copied, and the copy is measured and recorded while the next steps are taken: the
numbers are those of measuring in between. Nothing that the training decides depends on them. A checkpoint waits for the
records of all steps before it.
"""

import logging
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from ncbench.measure import MeasureCollapse, Measurement
from ncbench.measure.trainer_state import finished_epochs
from ncbench.training.beside import Beside
from ncbench.training.full_batch import FullBatchModule
from ncbench.training.full_batch_measures import FullBatchMeasures

__all__ = ["MeasureBeside"]

_log = logging.getLogger(__name__)

COPIES = 2  # one that is measured, and one that waits: a run holds no more networks than that beside its own

Record = Callable[[int, float, Measurement, nn.Module], None]


class MeasureBeside(MeasureCollapse):
    """`MeasureCollapse` whose measurements after step 0 are made beside the training, where the module allows that.

    Each goes to `record(step, epoch, measurement, network)`, with what the module's `further_measures` add to it, in
    order and one at a time; `network` is what was measured, which may be a copy of the one that is trained. Where a
    record cannot be written the training fails, at the end of the block under way.
    """

    def __init__(self, *args: Any, record: Record, **options: Any) -> None:
        super().__init__(*args, sink=self._hand_on, **options)
        self.record = record
        self._trained: Any = None
        self._measured: FullBatchMeasures | None = None  # the copy that was measured last
        self._beside: Beside | None = None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained, self._measured = pl_module, None
        super().on_train_start(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not (isinstance(pl_module, FullBatchModule) and pl_module.is_trained_apart()):
            super().on_train_epoch_end(trainer, pl_module)
            return
        if self._beside is None:
            self._beside = Beside(COPIES)
            self._copies = cycle([pl_module.measures.copy() for _ in range(COPIES)])
        self._beside.wait_until(COPIES)
        finished = finished_epochs(trainer)
        if self.plan.is_due(finished):
            self._beside.wait_until(COPIES - 1)  # then the copy that was taken longest ago is free
            copy = next(self._copies)
            copy.take_over(pl_module.network)
            self._beside.start(partial(self._measure_copy, trainer, copy, finished, *self.clock(trainer)))

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.wait()

    def wait(self) -> None:
        """Until everything that was to be measured so far is recorded; raises what a record has failed with."""
        if self._beside is not None:
            self._beside.wait_until(0)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.end()
        super().on_train_end(trainer, pl_module)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        try:
            self.end()
        except Exception as error:
            if error is not exception:
                _log.error("a measurement before that could not be recorded: %s", error, exc_info=error)
        super().on_exception(trainer, pl_module, exception)

    def end(self) -> None:
        """End the thread, once what it has to do is done; raises what a record has failed with. Once or more often."""
        if self._beside is not None:
            self._beside.close()  # which a signal may break off: then there is still something to end
            self._beside = None

    def _measure_copy(
        self, trainer: pl.Trainer, copy: FullBatchMeasures, finished: int, step: int, epoch: float
    ) -> None:
        # The other half of the threads is left to the training.
        threads = max(1, self.options.get("threads", 1) // 2)
        options = {"objective": copy.objective, "threads": threads}
        measurement = self._measure_or_leave_out(trainer, copy.network, finished, **options)
        if measurement is not None:
            self.latest, self._measured = measurement, copy
            self.samples.compare(measurement.class_counts, self.notices)
            grams, means = self.plan.lasting(finished)
            self.history.add(step, epoch, measurement, grams=grams, means=means)

    def _hand_on(self, step: int, epoch: float, measurement: Measurement) -> None:
        """What `history` hands on: a measurement, or at the end the matrices that the last one was without."""
        copy, trained = self._measured, self._trained
        if measurement.values and copy is not None:
            measurement.update(copy.further(step))
        elif measurement.values and hasattr(trained, "further_measures"):
            measurement.update(trained.further_measures(measurement))
        self.record(step, epoch, measurement, trained.network if copy is None else copy.network)
