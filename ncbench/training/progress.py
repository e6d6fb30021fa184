"""What a person sees: the table of decays before training, one line of progress during it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text
from torch import Tensor
from typing_extensions import override

from ncbench.measure import Measurement
from ncbench.training.objectives import Decayed, PaperObjective, SquaredObjective

__all__ = ["ProgressLine", "decay_table", "progress_text"]

SHORTEST_BAR, LONGEST_BAR = 4, 20


def decay_table(
    objective: PaperObjective | SquaredObjective, free: Sequence[tuple[str, Tensor]], classifier: str | None = None
) -> Table:
    """Which parameters are decayed by how much: lam of lam/2 ||.||^2 (squared: of lam ||.||^2).

    `free` are those that are not; `classifier` is the name of the last layer of a network without a head.
    """
    half = "" if objective.loss == "squared" else "/2"
    table = Table(title=f"{objective.loss} + lam{half} ||.||^2, N = {objective.num_samples}", title_justify="left")
    for column in ("what", "values", "lam"):
        table.add_column(column, justify="left" if column == "what" else "right")
    if objective.feature_decay is not None:
        table.add_row("features (sum over all samples)", "N x width", _decay(objective.feature_decay))
    head = "head." if classifier is None else f"{classifier}."
    others = "other parameters (backbone)" if classifier is None else "other parameters"
    for name, count, decay in _merged(objective.decayed, head, others):
        table.add_row(name, f"{count:,}".replace(",", " "), decay)
    if free:
        count = sum(parameter.numel() for _, parameter in free)
        table.add_row(f"{len(free)} {others}", f"{count:,}".replace(",", " "), "0")
    return table


def _merged(decayed: Sequence[Decayed], head: str, others: str) -> list[tuple[str, int, str]]:
    """One row per parameter of the head; everything else with the same decay together."""
    rows: list[tuple[str, int, str]] = []
    sizes_of: dict[str, list[int]] = {}
    for entry in decayed:
        if entry.name.startswith(head):
            rows.append((entry.name, entry.parameter.numel(), _decay(entry.decay)))
        else:
            sizes_of.setdefault(_decay(entry.decay), []).append(entry.parameter.numel())
    grouped = [(f"{len(sizes)} {others}", sum(sizes), decay) for decay, sizes in sizes_of.items()]
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
        self.progress = Progress(_Line(console), console=console, transient=False)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        ends = getattr(pl_module, "ends", None)
        total, unit = (ends[-1], "steps") if ends else (trainer.max_epochs, "epochs")
        self.task = self.progress.add_task(
            "", total=total, unit=unit, completed=self._done(trainer), values=self._values()
        )
        self.progress.start()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.update(self.task, values=self._values(), completed=self._done(trainer))

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

    def _values(self) -> list[str]:
        measurement = self.latest()
        if measurement is None:
            return []
        layer, stage = self.headline
        shown = {"loss": ("", "", "loss"), "acc": ("", "", "accuracy"), f"{layer} dnc1": (layer, stage, "dnc1")}
        medians = {label: measurement.values.get(("train", *key)) for label, key in shown.items()}
        return [f"{label} {float(x.nanmedian()):.3g}" for label, x in medians.items() if x is not None]


class _Line(ProgressColumn):
    """The whole line, made for the present width of the terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    @override
    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        left = None if task.finished else task.time_remaining
        done, total = int(task.completed), int(task.total or 0)
        line = progress_text(
            self.console.width, done, total, task.fields["unit"], elapsed or 0.0, left, task.fields["values"]
        )
        return Text(line, no_wrap=True)


def progress_text(
    width: int, done: int, total: int, unit: str, elapsed: float, left: float | None, values: Sequence[str]
) -> str:
    """How much is done, time taken and left (seconds; None: not known), and measures, on at most `width` characters.

    What has no room is left out: the last of the measures first, then the time. Room for four characters or more
    becomes a bar.

    >>> progress_text(60, 50, 200, "epochs", 61.2, 183.0, ["loss 0.1", "acc 0.9", "head.3 dnc1 0.004"])
    '50/200 epochs  1:01, 3:03 left  loss 0.1  acc 0.9  ━━───────'
    """
    time = _clock(elapsed) + ("" if left is None else f", {_clock(left)} left")
    line = f"{done}/{total} {unit}"
    for part in (time, *values):
        if len(line) + 2 + len(part) > width:
            break
        line += f"  {part}"
    room = min(width - len(line) - 2, LONGEST_BAR)
    if room < SHORTEST_BAR:
        return line[:width]
    filled = room * min(done, total) // max(total, 1)
    return f"{line}  {'━' * filled}{'─' * (room - filled)}"


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> _clock(59.9), _clock(3723)
    ('0:59', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
