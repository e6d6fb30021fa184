"""What SLURM and Ray have in common: one job, carried out by a worker of theirs that knows the sweep's folder.

A worker starts the same command line as the pool does and has the same claim to the job. States lie in the run folders,
so a job that an engine starts a second time, elsewhere, continues where the first left it.
"""

import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ncbench.config.cores import usable_cores
from ncbench.records.folder import RunFolder
from ncbench.records.schema import STOPPED
from ncbench.sweep.plan import Plan, PlannedJob, read_plan
from ncbench.sweep.process import Attempt, environment_of
from ncbench.sweep.states import ATTEMPTS, JobState, claim, release, state_of_job, states_of

__all__ = ["carry_out_job", "cores_of", "note_lost", "present_state", "require_engine"]

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 1.0


def require_engine(module: str, executor: str) -> None:
    """ValueError of one line where the engine's package is not installed."""
    if importlib.util.find_spec(module) is None:
        known = f"needs the package {module}, which is not installed: pip install 'ncbench[{executor}]'"
        raise ValueError(f"hydra.launcher.executor={executor}: {known}")


def cores_of(plan: Plan, job: PlannedJob) -> int:
    """The cores of all processes of a job: those asked for, or what its network can use."""
    return (plan.options.cores_per_job or job.cores) * job.devices


def carry_out_job(folder: str, run: str, place: str, cores: int, started: Callable[[Attempt], None]) -> str:
    """In a worker: the job of the sweep in `folder` whose run folder is `run`; why it failed, "" where it is done.

    While another process has the job, this one waits: it may be a worker that the engine lost, whose run is saving its
    state, or another command. `started` is called with every attempt; a failed one is made again as often as
    `retries` says. The run ends with this process.
    """
    plan = read_plan(folder)
    job = next((job for job in plan.jobs if job.folder == run), None)
    if job is None:
        return f"the sweep in {folder} has no job in {run} any more"
    reason = ""
    for _ in range(1 + plan.options.retries):
        claimed = _wait_for_claim(plan, job)
        try:
            if state_of_job(plan, job).status == "done":
                return ""
            reason, refused = _attempt(plan, job, place, cores, claimed, started)
        finally:
            release(claimed)
        if not reason or refused or STOPPED in reason:  # whoever stopped it decides whether it goes on
            break
    return reason


def _attempt(
    plan: Plan, job: PlannedJob, place: str, cores: int, claimed: int, started: Callable[[Attempt], None]
) -> tuple[str, bool]:
    threads = min(cores, usable_cores())  # of all processes of the job together
    environment = environment_of(None, threads)  # which GPUs it sees, the engine has said
    # Lightning would take one task of a SLURM job for one process of the training; here it starts its own.
    environment.pop("SLURM_NTASKS", None)
    attempt = Attempt(plan, job, environment=environment, place=place, handles=[claimed], ends_with_parent=True)
    started(attempt)
    # Not one long wait: a signal's handler that asks for the state of the process would never get it.
    while attempt.poll() is None:
        time.sleep(_POLL_SECONDS)
    ended = attempt.note()
    return str(ended["reason"]), ended["exit_status"] == 2


def _wait_for_claim(plan: Plan, job: PlannedJob) -> int:
    while True:
        claimed = claim(plan, job)
        if claimed is not None and not RunFolder(job.path).is_held():
            return claimed
        release(claimed)
        time.sleep(_LOOK_SECONDS)


def present_state(plan: Plan, job: PlannedJob) -> JobState:
    """The state of one job, the reason of its last attempt included."""
    return states_of(replace(plan, jobs=[job]))[0]


def note_lost(plan: Plan, job: PlannedJob, place: str, reason: str) -> None:
    """Append to the sweep's attempts that an engine gave a job up, so that its state says why."""
    now = time.time()
    entry = {"job": job.number, "run": job.name_in(plan), "place": place, "started": now, "ended": now}
    with open(Path(plan.folder) / ATTEMPTS, "a") as attempts:
        attempts.write(json.dumps({**entry, "exit_status": 1, "reason": reason}) + "\n")
