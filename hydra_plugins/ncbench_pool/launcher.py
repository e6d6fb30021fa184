"""`hydra/launcher=pool`, the default of `-m`: hands the jobs of a sweep to `ncbench.sweep`.

Hydra imports this module at every start and runs it outside `sys.modules`: no heavy import, no postponed annotations.
A plain grid reaches the pool without Hydra's sweeper (`ncbench.train`); this class serves the other sweepers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher


@dataclass
class PoolLauncherConf:
    """The keys `hydra.launcher.*`; ncbench.sweep.options checks them."""

    _target_: str = "hydra_plugins.ncbench_pool.launcher.PoolLauncher"
    executor: str = "local"  # local: processes here; slurm: submitit; ray
    jobs_per_gpu: int = 1
    gpus: Any = None  # list of device names; null: those that this machine shows
    cores_per_job: Any = None  # null: what the job's network can use, 1 for a small one
    retries: int = 0  # further attempts of a job that failed or was killed
    memory_gb: Any = None  # address space of a job (RLIMIT_AS); null: no limit
    slurm: dict[str, Any] = field(default_factory=dict)  # parameters of submitit's executor
    ray: dict[str, Any] = field(default_factory=dict)  # arguments of ray.init


ConfigStore.instance().store(group="hydra/launcher", name="pool", node=PoolLauncherConf, provider="ncbench_pool")


class PoolLauncher(Launcher):
    """Every job is a process of its own, `python -m ncbench.train` with the job's overrides."""

    def __init__(self, **_: Any) -> None:
        self.config: Any = None  # has the launcher's keys, too

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """What Hydra's sweeper hands over before the first batch; the jobs do not need its context and task."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs; the return value of each is its final loss (None where it has none)."""
        from ncbench.sweep.launch import launch_batch

        results = launch_batch(self.config, job_overrides, initial_job_idx)
        return [
            JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=loss)
            for overrides, loss in zip(job_overrides, results, strict=True)
        ]
