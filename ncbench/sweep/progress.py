"""What a person sees of a sweep while it goes on: a live table on a terminal, elsewhere a line per event."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ncbench.records.schema import RUN_INFO
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.show import duration
from ncbench.sweep.workload import recorded_rate

__all__ = ["Progress"]

_REFRESH_SECONDS = 0.5


class Progress:
    """Counts and times the jobs of one launch; a `Watcher` of the executors.

    The time left is the work that is left over that of the jobs that ended, at as many at once as run now; before the
    first has ended, from the committed records of the experiment, if there are any.
    """

    def __init__(self, plan: Plan, jobs: list[PlannedJob], done_before: int, console: Console) -> None:
        self.plan, self.console = plan, console
        self._left = {job.number: job for job in jobs}
        self._of = done_before + len(jobs)
        self._done = done_before
        self._failed: dict[int, str] = {}
        self._held: list[str] = []  # what jobs that were refused said
        self._begun = done_before > 0
        self._running: dict[int, tuple[PlannedJob, str, float]] = {}
        self._timed: list[tuple[float, float]] = []  # work and seconds of the attempts that succeeded
        self._most_at_once = 1
        self._live: Live | None = None
        self._refreshed = 0.0
        self._recorded: dict[str, float | None] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The live table, where there is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def started(self, job: PlannedJob, place: str) -> None:
        """A job runs, there."""
        self._running[job.number] = (job, place, time.time())
        self._failed.pop(job.number, None)
        self._most_at_once = max(self._most_at_once, len(self._running))

    def ended(self, job: PlannedJob, reason: str, seconds: float, *, refused: bool = False) -> None:
        """An attempt ended, and why it failed ("" where it is done).

        That jobs were refused is said once one has begun: where the input of all is wrong, the end says it in one line.
        """
        self._running.pop(job.number, None)
        if reason:
            self._failed[job.number] = reason
            self._held.append(f"job {job.number} ({job.label}) failed after {duration(seconds)}: {reason}")
        self._begun = self._begun or not refused
        self._say_held()
        if reason:
            return
        self._left.pop(job.number, None)
        self._done += 1
        self._timed.append((job.work, seconds))
        left = self.seconds_left()
        about = f"; about {duration(left)} left" if left and left >= 1 else ""
        self.says(f"{self._done} of {self._of} jobs done: job {job.number} ({job.label}) in {duration(seconds)}{about}")

    def done_elsewhere(self, job: PlannedJob) -> None:
        """Another command has carried the job out."""
        if self._left.pop(job.number, None) is not None:
            self._done += 1
            self.says(f"{self._done} of {self._of} jobs done: job {job.number} ({job.label}) by another command")

    def says(self, text: str) -> None:
        """Something the person should know."""
        self.console.print(Text(text), soft_wrap=True)

    def tick(self, running: int, waiting: int, elsewhere: int) -> None:
        """Say what was held back and draw the table again, a few times a second."""
        self._say_held()
        if self._live is None or time.monotonic() - self._refreshed < _REFRESH_SECONDS:
            return
        self._refreshed = time.monotonic()
        self._live.update(self._table(waiting, elsewhere), refresh=True)

    def _say_held(self) -> None:
        if not self._held:
            return
        self._begun = self._begun or any((job.path / RUN_INFO).exists() for job, _, _ in self._running.values())
        if self._begun:
            for line in self._held:
                self.says(line)
            self._held.clear()

    def seconds_left(self) -> float | None:
        """An estimate, or None where nothing is known yet."""
        jobs = [job for job in self._left.values() if job.number not in self._failed]
        each: dict[int, float] = {}
        for job in jobs:
            rate = self._rate(job.experiment)
            if rate is None:
                return None
            each[job.number] = rate * job.work
        gone = {number: time.time() - began for number, (_, _, began) in self._running.items()}
        total = sum(max(seconds - gone.get(number, 0.0), 0.0) for number, seconds in each.items())
        return total / self._most_at_once

    def _rate(self, experiment: str) -> float | None:
        """Seconds per unit of work."""
        if self._timed:
            return sum(seconds for _, seconds in self._timed) / max(sum(work for work, _ in self._timed), 1e-9)
        if experiment not in self._recorded:
            self._recorded[experiment] = recorded_rate(experiment)
        return self._recorded[experiment]

    def _table(self, waiting: int, elsewhere: int) -> Group:
        parts = [f"{self._done} of {self._of} done", f"{len(self._running)} running", f"{waiting} waiting"]
        parts += [f"{len(self._failed)} failed"] if self._failed else []
        parts += [f"{elsewhere} carried out by another command"] if elsewhere else []
        left = self.seconds_left()
        parts += [f"about {duration(left)} left"] if left and left >= 1 else []
        table = Table(box=None, pad_edge=False)
        for column in ("job", "what", "where", "for"):
            table.add_column(column)
        for number, (job, place, began) in self._running.items():
            table.add_row(str(number), job.label, place, duration(time.time() - began))
        return Group(Text(", ".join(parts)), table)
