"""A logger of a run: it has sent every recorded step up to one, and nothing after it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ncbench.records.schema import FIGURE_FOLDER
from ncbench.training.loggers.history import History, Row

__all__ = ["RunLogger", "figures_beside"]


class RunLogger(ABC):
    """Hands the records of the run in `folder` on, one row per measurement, in the order of the steps."""

    shows_reports: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.history, self.sent = folder, History(folder), -1

    def replay(self) -> None:
        """Send what is recorded already, as a run that was stopped has left it."""
        for step in self.history.steps():
            self.send(step)

    def send(self, step: int) -> None:
        """Send what was recorded at a step, unless it was sent before."""
        if step > self.sent:
            self.write(self.history.row(step))
            self.sent = step

    @abstractmethod
    def write(self, row: Row) -> None:
        """Write one row where it belongs."""

    @abstractmethod
    def show_report(self, page: Path) -> None:
        """Hand on the report of the finished run: its page, with tables and figures beside it."""

    @abstractmethod
    def close(self, exit_code: int) -> None:
        """End it; the exit status is that of the run."""


def figures_beside(page: Path) -> Mapping[str, Path]:
    """The figures of a report as PNG files, by the names they are logged under: `figures/<name>`."""
    return {f"{FIGURE_FOLDER}/{path.stem}": path for path in sorted((page.parent / FIGURE_FOLDER).glob("*.png"))}
