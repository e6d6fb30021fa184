"""One attempt at a job: the real command line in a process of its own, whoever starts it (here, submitit, Ray)."""

import ctypes
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ncbench.records.run_hash import PLANNED_HASH
from ncbench.run.composer import quoted
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.states import ATTEMPTS, how_it_ended, log_of

__all__ = ["Attempt", "command_of", "environment_of"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PR_SET_PDEATHSIG = 1


def command_of(plan: Plan, job: PlannedJob) -> list[str]:
    """The command line of a job: that of a single run in the job's folder."""
    directories = [word for folder in job.config_dirs for word in ("--config-dir", folder)]
    where = f"hydra.run.dir={quoted(job.folder)}"
    return [sys.executable, "-m", "ncbench.train", *job.overrides, where, *directories]


def environment_of(gpus: Sequence[str] | None, threads: int, before: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a job: the GPUs it sees (None: as it is) and the threads of all its processes, from outside.

    Libraries read both when they are imported, so a process that runs already could not change them any more.
    """
    # Threads that wait for each other sleep: several of them beside other work are 4 to 14 times less slow.
    values = {"OMP_WAIT_POLICY": "PASSIVE", **before, "PYTHONUNBUFFERED": "1"}
    for name in _THREAD_VARIABLES:
        values[name] = str(threads)
    if gpus is not None:
        values["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        values["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the numbers of nvidia-smi
    return values


class Attempt:
    """A started job. Its output goes to the job's log; its end is noted in the sweep's attempts."""

    def __init__(
        self,
        plan: Plan,
        job: PlannedJob,
        *,
        environment: Mapping[str, str],
        place: str,
        handles: Sequence[int] = (),
        ends_with_parent: bool = False,
    ) -> None:
        self.plan, self.job, self.place = plan, job, place
        self.started = time.time()
        self._log = log_of(plan, job)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = command_of(plan, job)
        with open(self._log, "a") as log:
            log.write(f"{time.strftime('%F %T')} on {place}: {shlex.join(command)}\n")
            log.flush()
            self._from = log.tell()
            self.process = subprocess.Popen(
                command,
                cwd=job.cwd if Path(job.cwd).is_dir() else None,
                env={**environment, PLANNED_HASH: job.config_hash},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[handle for handle in handles if handle >= 0],
                start_new_session=True,  # a Ctrl-C of the terminal is the launcher's to answer
                preexec_fn=_end_with_parent if ends_with_parent else None,
            )
        if plan.options.memory_gb is not None:
            limit = int(plan.options.memory_gb * 2**30)
            try:
                resource.prlimit(self.process.pid, resource.RLIMIT_AS, (limit, limit))
            except ProcessLookupError:
                pass
            except OSError:  # such as a lower limit of the person's own
                self.kill()
                raise

    def poll(self) -> int | None:
        """The exit status if the process has ended, negative for a signal; its end is noted once."""
        return self.process.poll()

    def ask_to_stop(self) -> None:
        """Ask the run to save its state and end."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    def stop(self, patience: float = 60.0) -> None:
        """The same, and wait; after so many seconds the run is killed."""
        self.ask_to_stop()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process and those that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def note(self) -> dict[str, Any]:
        """Append how the attempt ended to the sweep's attempts, and return it."""
        exit_status = self.process.wait()
        printed: list[str] = []
        with suppress(OSError), open(self._log, errors="replace") as log:
            log.seek(self._from)
            printed = log.read().splitlines()
        reason = how_it_ended(exit_status, printed)
        entry = {
            "job": self.job.number,
            "run": self.job.name_in(self.plan),
            "place": self.place,
            "pid": self.process.pid,
            "started": self.started,
            "ended": time.time(),
            "exit_status": exit_status,
            "reason": reason,
        }
        # On a full disk the run's own state has to do.
        with suppress(OSError), open(self.plan.folder / ATTEMPTS, "a") as attempts:
            attempts.write(json.dumps(entry) + "\n")
        return entry


def _end_with_parent() -> None:
    """In the new process: be sent SIGTERM when the process that started this one dies (Linux).

    SIGUSR2, by which SLURM asks a job to make room, is for that process: it asks the run to save its state.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
