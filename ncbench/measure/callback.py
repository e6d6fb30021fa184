"""`MeasureCollapse`, a Lightning callback for any network."""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from ncbench.measure.batches import check_callable
from ncbench.measure.check_functions import check_functions
from ncbench.measure.coverage import SameSamples
from ncbench.measure.first_pass import Objective
from ncbench.measure.history import Sink
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.keys import logged_name
from ncbench.measure.measure_pass import measure
from ncbench.measure.measures import MatrixMeasure, Measurement, MomentMeasure
from ncbench.measure.names import names_on_request
from ncbench.measure.notices import Notices
from ncbench.measure.plan import Plan
from ncbench.measure.recording import Recording
from ncbench.measure.rehearsal import rehearse
from ncbench.measure.trainer_state import (
    averaged,
    averages,
    finished_epochs,
    is_untrained,
    last_epoch,
    steps_taken,
)

__all__ = ["MeasureCollapse"]

_log = logging.getLogger(__name__)

OPTIONS = ("reduction", "measures", "batch_norm", "unpack", "sharded", "threads", "missing_classes")
Loader = Iterable[Any]
Clock = Callable[[pl.Trainer], tuple[int, float]]


class MeasureCollapse(Recording):
    """Measures the named layers before training and at the end of epochs; training itself is not affected.

    `layers` are names of modules (or globs); `dataloader` yields (inputs, labels) or mappings, every sample once and
    without augmentation, or is a mapping {"train": ..., "test": ...}, the first of which gives spectra and Gram
    matrices. `epochs` says after how many finished epochs to measure (0: before training); None means before training
    and after every epoch.

    With `folder` the training becomes a run folder (docs/runs.md), which `python -m ncbench.report`, the figures and
    `load_measures` read: status, measures, spectra, Gram matrices (of every `gram_every`-th measurement and the last),
    class means (first and last), and what the trainer says. A training that is resumed from a checkpoint goes on in its
    folder. Without it `write_run` makes such a folder afterwards.

    Each measurement goes to `sink(step, epoch, measurement)`; without a sink it is kept in `table()`, and the values
    (medians over replicas) are sent to the trainer's loggers under the names of `keys.logged_name`,
    `nc/<layer>/<stage>/<measure>`, with `prefix` in place of nc. With them go `epoch`, in Lightning's sense (the epoch
    under way or just finished, from 0), and `nc/epoch`, how many are finished. `module` is the network inside the
    LightningModule or its name there, `module="net"` (default: the LightningModule itself, which then needs a method
    `forward`), `clock` reads the step and epoch of problems that count their own.

    `objective`, `moments`, `matrices`, and as `options` `reduction`, `measures` ("nc" for NC1 to NC4), `batch_norm`,
    `unpack`, `sharded`, `threads` and `missing_classes`, are those of `measure`. Under DDP the processes divide the
    samples among them (see `distributed`); process 0 alone has sink and loggers.

    The weights that are measured are those that the training keeps: averages, where a callback of Lightning makes some
    (see `trainer_state`). The last measurement has its matrices however the training ends: a sink that it came to
    without them gets them in one more, which has no values. Checkpoints and other processes: see `Recording`.

    What is wrong with the arguments is raised as ValueError before the first epoch: `moments` and `matrices` are tried
    on random features at once (see `check_functions`), the rest by the first measurement or by a rehearsal (see
    `rehearsal`). Later a measurement that fails is logged and left out: it does not end the training.

    An argument of another name is a TypeError.
    """

    def __init__(
        self,
        layers: Sequence[str],
        dataloader: Loader | Mapping[str, Loader],
        num_classes: int,
        *,
        epochs: Collection[int] | None = None,
        objective: Objective | None = None,
        moments: Mapping[str, MomentMeasure] | None = None,
        matrices: Mapping[str, MatrixMeasure] | None = None,
        gram_every: int = 8,
        sink: Sink | None = None,
        module: nn.Module | str | None = None,
        clock: Clock | None = None,
        prefix: str = "nc",
        folder: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes} must be at least 2")
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise TypeError(f"MeasureCollapse got the unexpected argument {unknown[0]}; it takes {', '.join(OPTIONS)}")
        self.names = names_on_request(options.get("measures", ()))
        super().__init__(sink, folder)
        self.layers, self.num_classes = list(layers), num_classes
        self.loaders = dataloader if isinstance(dataloader, Mapping) else {"train": dataloader}
        self.plan = Plan(epochs, gram_every)
        self.options = {"objective": objective, "moments": moments, "matrices": matrices, **options}
        self.reduction, self.unpack = options.get("reduction", "flatten"), options.get("unpack")
        self.module, self.prefix, self.clock = module, prefix, clock or _clock
        self.latest: Measurement | None = None
        self.notices, self.samples = Notices(), SameSamples()
        self._at_end = False  # whether the last measurement waits until the training has ended
        has_replica_axis = False
        if isinstance(module, nn.Module):  # an unknown layer is refused at once
            has_replica_axis = LayerHooks(module, self.layers, reduction=self.reduction).has_replica_axis
        check_functions(moments or {}, matrices or {}, num_classes, has_replica_axis=has_replica_axis)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = self._network(pl_module)
        check_callable(network)
        fresh = is_untrained(trainer)
        if fresh:
            self.notices, self.samples = Notices(), SameSamples()
        measured = {"layers": self.layers, "num_classes": self.num_classes, "measures": self.names}
        record = self.begin_history(trainer, pl_module, network, measured, fresh)
        self._at_end = False
        self.plan.begin(last_epoch(trainer))
        due = fresh and self.plan.is_due(0)
        rehearse(
            network,
            self.loaders,
            self.layers,
            num_classes=self.num_classes,
            reduction=self.reduction,
            unpack=self.unpack,
            processes=trainer.world_size,
            measured_next=due,
        )
        measurement = None
        if due:
            with averaged(trainer, pl_module):
                measurement = self._measure(trainer, network)
        if record is not None and trainer.is_global_zero:
            self.history.record = record  # first: what fails in it is closed by `on_exception`
            record.begin(steps_taken(trainer))
        if measurement is not None:
            self._hand_over(trainer, measurement, 0)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = finished_epochs(trainer)
        if not self.plan.is_due(finished):
            return
        self._at_end = averages(trainer) and finished == last_epoch(trainer)
        if not self._at_end:  # else the weights that are kept are in the network only then
            self._measure_if_possible(trainer, pl_module, finished)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._at_end:
            self.end_history(trainer, "done")
            self.plan.end(finished_epochs(trainer))

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._at_end:
            self._at_end = False
            self._measure_if_possible(trainer, pl_module, finished_epochs(trainer))
            self.end_history(trainer, "done")

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit))
        self.end_history(trainer, "interrupted" if stopped else "failed", f"{type(exception).__name__}: {exception}")

    def _network(self, pl_module: pl.LightningModule) -> nn.Module:
        """What is measured; ValueError of one line where its name is none of the LightningModule's."""
        if not isinstance(self.module, str):
            return pl_module if self.module is None else self.module
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            inside = ", ".join(name for name, _ in pl_module.named_children())
            raise ValueError(f"module={self.module}: the LightningModule has no such module; it has {inside}") from None

    def _measure_if_possible(self, trainer: pl.Trainer, pl_module: pl.LightningModule, finished: int) -> None:
        with averaged(trainer, pl_module):
            measurement = self._measure_or_leave_out(trainer, self._network(pl_module), finished)
        if measurement is not None:  # a record that cannot be written is the run's failure, not a measure's
            self._hand_over(trainer, measurement, finished)

    def _measure_or_leave_out(
        self, trainer: pl.Trainer, network: nn.Module, finished: int, **changed: Any
    ) -> Measurement | None:
        """The measurement of this network, `options` changed; None, and the reason in the log, where it fails."""
        try:
            return self._measure(trainer, network, **changed)
        except Exception as error:
            _log.warning("the measurement after epoch %d failed and is left out: %s", finished, error, exc_info=error)
            return None

    def _measure(self, trainer: pl.Trainer, network: nn.Module, **changed: Any) -> Measurement:
        return measure(
            network,
            self.loaders,
            layers=self.layers,
            num_classes=self.num_classes,
            grams=True,
            means=True,
            distributed=trainer.world_size > 1,
            notices=self.notices,
            **{**self.options, **changed},
        )

    def _hand_over(self, trainer: pl.Trainer, measurement: Measurement, finished: int) -> None:
        self.latest = measurement
        self.samples.compare(measurement.class_counts, self.notices)
        if not trainer.is_global_zero:
            return
        step, epoch = self.clock(trainer)
        grams, means = self.plan.lasting(finished)
        self.history.add(step, epoch, measurement, grams=grams, means=means)
        if self.sink is not None:
            return
        first = next(iter(self.loaders))
        logged: dict[str, float] = {
            logged_name(*key, prefix=self.prefix, first_split=first): float(x.nanmedian())
            for key, x in measurement.values.items()
        }
        logged |= {"epoch": trainer.current_epoch, logged_name("", "", "", "epoch", prefix=self.prefix): epoch}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=step)
            logger.save()


def _clock(trainer: pl.Trainer) -> tuple[int, float]:
    return steps_taken(trainer), float(finished_epochs(trainer))
