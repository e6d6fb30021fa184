"""The executor `local`: a pull queue of processes on this machine.

Whoever is free takes the next job: a GPU, a part of one, or cores. A job that fails or is killed is reported at once
and stops no other. Ctrl-C once lets the running jobs end and starts no more, twice makes them save and stop.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from ncbench._cli import of_file_system
from ncbench.config.cores import available_cores, usable_cores
from ncbench.records.folder import RunFolder
from ncbench.run.signals import STOPPING
from ncbench.sweep.leases import Lease, Machine
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.process import Attempt, environment_of
from ncbench.sweep.states import claim, is_held, release, state_of_job

__all__ = ["Pool", "Watcher"]

_POLL_SECONDS = 0.1
_ELSEWHERE_SECONDS = 1.0


class Watcher(Protocol):
    """Who is told what happens: ncbench.sweep.progress shows it."""

    def started(self, job: PlannedJob, place: str) -> None:
        """A job runs, there."""

    def ended(self, job: PlannedJob, reason: str, seconds: float, *, refused: bool = False) -> None:
        """An attempt ended, and why it failed ("" where it is done); refused: its input was wrong."""

    def done_elsewhere(self, job: PlannedJob) -> None:
        """Another command has carried the job out."""

    def says(self, text: str) -> None:
        """Something the person should know."""

    def tick(self, running: int, waiting: int, elsewhere: int) -> None:
        """Called a few times a second."""


@dataclass
class _Running:
    attempt: Attempt
    lease: Lease
    claimed: int


class Pool:
    """Carries out the jobs of a plan that are not done."""

    def __init__(self, plan: Plan, jobs: Sequence[PlannedJob], watcher: Watcher) -> None:
        self.plan, self.watcher = plan, watcher
        options = plan.options
        # OMP_NUM_THREADS bounds the threads of one job, not the number of jobs.
        self.machine = Machine(options.gpus_here(), options.jobs_per_gpu, available_cores())
        self._threads_of_user = usable_cores()
        self._on_cpu = sum(self._gpus_of(job) == 0 for job in jobs)
        self._queue = deque(jobs)
        self._elsewhere: list[PlannedJob] = []
        self._running: list[_Running] = []
        self._retries = {job.number: options.retries for job in jobs}
        self._interrupts = 0
        self._looked_elsewhere = 0.0

    def run(self) -> None:
        """Until every job has ended, here or elsewhere, or the person has stopped it."""
        with self._signals():
            try:
                while self._running or (not self._interrupts and (self._queue or self._elsewhere)):
                    self._reap()
                    if self._interrupts > 1:
                        self._stop()
                    elif not self._interrupts:
                        self._look_elsewhere()
                        self._start()
                    self.watcher.tick(len(self._running), len(self._queue), len(self._elsewhere))
                    time.sleep(_POLL_SECONDS)
            finally:
                self._stop()

    def _start(self) -> None:
        """Start what there is room for, in order; jobs on GPUs and jobs on the CPU do not wait for each other."""
        waiting, full = deque[PlannedJob](), set[bool]()
        while self._queue:
            job = self._queue.popleft()
            gpus = self._gpus_of(job)
            on_gpu = gpus > 0
            lease = None if on_gpu in full else self.machine.lease(gpus, self._cores_of(job) * job.devices)
            if lease is None:
                full.add(on_gpu)
                waiting.append(job)
            else:
                self._begin(job, lease)
        self._queue = waiting

    def _begin(self, job: PlannedJob, lease: Lease) -> None:
        claimed = claim(self.plan, job)
        taken = claimed is None or RunFolder(job.path).is_held()
        if claimed is None or taken or state_of_job(self.plan, job).status == "done":
            self.machine.give_back(lease)
            release(claimed)
            if taken:
                self._elsewhere.append(job)
            else:
                self.watcher.done_elsewhere(job)
            return
        threads = min(lease.cores, self._threads_of_user)  # of all processes of the job together
        named = bool(self.machine.gpus) or self.plan.options.gpus is not None
        seen = lease.gpus if named else None
        environment = environment_of(seen, threads)
        handles = [claimed, *lease.handles]
        try:
            attempt = Attempt(self.plan, job, environment=environment, place=lease.place, handles=handles)
        except OSError as error:  # no more processes, a full disk
            self.machine.give_back(lease)
            release(claimed)
            self.watcher.ended(job, f"it could not be started ({of_file_system(error)})", 0.0)
            return
        self._running.append(_Running(attempt, lease, claimed))
        self.watcher.started(job, lease.place)

    def _reap(self) -> None:
        for running in [r for r in self._running if r.attempt.poll() is not None]:
            self._running.remove(running)
            self.machine.give_back(running.lease)
            release(running.claimed)
            job = running.attempt.job
            if running.attempt.poll() == 2 and is_held(self.plan, job):  # another command was quicker
                self._elsewhere.append(job)
                continue
            ended = running.attempt.note()
            done = state_of_job(self.plan, job).status == "done"
            reason = "" if done else str(ended["reason"])  # one that was stopped at its very end is done
            refused = ended["exit_status"] == 2
            self.watcher.ended(job, reason, ended["ended"] - ended["started"], refused=refused)
            if reason and not refused and self._retries[job.number] and not self._interrupts:
                self._retries[job.number] -= 1
                self.watcher.says(f"job {job.number} is tried again")
                self._queue.append(job)

    def _look_elsewhere(self) -> None:
        """Take back the jobs that another command has let go of."""
        if time.monotonic() - self._looked_elsewhere < _ELSEWHERE_SECONDS:
            return
        self._looked_elsewhere = time.monotonic()
        for job in [job for job in self._elsewhere if not is_held(self.plan, job)]:
            self._elsewhere.remove(job)
            if state_of_job(self.plan, job).status == "done":
                self.watcher.done_elsewhere(job)
            else:
                self._queue.append(job)

    def _gpus_of(self, job: PlannedJob) -> int:
        return job.devices if self.machine.gpus and job.takes_gpu else 0

    def _cores_of(self, job: PlannedJob) -> int:
        """The cores of one process of a job: those asked for, what its network can use, or more where jobs are few."""
        if self.plan.options.cores_per_job is not None:
            return self.plan.options.cores_per_job
        if self._gpus_of(job):
            return max(1, self.machine.cores // (len(self.machine.gpus) * self.machine.jobs_per_gpu))
        share = self.machine.cores // max(1, self._on_cpu * job.devices)
        return max(job.cores, min(share, job.most_cores))

    def _stop(self) -> None:
        """Let every running job save and end."""
        for running in self._running:
            running.attempt.ask_to_stop()
        for running in self._running:
            running.attempt.stop()
        self._reap()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # Python tells no other thread of signals
            yield
            return

        def interrupted(number: int, frame: FrameType | None) -> None:
            self._interrupts = self._interrupts + 1 if number == signal.SIGINT else 2
            if self._interrupts == 1:
                self.watcher.says("no more jobs are started; Ctrl-C again stops those that run, and they can resume")

        before = [(of, signal.signal(of, interrupted)) for of in STOPPING if signal.getsignal(of) != signal.SIG_IGN]
        try:
            yield
        finally:
            for of, handler in before:
                signal.signal(of, handler)
