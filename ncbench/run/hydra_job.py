"""What Hydra's own main does around a job, for a run that is composed already: logging, environment, HydraConfig."""

import contextlib
import os
from collections.abc import Iterator

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, env_override
from omegaconf import open_dict, read_write

from ncbench.run.compose import Job

__all__ = ["as_hydra_job"]


@contextlib.contextmanager
def as_hydra_job(job: Job) -> Iterator[str]:
    """Yields the absolute path of the run's folder, with `hydra.job.*` and `hydra.job_logging` in force.

    ValueError where the configuration has Hydra callbacks, which only Hydra's own launchers call.
    """
    composed, folder = job.composed, os.path.abspath(job.folder)
    if composed.hydra.callbacks:
        raise ValueError(f"hydra.callbacks={list(composed.hydra.callbacks)}: are called by -m only, also for one job")
    with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = folder
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        configure_log(composed.hydra.job_logging, composed.hydra.verbose)
        with contextlib.ExitStack() as contexts:
            contexts.enter_context(env_override(composed.hydra.job.env_set))
            yield folder
    finally:
        HydraConfig.instance().cfg = before
