"""A sweep of which no job was begun, since the input of all was wrong, leaves nothing behind, as a refused run does."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from ncbench.records.schema import RUN_INFO, SWEEP
from ncbench.sweep.plan import Plan, alone, is_written_here, read_plan
from ncbench.sweep.states import ATTEMPTS, claim_of, is_held, log_of

__all__ = ["FolderBefore"]

_OF_HYDRA = "multirun.yaml"


class FolderBefore:
    """What stood in the place of a sweep's folder; to be made before the sweep writes anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._missing = list(takewhile(lambda place: not place.exists(), (self.folder, *self.folder.parents)))
        self._entries = set(os.listdir(self.folder)) if self.folder.is_dir() else set[str]()

    def restore(self, runs: Collection[Path]) -> None:
        """Take away what a sweep made of which these are the run folders, all of them refused.

        Only files that the sweep is known to have written go, and the folders that are then empty. Nothing is taken
        away where a run was begun, where the sweep was there before, or where another command has jobs in the same
        folder, be it that they only wait in a queue: it has written the plan after this one.
        """
        if SWEEP in self._entries or any((run / RUN_INFO).exists() for run in runs):
            return
        if not (self.folder / SWEEP).exists():  # Hydra's own launchers keep no plan
            self._remove([], runs)
            return
        with suppress(ValueError), alone(self.folder):  # no plan that can be read, or a folder that is read-only
            plan = read_plan(self.folder)
            if is_written_here(self.folder) and not _has_others(plan, runs):
                self._remove(list(_written_for(plan)), runs)

    def _remove(self, files: list[Path], runs: Collection[Path]) -> None:
        kept = [self.folder / name for name in (ATTEMPTS, _OF_HYDRA) if name in self._entries]
        taken = [path for path in [*files, self.folder / _OF_HYDRA] if path not in kept]
        inside = [path.parent for path in taken] + [run.absolute() for run in runs]
        inside += [self.folder / "slurm" / "%j"] if files else []  # which submitit makes and leaves empty
        places = {place for path in inside for place in (path, *path.parents)}
        empty = {place for place in places if place.is_relative_to(self.folder) and place != self.folder}
        for path in taken:
            with suppress(OSError):
                path.unlink()
        for place in [*sorted(empty, reverse=True), *self._missing]:  # the deepest first
            with suppress(OSError):  # what is not empty, or gone already
                place.rmdir()


def _written_for(plan: Plan) -> Iterator[Path]:
    """The files that carrying out a plan writes beside the runs; the plan itself is the last."""
    for job in plan.jobs:
        yield log_of(plan, job)
        yield claim_of(plan, job)
    for path in plan.folder.glob("slurm/*/*"):  # submitit names both by the number of the job
        number = re.match(r"(DEBUG_)?\d+", path.parent.name)
        if number and path.name.startswith(f"{number[0]}_"):
            yield path
    yield plan.folder / ATTEMPTS
    yield plan.folder / SWEEP


def _has_others(plan: Plan, runs: Collection[Path]) -> bool:
    """Whether another command has jobs in this plan, or carries out one of these."""
    folders = {str(run.absolute()) for run in runs}
    return any(job.folder not in folders or is_held(plan, job) for job in plan.jobs)
