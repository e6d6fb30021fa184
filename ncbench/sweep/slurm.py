"""The executor `slurm`: the jobs of a sweep as one array of SLURM jobs, by submitit.

`hydra.launcher.slurm` holds parameters of submitit (`timeout_min`, `mem_gb`, `gpus_per_node`, `partition`, ...) and
`cluster` (`slurm`, or submitit's `local` and `debug`, on this machine), `wait` (false: submit and leave) and
`max_num_timeout`. Before its time is over, or where it has to make room, a job is told by SIGUSR2: its run saves its
state, and the job is queued again and continues.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ncbench.config.cores import available_cores
from ncbench.config.rules import require
from ncbench.records.schema import STOPPED
from ncbench.sweep.engines import carry_out_job, cores_of, note_lost, present_state, require_engine
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.pool import Watcher
from ncbench.sweep.process import Attempt

__all__ = ["SlurmTask", "prepare_submitit"]

CLUSTERS = ("slurm", "local", "debug")
# What submitit has in common for its clusters; other names are SLURM's own.
_COMMON = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
_TIMEOUT_MINUTES, _MOST_TIMEOUTS = 240, 100  # where the person names none; submitit's own are 5 and 3
_SAVING_SECONDS = 60.0
_GRACE_SECONDS = 120.0  # that SLURM leaves between SIGTERM and the end


class SlurmTask:
    """What submitit starts on a node, from a pickle: it knows no more than the sweep's folder and the run's."""

    def __init__(self, folder: str, run: str, cores: int) -> None:
        self.folder, self.run, self.cores = folder, run, cores
        self._attempt: Attempt | None = None

    def __call__(self) -> None:
        """Carry the job out. RuntimeError where it fails, so that SLURM sees a failed job."""
        place = f"slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else "submitit"
        reason = carry_out_job(self.folder, self.run, place, self.cores, self._started)
        if STOPPED in reason and "SLURM_JOB_ID" in os.environ:
            time.sleep(_GRACE_SECONDS)  # SLURM has told all of the job's processes and queues it again itself
        if reason:
            raise RuntimeError(reason)

    def checkpoint(self) -> Any:
        """Called by submitit in this process at SIGUSR2: the run saves its state, and the job goes to the queue."""
        from submitit.helpers import DelayedSubmission

        if self._attempt is not None:
            self._attempt.ask_to_stop()
            if not _ends(self._attempt.process.pid, _SAVING_SECONDS):
                with suppress(ProcessLookupError):
                    os.killpg(self._attempt.process.pid, signal.SIGKILL)
        return DelayedSubmission(SlurmTask(self.folder, self.run, self.cores))

    def _started(self, attempt: Attempt) -> None:
        self._attempt = attempt


def _ends(process: int, seconds: float) -> bool:
    """Whether a child process ends in this time; it is not waited for, as whoever started it does that."""
    until = time.monotonic() + seconds
    with suppress(ChildProcessError):
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
    return True


def prepare_submitit(plan: Plan, jobs: Sequence[PlannedJob], watcher: Watcher) -> Callable[[], None]:
    """What submits the jobs and, unless `wait` is false, follows them until every one has ended.

    Ctrl-C leaves what SLURM has: the jobs go on, and the last line says how to cancel them. ValueError of one line
    where submitit or sbatch is missing or where a parameter is none of submitit's.
    """
    require_engine("submitit", "slurm")
    given = dict(plan.options.slurm)
    cluster, wait = given.pop("cluster", "slurm"), given.pop("wait", True)
    if cluster not in CLUSTERS:
        raise ValueError(f"hydra.launcher.slurm.cluster={cluster}: must be one of {', '.join(CLUSTERS)}")
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("hydra.launcher.slurm.cluster=slurm: there is no sbatch on this machine; local runs jobs here")
    if not wait and cluster != "slurm":
        raise ValueError(f"hydra.launcher.slurm.wait={wait}: needs cluster=slurm, whose queue starts the jobs")
    return partial(Submitted(plan, jobs, watcher, str(cluster), given).run, wait=bool(wait))


class Submitted:
    """The jobs of a sweep in submitit's hands."""

    def __init__(
        self, plan: Plan, jobs: Sequence[PlannedJob], watcher: Watcher, cluster: str, given: dict[str, Any]
    ) -> None:
        self.plan, self.watcher, self.cluster = plan, watcher, cluster
        self._waiting = list(jobs)
        self._active: dict[int, tuple[PlannedJob, Any, float]] = {}
        self._shown: set[int] = set()
        for key in ("cpus_per_task", "array_parallelism"):
            value = given.get(key)
            whole = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
            require(whole, f"hydra.launcher.slurm.{key}", value, "must be a whole number >= 1")
        self._cores = given.get("cpus_per_task") or max(cores_of(plan, job) for job in jobs)
        parallel = given.get("array_parallelism")
        # submitit starts whatever it gets on this machine at once.
        here = 1 if cluster == "debug" else max(1, available_cores() // self._cores)
        self._at_once = (parallel or here) if cluster != "slurm" else len(self._waiting)
        self._executor = _executor(plan, cluster, self._parameters(given))
        self._seconds = 10.0 if cluster == "slurm" else 0.5

    def _parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        defaults = {"timeout_min": _TIMEOUT_MINUTES, "name": f"ncbench-{self.plan.folder.name}"}
        asks = [job.devices for job in self._waiting if job.accelerator in ("gpu", "cuda")]
        defaults |= {"gpus_per_node": max(asks)} if asks else {}
        return {**defaults, **given, "cpus_per_task": self._cores}

    def run(self, *, wait: bool) -> None:
        """Submit, and follow."""
        try:
            self._submit()
            if not wait:
                self._leave("submitted")
                return
            while self._active or self._waiting:
                self._look()
                self._submit()
                self.watcher.tick(len(self._shown), len(self._waiting) + len(self._active) - len(self._shown), 0)
                time.sleep(self._seconds)
        except KeyboardInterrupt:
            if self.cluster == "slurm":
                self._leave("still in SLURM's hands")
                return
            time.sleep(self._seconds)  # a terminal's Ctrl-C has reached them, too
            for _, submitted, _ in self._active.values():
                if not submitted.done():
                    submitted.cancel(check=False)
            self.watcher.says("the jobs that ran here were stopped and can resume")

    def _submit(self) -> None:
        free = self._at_once - len(self._active)
        batch, self._waiting = self._waiting[:free], self._waiting[free:]
        if not batch:
            return
        tasks = [SlurmTask(str(self.plan.folder), job.folder, self._cores) for job in batch]
        for job, submitted in zip(batch, self._executor.submit_array(tasks), strict=True):
            self._active[job.number] = (job, submitted, time.time())

    def _look(self) -> None:
        for number, (job, submitted, began) in list(self._active.items()):
            if number not in self._shown and present_state(self.plan, job).status == "running":
                self._shown.add(number)
                self.watcher.started(job, f"{self.cluster} {submitted.job_id}")
            if not _is_done(submitted):
                continue
            del self._active[number]
            self._shown.discard(number)
            state = present_state(self.plan, job)
            reason = "" if state.status == "done" else state.reason
            if state.status == "planned":  # it did not get as far as the run
                said = f"it did not begin ({submitted.state}); see {submitted.paths.stderr}"
                reason = f"{self.cluster} job {submitted.job_id}: {said}"
                note_lost(self.plan, job, self.cluster, reason)
            seconds = state.wall_seconds or time.time() - began
            self.watcher.ended(job, reason, seconds, refused=state.refused)

    def _leave(self, what: str) -> None:
        ids = sorted({str(submitted.job_id).partition("_")[0] for _, submitted, _ in self._active.values()})
        cancel = f"; scancel {' '.join(ids)} ends them" if self.cluster == "slurm" else ""
        status = f"python -m ncbench.sweep status {self.plan.folder}"
        self.watcher.says(f"{len(self._active)} jobs are {what}{cancel}; {status} shows how far they are")


def _is_done(submitted: Any) -> bool:
    try:
        return bool(submitted.done())
    except RuntimeError:  # the cluster `debug` runs the job in this call
        return True


def _executor(plan: Plan, cluster: str, parameters: dict[str, Any]) -> Any:
    """submitit's executor with these parameters; ValueError of one line for those that it does not take."""
    import submitit

    most = parameters.pop("max_num_timeout", _MOST_TIMEOUTS)
    folder = Path(plan.folder) / "slurm" / "%j"
    of_slurm = [name for name in parameters if name not in _COMMON and not name.startswith("slurm_")]
    named = {f"slurm_{name}" if name in of_slurm else name: value for name, value in parameters.items()}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=most)
        executor.update_parameters(**named)
    except (NameError, AssertionError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()).partition(" Known executors")[0]
        raise ValueError(f"hydra.launcher.slurm: {said}") from None
    return executor
