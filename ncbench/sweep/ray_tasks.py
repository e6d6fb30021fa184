"""The executor `ray`: every job of a sweep is a task of Ray, on this machine or on a cluster that runs already.

`hydra.launcher.ray` holds arguments of ray.init: `address: auto` for a cluster; without an address one is started here
and ends with the command. A task that is lost with its worker or its node is started again by Ray and continues the
run; the sweep's folder must then be one that all nodes have.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ncbench.config.cores import available_cores
from ncbench.sweep.engines import carry_out_job, cores_of, note_lost, present_state, require_engine
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.pool import Watcher
from ncbench.sweep.process import Attempt

__all__ = ["prepare_ray"]

_LOST_RETRIES = 10  # of a task whose worker or node was lost; failures of the run itself are `retries`
_POLL_SECONDS = 0.5


def prepare_ray(plan: Plan, jobs: Sequence[PlannedJob], watcher: Watcher) -> Callable[[], None]:
    """What hands all jobs to Ray and follows them until every one has ended; Ray is started or reached here.

    Ctrl-C lets every run save its state and ends the command. ValueError of one line where Ray is missing, cannot be
    reached, or has no node that is large enough for a job.
    """
    require_engine("ray", "ray")
    import ray

    mine = not ray.is_initialized()
    if mine:
        here = {"include_dashboard": False, "num_cpus": available_cores()}
        quiet = {"log_to_driver": False, "logging_level": "warning"}
        arguments = {**quiet, **({} if "address" in plan.options.ray else here), **plan.options.ray}
        try:
            ray.init(**arguments)
        except (ConnectionError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"hydra.launcher.ray: {str(error).splitlines()[0]}") from None
    asked = {job.number: _resources(plan, job, _largest_node(ray)) for job in jobs}

    def run() -> None:
        try:
            _follow(ray, plan, jobs, watcher, asked)
        finally:
            if mine:
                ray.shutdown()

    return run


def _follow(
    ray: Any, plan: Plan, jobs: Sequence[PlannedJob], watcher: Watcher, asked: Mapping[int, dict[str, float]]
) -> None:
    task = ray.remote(_task)
    active = {
        task.options(**asked[job.number], max_retries=_LOST_RETRIES, retry_exceptions=False).remote(
            str(plan.folder), job.folder, int(asked[job.number]["num_cpus"])
        ): job
        for job in jobs
    }
    began = {job.number: time.time() for job in jobs}
    running: set[int] = set()
    try:
        while active:
            ended, _ = ray.wait(list(active), num_returns=1, timeout=_POLL_SECONDS)
            for reference in ended:
                job = active.pop(reference)
                running.discard(job.number)
                _tell(ray, plan, job, reference, watcher, began[job.number])
            for job in active.values():
                if job.number not in running and present_state(plan, job).status == "running":
                    running.add(job.number)
                    began[job.number] = time.time()
                    watcher.started(job, "ray")
            watcher.tick(len(running), len(active) - len(running), 0)
    except KeyboardInterrupt:
        watcher.says("the running jobs save their state; they can resume")
        for reference in active:
            ray.cancel(reference)
        ray.wait(list(active), num_returns=len(active), timeout=60.0)


def _largest_node(ray: Any) -> dict[str, float]:
    """Processors and GPUs of the nodes that are alive: of each, the most that one of them has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return {kind: max([float(node.get(kind, 0.0)) for node in nodes], default=0.0) for kind in ("CPU", "GPU")}


def _resources(plan: Plan, job: PlannedJob, most: dict[str, float]) -> dict[str, float]:
    """What Ray sets aside for a job: a GPU for each of its processes or 1/jobs_per_gpu of one, and its cores."""
    gpus = 0.0
    if most["GPU"] and job.takes_gpu:
        gpus = float(job.devices) if job.devices > 1 else 1.0 / plan.options.jobs_per_gpu
        if gpus > most["GPU"]:
            raise ValueError(f"trainer.devices={job.devices}: must be at most {most['GPU']:g}, the GPUs of one node")
    return {"num_gpus": gpus, "num_cpus": max(1.0, min(float(cores_of(plan, job)), most["CPU"]))}


def _tell(ray: Any, plan: Plan, job: PlannedJob, reference: Any, watcher: Watcher, began: float) -> None:
    """Say how a task ended; what Ray gave up is noted as the reason of the job's state."""
    try:
        reason = str(ray.get(reference))
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        note_lost(plan, job, "ray", reason)
    watcher.ended(job, reason, time.time() - began, refused=present_state(plan, job).refused)


def _task(folder: str, run: str, cores: int) -> str:
    """What Ray runs in a worker; the run's process ends with it, also where Ray kills the worker."""
    attempts: list[Attempt] = []
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    place = f"ray worker {os.getpid()}" + (f", gpu {gpus}" if gpus else "")
    try:
        return carry_out_job(folder, run, place, cores, attempts.append)
    finally:  # a KeyboardInterrupt where the task is cancelled
        for attempt in attempts:
            if attempt.poll() is None:
                attempt.stop()
