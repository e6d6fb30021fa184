"""What a sweep is: its command, its axes, its jobs. Kept as `sweep.json` in the sweep's folder.

A job is known by its folder, which the hash of its configuration names; so the plan can be made again from the same
command, with one value more or in another spelling, and finds what was done before (`ncbench.sweep.planning` makes it).
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncbench.records.schema import SWEEP
from ncbench.records.small_files import MOST_JSON, BadRecordsError, read_text
from ncbench.records.whole_files import write_json
from ncbench.sweep.options import SweepOptions

__all__ = ["Plan", "PlannedJob", "add_to_plan", "alone", "is_written_here", "read_plan", "write_plan"]

_SCHEMA = 1
_COMMAND = uuid.uuid4().hex  # tells this process from every other that writes plans


@dataclass(frozen=True)
class PlannedJob:
    """One job: its overrides, the folder of its run (absolute) and what it needs.

    `label` says what tells it from the others; `work` is in units that are comparable within an experiment: replicas
    times gradient steps, or times epochs. `devices` is the number of processes that train it; `cores` are those that
    one of them can use for one network, `most_cores` those that it can for all its replicas. Its command was given in
    `cwd`, and its files may be in `config_dirs`.
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
    cwd: str
    config_dirs: list[str]
    devices: int = 1

    @property
    def path(self) -> Path:
        """The folder of its run."""
        return Path(self.folder)

    @property
    def takes_gpu(self) -> bool:
        """Whether it takes a GPU where there is one."""
        return self.accelerator not in ("cpu", "mps")

    def name_in(self, plan: "Plan") -> str:
        """Its run folder as seen from the sweep's, which may be moved; the whole path where it lies elsewhere."""
        inside = self.path.is_relative_to(plan.folder)
        return self.path.relative_to(plan.folder).as_posix() if inside else self.folder


@dataclass(frozen=True)
class Plan:
    """A sweep: the command line that made it, its axes, options and jobs."""

    folder: Path
    command: str
    axes: dict[str, list[str]]
    options: SweepOptions
    jobs: list[PlannedJob] = field(repr=False)
    earlier: list[str] = field(default_factory=list)  # commands that made the other jobs of this folder


def add_to_plan(plan: Plan) -> None:
    """Keep the plan in the sweep's folder, and with it the jobs there that other commands have made.

    A narrower command than before hides none of them from `status` and `resume`, nor from workers that wait in a queue.
    ValueError of one line where the folder cannot be written.
    """
    with alone(plan.folder):
        try:
            before = read_plan(plan.folder)
        except ValueError:  # none, or one that cannot be read and is of no more use
            write_plan(plan)
            return
        folders = {job.folder for job in plan.jobs}
        others = [job for job in before.jobs if job.folder not in folders]
        numbered = [replace(job, number=len(plan.jobs) + place) for place, job in enumerate(others)]
        axes = {key: list(dict.fromkeys([*before.axes.get(key, []), *values])) for key, values in plan.axes.items()}
        commands = [*plan.earlier, *([*before.earlier, before.command] if others else [])]
        earlier = list(dict.fromkeys(command for command in commands if command != plan.command))
        write_plan(replace(plan, jobs=[*plan.jobs, *numbered], axes=axes if others else plan.axes, earlier=earlier))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two commands do not write the plan of one folder at once, where the file system has locks.

    Raises ValueError where the folder cannot be made or opened.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f"hydra.sweep.dir={folder}: cannot be written ({error.strerror})") from error
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_plan(plan: Plan) -> None:
    """Keep the plan in the sweep's folder, which is made where it is not there; ValueError where it cannot be."""
    written = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        heading = {"schema_version": _SCHEMA, "written": written, "written_by": _COMMAND}
        write_json(plan.folder / SWEEP, {**heading, **asdict(plan)})
    except OSError as error:
        raise ValueError(f"hydra.sweep.dir={plan.folder}: cannot be written ({error.strerror})") from error


def is_written_here(folder: Path) -> bool:
    """Whether this process was the last that wrote the plan of a sweep's folder."""
    try:
        return bool(json.loads(read_text(folder / SWEEP, MOST_JSON))["written_by"] == _COMMAND)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan of a sweep's folder; ValueError of one line where there is none or it cannot be read."""
    path = Path(folder).absolute()
    try:
        content = json.loads(read_text(path / SWEEP, MOST_JSON))
        jobs = [PlannedJob(**job) for job in content["jobs"]]
        moved = Path(content["folder"])
        options = SweepOptions.of(content["options"])
        kept = {key: content[key] for key in ("command", "axes")}
        kept["earlier"] = content.get("earlier", [])
    except FileNotFoundError:
        raise ValueError(f"{folder}: holds no sweep (no {SWEEP})") from None
    except BadRecordsError as error:  # no regular file, too large
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"{path / SWEEP}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "its keys are not those of one"
        raise ValueError(f"{path / SWEEP}: is no plan of a sweep ({why})") from None
    if moved != path:  # the folder lies elsewhere now, with its runs
        jobs = [_moved(job, moved, path) for job in jobs]
    return Plan(folder=path, options=options, jobs=jobs, **kept)


def _moved(job: PlannedJob, before: Path, now: Path) -> PlannedJob:
    values: dict[str, Any] = asdict(job)
    if job.path.is_relative_to(before):
        values["folder"] = str(now / job.path.relative_to(before))
    return PlannedJob(**values)
