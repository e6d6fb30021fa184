"""How the jobs ended that a launcher of Hydra's has carried out, be it in this process, in others or on other machines.

Their run folders say it. What a process knows of its own jobs is better where it is there: a run that a full disk did
not let begin leaves no record, as one that was refused.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import env_override

from ncbench._cli import of_file_system
from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.records.schema import RUN_INFO, SCHEMA_VERSION
from ncbench.run.compose import Job

__all__ = ["came_to_its_end", "exit_statuses", "records_of", "say_how_it_went"]


def came_to_its_end(launch: Callable[[], int], *, refuses: bool) -> bool:
    """Whether a launcher started all its jobs and waited for them; what it raises instead is said in one line.

    With HYDRA_FULL_ERROR=1 it is raised. A ValueError of a launcher that `refuses` in one line is left to the caller.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with env_override({"HYDRA_FULL_ERROR": "1"}):  # Hydra then raises, and prints nothing itself
            return launch() == 0
    except Exception as error:
        if full or (refuses and isinstance(error, ValueError)):
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, OSError) and error.strerror:
            why = of_file_system(error)
        print(f"ncbench: the launcher failed: {why}; HYDRA_FULL_ERROR=1 shows where", file=sys.stderr)
        return False


def records_of(jobs: Sequence[Job]) -> dict[Path, bytes]:
    """What `run.json` of every job holds, empty where there is none; to be asked for before the launcher starts."""
    return {job.folder: _read(job.folder) for job in jobs}


def exit_statuses(
    jobs: Sequence[Job], before: Mapping[Path, bytes], known: Mapping[Path, int], *, ended: bool
) -> dict[Path, int]:
    """The exit status of every job's run, by its folder: 0 done, 2 refused, 1 anything else.

    `before` is what `records_of` found, `known` the statuses of the runs of this process. A run that is not done and
    has written nothing was refused; where the launcher did not come to its end (`ended`), it may have been killed, or
    never been started.
    """
    return {job.folder: known.get(job.folder.absolute(), _status(job, before[job.folder], ended)) for job in jobs}


def _status(job: Job, before: bytes, ended: bool) -> int:
    now = _read(job.folder)
    try:
        info: Any = json.loads(now)
        done, same = info["status"] == "done", info["config_hash"] == config_hash(differences(job.config))
        same = same or info.get("schema_version") != SCHEMA_VERSION
    except (ValueError, KeyError, TypeError, AttributeError):  # none, or one that cannot be read
        done = same = False
    if done and same:
        return 0
    return 2 if ended and now == before else 1


def _read(folder: Path) -> bytes:
    try:
        return (folder / RUN_INFO).read_bytes()
    except OSError:
        return b""


def say_how_it_went(statuses: Mapping[Path, int], folder: Path) -> None:
    """How many jobs are done, and every other with its exit status; how to draw those in the sweep's folder."""
    failed = {run: status for run, status in statuses.items() if status}
    print(f"{len(statuses) - len(failed)} of {len(statuses)} jobs done", file=sys.stderr)
    for run, status in failed.items():
        print(f"ncbench: exit status {status}: {run}", file=sys.stderr)
    if len(failed) < len(statuses):
        print(f"draw all: python -m ncbench.report {shlex.quote(str(folder))}")
