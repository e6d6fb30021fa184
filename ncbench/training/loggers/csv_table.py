"""The rows as `metrics.csv` in the run folder: a column for each name, a line for each measurement."""

import csv
import io
from pathlib import Path

from typing_extensions import override

from ncbench.records.schema import METRICS
from ncbench.records.whole_files import write_text
from ncbench.training.loggers.base import RunLogger
from ncbench.training.loggers.history import Row

__all__ = ["CsvTable"]


class CsvTable(RunLogger):
    """Appends a line per measurement; the file is written anew at the start and where a row has further names.

    A value that is not there is an empty cell, one that is not defined is nan. So that every line is whole also after a
    kill, a resumed run writes the file from its records.
    """

    shows_reports = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / METRICS
        self.rows: list[dict[str, float]] = []
        self.names: dict[str, None] = {}
        self.path.unlink(missing_ok=True)
        self.replay()

    @override
    def write(self, row: Row) -> None:
        self.rows.append(row.numbers)
        if row.numbers.keys() <= self.names.keys() and self.path.is_file():
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                file.write(self._lines([row.numbers]))
            return
        self.names |= dict.fromkeys(row.numbers)
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(self.names)
        write_text(self.path, head.getvalue() + self._lines(self.rows))

    def _lines(self, rows: list[dict[str, float]]) -> str:
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(self.names), restval="", lineterminator="\n")
        writer.writerows({key: repr(float(x)) for key, x in row.items()} for row in rows)
        return lines.getvalue()

    @override
    def show_report(self, page: Path) -> None:
        raise AssertionError("a table holds no pictures")

    @override
    def close(self, exit_code: int) -> None:
        self.rows.clear()
