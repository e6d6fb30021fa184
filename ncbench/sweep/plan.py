"""What a sweep is: its command, its axes, its jobs. Kept as `sweep.json` in the sweep's folder.

A job is known by its folder, which the hash of its configuration names; so the plan can be made again from the same
command, with one value more or in another spelling, and finds what was done before (`ncbench.sweep.planning` makes it).
"""

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncbench.records.folder import write_json
from ncbench.sweep.options import SweepOptions

__all__ = ["SWEEP", "Plan", "PlannedJob", "read_plan", "write_plan"]

SWEEP = "sweep.json"
_SCHEMA = 1


@dataclass(frozen=True)
class PlannedJob:
    """One job: its overrides, the folder of its run (absolute) and what it needs.

    `label` says what tells it from the others; `work` is in units that are comparable within an experiment: replicas
    times gradient steps, or times epochs. `devices` is the number of processes that train it; `cores` are those that
    one of them can use for one network, `most_cores` those that it can for all its replicas.
    """

    number: int
    label: str
    overrides: list[str]
    folder: str
    config_hash: str
    experiment: str
    accelerator: str
    replicas: int
    work: float
    cores: int
    most_cores: int
    devices: int = 1

    @property
    def path(self) -> Path:
        """The folder of its run."""
        return Path(self.folder)


@dataclass(frozen=True)
class Plan:
    """A sweep: the command line that made it, the folder it was given in, its axes, options and jobs."""

    folder: Path
    command: str
    cwd: str
    config_dirs: list[str]
    axes: dict[str, list[str]]
    options: SweepOptions
    jobs: list[PlannedJob] = field(repr=False)


def write_plan(plan: Plan) -> None:
    """Keep the plan in the sweep's folder, which is made where it is not there; ValueError where it cannot be."""
    written = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_json(plan.folder / SWEEP, {"schema_version": _SCHEMA, "written": written, **asdict(plan)})
    except OSError as error:
        raise ValueError(f"hydra.sweep.dir={plan.folder}: cannot be written ({error.strerror})") from error


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan of a sweep's folder; ValueError of one line where there is none or it cannot be read."""
    path = Path(folder).absolute()
    try:
        content = json.loads((path / SWEEP).read_text())
        jobs = [PlannedJob(**job) for job in content["jobs"]]
        moved = Path(content["folder"])
        options = SweepOptions.of(content["options"])
        kept = {key: content[key] for key in ("command", "cwd", "config_dirs", "axes")}
    except FileNotFoundError:
        raise ValueError(f"{folder}: holds no sweep (no {SWEEP})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path / SWEEP}: is no plan of a sweep ({type(error).__name__}: {error})") from None
    if moved != path:  # the folder lies elsewhere now, with its runs
        jobs = [_moved(job, moved, path) for job in jobs]
    return Plan(folder=path, options=options, jobs=jobs, **kept)


def _moved(job: PlannedJob, before: Path, now: Path) -> PlannedJob:
    values: dict[str, Any] = asdict(job)
    if job.path.is_relative_to(before):
        values["folder"] = str(now / job.path.relative_to(before))
    return PlannedJob(**values)
