"""What a person sees: the table of decays before training, one line of progress during it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor
from typing_extensions import override

from ncbench.measure import Measurement
from ncbench.training.objectives import Decayed, PaperObjective, SquaredObjective

__all__ = ["ProgressLine", "decay_table"]


def decay_table(objective: PaperObjective | SquaredObjective, free: Sequence[tuple[str, Tensor]]) -> Table:
    """Which parameters are decayed by how much: lam of lam/2 ||.||^2 (squared: of lam ||.||^2)."""
    half = "" if objective.loss == "squared" else "/2"
    table = Table(title=f"{objective.loss} + lam{half} ||.||^2, N = {objective.num_samples}", title_justify="left")
    for column in ("what", "values", "lam"):
        table.add_column(column, justify="left" if column == "what" else "right")
    if objective.feature_decay is not None:
        table.add_row("features (sum over all samples)", "N x width", _decay(objective.feature_decay))
    for name, count, decay in _merged(objective.decayed):
        table.add_row(name, f"{count:,}".replace(",", " "), decay)
    if free:
        count = sum(parameter.numel() for _, parameter in free)
        table.add_row(f"{len(free)} other parameters (backbone)", f"{count:,}".replace(",", " "), "0")
    return table


def _merged(decayed: Sequence[Decayed]) -> list[tuple[str, int, str]]:
    """One row per matrix of the head; everything else with the same decay together."""
    rows: list[tuple[str, int, str]] = []
    backbone: dict[str, list[int]] = {}
    for entry in decayed:
        if entry.name.startswith("head."):
            rows.append((entry.name, entry.parameter.numel(), _decay(entry.decay)))
        else:
            backbone.setdefault(_decay(entry.decay), []).append(entry.parameter.numel())
    grouped = [(f"{len(sizes)} other parameters (backbone)", sum(sizes), decay) for decay, sizes in backbone.items()]
    return [*grouped, *rows]


def _decay(decay: float | Tensor) -> str:
    if not isinstance(decay, Tensor):
        return f"{decay:g}"
    low, high = float(decay.min()), float(decay.max())
    return f"{low:g}" if low == high else f"{low:g} ... {high:g}"


class ProgressLine(pl.Callback):
    """How much is done, time left, and the medians over replicas of the loss and of the headline measure."""

    def __init__(self, console: Console, latest: Callable[[], Measurement | None], headline: tuple[str, str]) -> None:
        self.latest, self.headline = latest, headline
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=False,
        )

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        ends = getattr(pl_module, "ends", None)
        total, unit = (ends[-1], "steps") if ends else (trainer.max_epochs, "epochs")
        self.task = self.progress.add_task(self._text(), total=total, unit=unit, completed=self._done(trainer))
        self.progress.start()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.update(self.task, description=self._text(), completed=self._done(trainer))

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()

    def _done(self, trainer: pl.Trainer) -> int:
        counted_by_module = getattr(trainer.lightning_module, "gd_step", None)
        progress: Any = trainer.fit_loop.epoch_progress.current
        return int(progress.processed if counted_by_module is None else counted_by_module)

    def _text(self) -> str:
        measurement = self.latest()
        if measurement is None:
            return "training"
        layer, stage = self.headline
        shown = {"loss": ("", "", "loss"), "acc": ("", "", "accuracy"), f"{layer} dnc1": (layer, stage, "dnc1")}
        medians = {label: measurement.values.get(("train", *key)) for label, key in shown.items()}
        return "  ".join(f"{label} {float(x.nanmedian()):.3g}" for label, x in medians.items() if x is not None)
