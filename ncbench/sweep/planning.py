"""From a composed command to the plan of its sweep; needs Hydra's configuration, as reading a plan does not."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from ncbench.config.cores import replicas_of
from ncbench.config.identity import differences
from ncbench.records.run_hash import config_hash
from ncbench.run.compose import Command, Job
from ncbench.sweep.options import SweepOptions
from ncbench.sweep.plan import Plan, PlannedJob
from ncbench.sweep.workload import cores_of_job, work_of

__all__ = ["make_plan", "planned_job", "trained_twice"]

_OF_LAUNCHING = (
    *("hydra.sweep.", "hydra.run.", "hydra.mode", "hydra.callbacks"),
    *("hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper"),
)


def make_plan(command: Command, text: str, config_dirs: Sequence[str], options: SweepOptions) -> Plan:
    """The plan of a composed command; `text` is the command line as a person would give it again."""
    assert command.folder is not None
    jobs = [planned_job(number, job, list(command.axes), config_dirs) for number, job in enumerate(command.jobs)]
    return Plan(command.folder.absolute(), text, command.axes, options, jobs)


def trained_twice(jobs: Sequence[Job]) -> str:
    """One sentence where jobs that differ in the seed alone would train the same replicas; empty where none do.

    An ensemble of R seeds has the seeds `seed` ... `seed` + R - 1 (`ncbench.run.ensembles`), so that the seeds of two
    jobs have to be R apart.
    """
    seeds = defaultdict[str, set[int]](set)
    replicas = dict[str, int]()
    for job in jobs:
        others = {key: value for key, value in differences(job.config).items() if key != "seed"}
        key = json.dumps(others, sort_keys=True, default=str)
        seeds[key].add(job.config.seed)
        replicas[key] = int(job.config.replicate.get("seed", 1))
    apart = {key: [b - a for a, b in pairwise(sorted(of_job))] for key, of_job in seeds.items()}
    shared = sum(max(0, replicas[key] - gap) for key, gaps in apart.items() for gap in gaps)
    if not shared:
        return ""
    R = max(replicas[key] for key, gaps in apart.items() if gaps and min(gaps) < replicas[key])
    return (
        f"seed: {shared} networks are trained twice, as a job with replicate.seed={R} has the seeds seed ... "
        f"seed + {R - 1}; seeds {R} apart (seed=0,{R},{2 * R}) or one job of more replicas train each once"
    )


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
