"""In what state the jobs of a sweep are. The truth lies in their run folders, whoever carried them out.

A job that somebody is carrying out is claimed: an advisory lock on a file in the sweep's folder, which the job's own
process has too. So the claim ends with the job even if the launcher was killed, and two sweeps never start a job twice.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncbench.records.errors import BadRecordsError
from ncbench.records.folder import RunFolder
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import RUN_INFO
from ncbench.sweep.plan import Plan, PlannedJob

__all__ = [
    "ATTEMPTS",
    "JobState",
    "claim",
    "claim_of",
    "how_it_ended",
    "is_held",
    "log_of",
    "release",
    "state_of_job",
    "states_of",
]

ATTEMPTS = "attempts.jsonl"


@dataclass(frozen=True)
class JobState:
    """`status` is planned, running, done, failed or interrupted; `reason` says why it did not get to its end.

    `refused`: its input was wrong, so that nothing was trained.
    """

    status: str
    reason: str = ""
    wall_seconds: float | None = None
    loss: float | None = None
    refused: bool = False


def claim(plan: Plan, job: PlannedJob) -> int | None:
    """A file descriptor that holds the claim to a job until it is closed in every process; None if another has it.

    On a file system without advisory locks there are no claims (-1): the lock of the run folder decides alone.
    """
    path = claim_of(plan, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        return None if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else -1
    return handle


def release(claimed: int | None) -> None:
    """End this process's part of a claim, if it has one."""
    if claimed is not None and claimed >= 0:
        os.close(claimed)


def claim_of(plan: Plan, job: PlannedJob) -> Path:
    """The file whose lock is the claim to a job."""
    return plan.folder / ".claims" / hashlib.sha256(job.name_in(plan).encode()).hexdigest()[:16]


def is_held(plan: Plan, job: PlannedJob) -> bool:
    """Whether a process is carrying the job out, for this sweep or for another command."""
    if claim_of(plan, job).is_file():
        handle = claim(plan, job)
        if handle is None:
            return True
        release(handle)
    return RunFolder(job.path).is_held()


def states_of(plan: Plan) -> list[JobState]:
    """The state of every job, in their order."""
    last = _last_attempts(plan)
    return [state_of_job(plan, job, last.get(job.name_in(plan))) for job in plan.jobs]


def state_of_job(plan: Plan, job: PlannedJob, attempt: dict[str, Any] | None = None) -> JobState:
    """What the job's folder says, and, where the run did not get as far as that, the last attempt to carry it out."""
    path = job.path / RUN_INFO
    why, exit_status = (attempt["reason"], attempt["exit_status"]) if attempt else ("", 0)
    refused = exit_status == 2
    try:
        info = read_run_info(job.path)
        status, recorded = info["status"], info["config_hash"]
    except FileNotFoundError:
        if is_held(plan, job):
            return JobState("running")
        if not why:
            return JobState("planned")
        return JobState("interrupted" if exit_status < 0 else "failed", why, refused=refused)
    except BadRecordsError as error:
        return JobState("failed", str(error))
    except KeyError as error:
        return JobState("failed", f"{path} has no {error.args[0]}")
    except OSError as error:
        return JobState("failed", f"{path} cannot be read ({error.strerror})")
    if recorded != job.config_hash and info.get("schema_version") != 1:
        return JobState("failed", f"{job.folder} holds a run of another configuration")
    wall, loss = info.get("wall_seconds"), ((info.get("final") or {}).get("loss") or {}).get("median")
    if status == "done":
        return JobState(status, wall_seconds=wall, loss=loss)
    if is_held(plan, job):
        return JobState("running", wall_seconds=wall)
    if refused:  # it was to be resumed
        return JobState("failed", why, wall, loss, refused=True)
    if status == "running" and exit_status > 0:
        return JobState("failed", why, wall, loss)
    if status == "running":  # and nobody runs it
        return JobState("interrupted", why or "its process was killed, or could not write how it ended", wall, loss)
    return JobState(status, str(info.get("error") or why), wall, loss)


def _last_attempts(plan: Plan) -> dict[str, dict[str, Any]]:
    """By the name of each job's run: the last attempt to carry it out."""
    last: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError):
        for line in (plan.folder / ATTEMPTS).read_text(errors="replace").splitlines():
            # The last line of a killed launcher, or one that is damaged.
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                attempt = json.loads(line)
                ended = {"reason": str(attempt["reason"]), "exit_status": int(attempt["exit_status"])}
                last[str(attempt["run"])] = ended
    return last


def log_of(plan: Plan, job: PlannedJob) -> Path:
    """What the job's processes printed, one attempt after the other."""
    return plan.folder / "logs" / f"{job.name_in(plan).strip('/').replace('/', '-')}.log"


def how_it_ended(exit_status: int, printed: Iterable[str]) -> str:
    """Why an attempt did not get to its end, in one line; "" for exit status 0.

    >>> how_it_ended(-9, [])
    'killed by SIGKILL (by hand, or because memory ran out)'
    """
    if exit_status == 0:
        return ""
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        return f"killed by {name}" + (" (by hand, or because memory ran out)" if name == "SIGKILL" else "")
    lines = [line.strip() for line in printed if line.strip()]
    ours = [line.removeprefix("ncbench: ") for line in lines if line.startswith("ncbench: ")]
    last = ours[-1] if ours else (lines[-1] if lines else "it printed nothing")
    return last.partition("; log in ")[0]
