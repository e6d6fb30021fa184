"""From a composed command to the plan of its sweep; needs Hydra's configuration, as reading a plan does not."""

import os
from collections.abc import Sequence

from ncbench.config.cores import replicas_of
from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.run.compose import Command, Job
from ncbench.sweep.options import SweepOptions
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.workload import cores_of_job, work_of

__all__ = ["make_plan", "planned_job"]

_OF_LAUNCHING = (
    *("hydra.sweep.", "hydra.run.", "hydra.mode", "hydra.callbacks"),
    *("hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper"),
)


def make_plan(command: Command, text: str, config_dirs: Sequence[str], options: SweepOptions) -> Plan:
    """The plan of a composed command; `text` is the command line as a person would give it again."""
    assert command.folder is not None
    jobs = [planned_job(number, job, list(command.axes), config_dirs) for number, job in enumerate(command.jobs)]
    return Plan(command.folder.absolute(), text, command.axes, options, jobs)


def planned_job(number: int, job: Job, axes: Sequence[str], config_dirs: Sequence[str]) -> PlannedJob:
    """A composed job as the plan has it: without what is Hydra's and the launcher's alone."""
    overrides = [override for override in job.overrides if not override.lstrip("+~").startswith(_OF_LAUNCHING)]
    if any("hydra.job." in override for override in job.overrides):  # its number and id are those of the plan
        overrides += [f"hydra.job.num={number}", f"hydra.job.id='{number}'"]
    network, every = cores_of_job(job.config)
    return PlannedJob(
        number=number,
        label=_label(overrides, axes) or job.config.name,
        overrides=overrides,
        folder=str(job.folder.absolute()),
        config_hash=config_hash(differences(job.config)),
        experiment=job.config.name,
        accelerator=job.config.trainer.accelerator,
        replicas=replicas_of(job.config),
        work=work_of(job.config),
        cores=network,
        most_cores=every,
        cwd=os.getcwd(),
        config_dirs=[os.path.abspath(folder) for folder in config_dirs],
        devices=job.config.trainer.devices,
    )


def _label(overrides: Sequence[str], axes: Sequence[str]) -> str:
    """The swept values, by the last parts of their keys where these are clear."""
    short = [key.rsplit(".", 1)[-1] for key in axes]
    names = {key: last if short.count(last) == 1 else key for key, last in zip(axes, short, strict=True)}
    given = [override.lstrip("+").partition("=") for override in overrides]
    return " ".join(f"{names[key]}={value}" for key, _, value in given if key in names)
