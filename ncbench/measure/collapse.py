"""`MeasureCollapse`, a Lightning callback for any network, and `measure_network`, the same without Lightning."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from ncbench.measure.passes import MatrixMeasure, Measurement, MomentMeasure, Objective, measure_once
from ncbench.measure.taps import Taps

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MeasureCollapse", "measure_network"]

Loader = Iterable[tuple[Tensor, Tensor]]
Sink = Callable[[int, float, Measurement], None]
Clock = Callable[[pl.Trainer], tuple[int, float]]


class MeasureCollapse(pl.Callback):
    """Measures the named layers before training and at the end of epochs; training itself is not affected.

    `layers` are names of modules (or globs); `dataloader` yields (inputs, labels) in any fixed order, or is a mapping
    {"train": ..., "test": ...}, the first of which gives spectra and Gram matrices. `epochs` says after how many
    finished epochs to measure (0: before training); None means before training and after every epoch.

    Each measurement goes to `sink(step, epoch, measurement)`; without a sink the values are sent to the trainer's
    logger under `layer.stage.measure` and kept in `table()`. `module` picks the network inside the LightningModule
    (default: the LightningModule itself), `clock` reads the step and epoch of problems that count their own.
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
        module: nn.Module | None = None,
        clock: Clock | None = None,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: at least 2 classes are needed")
        self.layers, self.num_classes = list(layers), num_classes
        self.loaders = dataloader if isinstance(dataloader, Mapping) else {"train": dataloader}
        self.due = None if epochs is None else sorted(epochs)
        self.objective, self.moments, self.matrices = objective, moments, matrices
        self.gram_every, self.sink, self.module = gram_every, sink, module
        self.clock = clock or (lambda trainer: (trainer.global_step, float(_finished(trainer))))
        self.latest: Measurement | None = None
        self._rows: list[dict[str, Any]] = []
        if module is not None:
            Taps(module, self.layers)  # an unknown layer is refused here, before the first epoch

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        Taps(self.module or pl_module, self.layers)
        if trainer.current_epoch == 0:
            self._measure(trainer, pl_module, finished=0)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(trainer, pl_module, finished=_finished(trainer))

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, finished: int) -> None:
        if self.due is not None and finished not in self.due:
            return
        position = finished if self.due is None else self.due.index(finished)
        last = finished == trainer.max_epochs or (self.due is not None and finished == self.due[-1])
        self.latest = measure_once(
            self.module or pl_module,
            {
                split: _placed(loader, pl_module.device, _float_dtype(pl_module))
                for split, loader in self.loaders.items()
            },
            layers=self.layers,
            num_classes=self.num_classes,
            objective=self.objective,
            moments=self.moments,
            matrices=self.matrices,
            grams=last or position % self.gram_every == 0,
        )
        step, epoch = self.clock(trainer)
        if self.sink is not None:
            self.sink(step, epoch, self.latest)
            return
        rows = _rows(self.latest)
        self._rows += [{"step": step, "epoch": epoch, **row} for row in rows]
        for logger in trainer.loggers:
            logger.log_metrics({_key(row): row["value"] for row in rows if row["split"] != "test"}, step=step)

    def table(self) -> "pd.DataFrame":
        """Every value measured so far, one row each (empty where a sink takes them)."""
        import pandas as pd

        return pd.DataFrame(self._rows)


def measure_network(
    model: nn.Module,
    loader: Loader | Mapping[str, Loader],
    *,
    layers: Sequence[str],
    num_classes: int,
    reduction: str | Callable[[Tensor], Tensor] = "flatten",
) -> "pd.DataFrame":
    """The measures of a network as it is, one row per value: replica, split, layer, stage, measure, value.

    `loader` yields (inputs, labels) on the model's device, or is a mapping of splits. Singular values are rows too
    (measure `singular_value`, column `index`). Raises ValueError for an unknown layer.
    """
    import pandas as pd

    loaders = loader if isinstance(loader, Mapping) else {"train": loader}
    found = measure_once(model, loaders, layers=layers, num_classes=num_classes, reduction=reduction)
    rows = [{**row, "index": 0} for row in _rows(found)]
    for (layer, stage), s in found.spectra.items():
        split = "" if stage == "weight" else next(iter(loaders))
        key = {"split": split, "layer": layer, "stage": stage, "measure": "singular_value"}
        rows += [
            {"replica": r, **key, "value": float(value), "index": i}
            for r, of_replica in enumerate(s)
            for i, value in enumerate(of_replica)
        ]
    return pd.DataFrame(rows)


def _finished(trainer: pl.Trainer) -> int:
    """Epochs finished, also inside on_train_epoch_end, where Lightning has not counted the present one yet."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(max(progress.processed, progress.completed))


def _rows(found: Measurement) -> list[dict[str, Any]]:
    return [
        {"replica": r, "split": split, "layer": layer, "stage": stage, "measure": measure, "value": value}
        for (split, layer, stage, measure), of_replicas in found.values.items()
        for r, value in enumerate(of_replicas.tolist())
    ]


def _key(row: Mapping[str, Any]) -> str:
    return ".".join(part for part in (row["layer"], row["stage"], row["measure"]) if part)


def _placed(loader: Loader, device: torch.device, dtype: torch.dtype) -> Loader:
    for inputs, labels in loader:
        yield inputs.to(device, dtype if inputs.is_floating_point() else None), labels.to(device)


def _float_dtype(module: nn.Module) -> torch.dtype:
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(floats, torch.float32)
