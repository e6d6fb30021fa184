"""`MeasureCollapse`, a Lightning callback for any network."""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from ncbench.measure.batches import check_callable
from ncbench.measure.check_functions import check_functions
from ncbench.measure.first_pass import Objective
from ncbench.measure.history import History
from ncbench.measure.hooks import LayerHooks
from ncbench.measure.keys import logged_name
from ncbench.measure.measure_pass import measure
from ncbench.measure.measures import MatrixMeasure, Measurement, MomentMeasure
from ncbench.measure.names import names_on_request
from ncbench.measure.notices import Notices
from ncbench.measure.own_training import device_of, training_values
from ncbench.measure.rehearsal import rehearse

if TYPE_CHECKING:
    import pandas as pd

    from ncbench.measure.run_record import RunRecord

__all__ = ["MeasureCollapse"]

_log = logging.getLogger(__name__)

OPTIONS = ("reduction", "measures", "batch_norm", "unpack", "sharded", "threads")
Loader = Iterable[Any]
Sink = Callable[[int, float, Measurement], None]
Clock = Callable[[pl.Trainer], tuple[int, float]]


class MeasureCollapse(pl.Callback):
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
    `unpack`, `sharded` and `threads`, are those of `measure`. Under DDP the processes divide the samples among them
    (see `distributed`); process 0 alone has sink, loggers and table.

    What is wrong with the arguments is raised as ValueError before the first epoch: `moments` and `matrices` are tried
    on random features at once (see `check_functions`), the rest by the first measurement or by a rehearsal on one
    batch. Later a measurement that fails is logged and left out: it does not end the training.

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
        if sink is not None and folder is not None:
            raise ValueError(f"folder={folder}: measurements go to a sink already")
        self.layers, self.num_classes = list(layers), num_classes
        self.loaders = dataloader if isinstance(dataloader, Mapping) else {"train": dataloader}
        self.due = None if epochs is None else sorted(epochs)
        self.options = {"objective": objective, "moments": moments, "matrices": matrices, **options}
        self.reduction, self.unpack = options.get("reduction", "flatten"), options.get("unpack")
        self.gram_every, self.sink, self.module, self.prefix = gram_every, sink, module, prefix
        self.clock = clock or (lambda trainer: (trainer.global_step, float(_finished(trainer))))
        self.latest: Measurement | None = None
        self.folder = None if folder is None else Path(folder)
        self.history, self._values = History(), dict[str, Any]()
        self.notices = Notices()
        has_replica_axis = False
        if isinstance(module, nn.Module):  # an unknown layer is refused at once
            has_replica_axis = LayerHooks(module, self.layers, reduction=self.reduction).has_replica_axis
        check_functions(moments or {}, matrices or {}, num_classes, has_replica_axis=has_replica_axis)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = self._network(pl_module)
        check_callable(network)
        record = self._begin_history(trainer, pl_module, network)
        begins = trainer.current_epoch == 0 and trainer.global_step == 0  # and is not resumed within its first epoch
        due = begins and self._is_due(0)
        measurement = self._measure(trainer, pl_module, finished=0) if due else None
        if measurement is None:
            rehearse(network, self.loaders, self.layers, reduction=self.reduction, unpack=self.unpack)
        if record is not None and trainer.is_global_zero:
            record.begin(trainer.global_step)
            self.history.record = record
        if measurement is not None:
            self._hand_over(trainer, measurement)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = _finished(trainer)
        if not self._is_due(finished):
            return
        try:
            measurement = self._measure(trainer, pl_module, finished)
        except Exception as error:
            _log.warning("the measurement after epoch %d failed and is left out: %s", finished, error, exc_info=error)
            return
        self._hand_over(trainer, measurement)  # a record that cannot be written is the run's failure, not a measure's

    def _network(self, pl_module: pl.LightningModule) -> nn.Module:
        """What is measured; ValueError of one line where its name is none of the LightningModule's."""
        if not isinstance(self.module, str):
            return self.module or pl_module
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            inside = ", ".join(name for name, _ in pl_module.named_children())
            raise ValueError(f"module={self.module}: the LightningModule has no such module; it has {inside}") from None

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.history.finish()
        self._close("done")

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit))
        self._close("interrupted" if stopped else "failed", f"{type(exception).__name__}: {exception}")

    def _begin_history(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, network: nn.Module
    ) -> "RunRecord | None":
        """A new table where the training begins; the record of its folder, if it may be written there."""
        if self.sink is not None:
            return None
        if trainer.global_step == 0:
            self.history = History()
        self._values = training_values(trainer, pl_module, network, self.layers, self.num_classes, self.names)
        if self.folder is None:
            return None
        from ncbench.measure.run_record import RunRecord  # with pyarrow, which only a folder needs

        record = RunRecord(self.folder, self._values, recorded_by=type(self).__name__, device=device_of(network))
        record.check(trainer.global_step, alone=trainer.is_global_zero)
        return record

    def _close(self, status: str, error: str | None = None) -> None:
        if self.history.record is not None:
            self.history.record.close(status, error)

    def _is_due(self, finished: int) -> bool:
        return self.due is None or finished in self.due

    def _lasting(self, trainer: pl.Trainer, finished: int) -> tuple[bool, bool]:
        """Whether the Gram matrices and the class means after so many epochs stay."""
        position = finished if self.due is None else self.due.index(finished)
        last = finished == trainer.max_epochs or (self.due is not None and finished == self.due[-1])
        return last or position % self.gram_every == 0, last or position == 0

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, finished: int) -> Measurement:
        grams, means = (True, True) if self.sink is None else self._lasting(trainer, finished)
        return measure(
            self._network(pl_module),
            self.loaders,
            layers=self.layers,
            num_classes=self.num_classes,
            grams=grams,
            means=means,
            distributed=trainer.world_size > 1,
            notices=self.notices,
            **self.options,
        )

    def _hand_over(self, trainer: pl.Trainer, measurement: Measurement) -> None:
        self.latest = measurement
        if not trainer.is_global_zero:
            return
        step, epoch = self.clock(trainer)
        if self.sink is not None:
            self.sink(step, epoch, measurement)
            return
        grams, means = self._lasting(trainer, _finished(trainer))
        self.history.add(step, epoch, measurement, grams=grams, means=means)
        first = next(iter(self.loaders))
        logged: dict[str, float] = {
            logged_name(*key, prefix=self.prefix, first_split=first): float(x.nanmedian())
            for key, x in measurement.values.items()
        }
        logged |= {"epoch": trainer.current_epoch, logged_name("", "", "", "epoch", prefix=self.prefix): epoch}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=step)
            logger.save()

    def table(self) -> "pd.DataFrame":
        """Every value measured so far, one row each (empty where a sink takes them)."""
        return self.history.table()

    def write_run(self, folder: str | os.PathLike[str]) -> None:
        """Write what has been measured as a run folder; ValueError where that is nothing, or where one is there."""
        self.history.write_run(folder, self._values, type(self).__name__)


def _finished(trainer: pl.Trainer) -> int:
    """Epochs finished, also inside on_train_epoch_end, where Lightning has not counted the present one yet."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(max(progress.processed, progress.completed))
