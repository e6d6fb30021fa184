"""A sweep of which no job was begun, since the input of all was wrong, leaves nothing behind, as a refused run does."""

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from ncbench.records.schema import RUN_INFO, SWEEP
from ncbench.sweep.plan import Plan, read_plan
from ncbench.sweep.states import ATTEMPTS, is_held, log_of

__all__ = ["FolderBefore"]

# What a sweep makes in its folder beside the runs, whoever carries it out; the last is Hydra's.
_OF_SWEEPS = (SWEEP, ATTEMPTS, ".claims", "logs", "slurm", "multirun.yaml")


class FolderBefore:
    """What stood in the place of a sweep's folder; to be made before the sweep writes anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._missing = list(takewhile(lambda place: not place.exists(), (self.folder, *self.folder.parents)))
        self._entries = set(os.listdir(self.folder)) if self.folder.is_dir() else set[str]()

    def restore(self, runs: Collection[Path]) -> None:
        """Take away what a sweep made of which these are the run folders, all of them refused.

        Nothing is taken away where a run was begun, where the sweep was there before, or where another command has
        jobs in the same folder.
        """
        plan = read_plan(self.folder) if (self.folder / SWEEP).is_file() else None  # Hydra's launchers keep none
        if any((run / RUN_INFO).exists() for run in runs) or SWEEP in self._entries or _has_others(plan, runs):
            return
        logs = [log_of(plan, job) for job in plan.jobs] if plan else []
        for path in [*logs, *(self.folder / name for name in set(_OF_SWEEPS) - self._entries)]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        inside = (place for run in runs for place in (run.absolute(), *run.absolute().parents))
        empty = {place for place in inside if place.is_relative_to(self.folder) and place != self.folder}
        for place in [*sorted(empty, reverse=True), *self._missing]:  # the deepest first
            with suppress(OSError):  # what is not empty, or gone already
                place.rmdir()


def _has_others(plan: Plan | None, runs: Collection[Path]) -> bool:
    """Whether another command has jobs in this plan, or carries out one of these."""
    folders = {str(run.absolute()) for run in runs}
    return plan is not None and any(job.folder not in folders or is_held(plan, job) for job in plan.jobs)
