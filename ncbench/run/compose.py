"""From a command line to validated configurations, without torch and before any job starts.

Composing every job of a command first means that a misspelt key in the last of a hundred costs a second, not a night.
A single run is composed once and validated once.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import ListConfig, OmegaConf

from ncbench.config.identity import differences, shared_differences
from ncbench.config.root import Config
from ncbench.records.run_hash import config_hash
from ncbench.run.claimed import check_claimed
from ncbench.run.composer import composer, quoted
from ncbench.run.hydra_messages import experiments, of_no_value
from ncbench.run.logging_rules import check_logger, check_no_secrets
from ncbench.run.places import run_folder, sweep_folder
from ncbench.run.values import naming_folders, plain_values, register_resolvers, validated

__all__ = [
    "Command",
    "Job",
    "check_composed",
    "compose_command",
    "compose_jobs",
    "compose_points",
    "experiments",
    "with_default_experiment",
]

DEFAULT_EXPERIMENT = "digits_mlp"
_NAME, _NO_TEXT = re.compile(r"[A-Za-z_][\w.]*"), ("null", "true", "false", "nan", "inf")  # texts without quotes
_OF_SWEEPS = ("hydra.launcher", "hydra/launcher", "hydra.sweep", "hydra/sweeper")


@dataclass(frozen=True)
class Job:
    """One run of a command: its overrides, its plain resolved values, the same as dataclasses, its folder.

    `composed` is what Hydra made of the overrides, its own part included; None for a job of a grid, which is composed
    again when it starts.
    """

    overrides: list[str]
    values: dict[str, Any]
    config: Config
    folder: Path
    composed: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Command:
    """The jobs of a command line, with the overrides that make them: an experiment's own grid is among them.

    Of a grid, `folder` holds the runs and no job is there twice; `axes` are the keys with several values, `launcher`
    those of the launcher, `choices` the names of launcher and sweeper, `callbacks` the names of Hydra's own.
    """

    jobs: list[Job]
    overrides: list[str]
    multirun: bool
    folder: Path | None = None
    axes: dict[str, list[str]] = field(default_factory=dict)
    launcher: Any = None
    choices: dict[str, str] = field(default_factory=dict)
    callbacks: list[str] = field(default_factory=list)


def with_default_experiment(overrides: Sequence[str]) -> list[str]:
    """The overrides of a command line with the experiment it means: without one, the embedded one."""
    if any(override.lstrip("+~").startswith("experiment=") for override in overrides):
        return list(overrides)
    return [f"+experiment={DEFAULT_EXPERIMENT}", *overrides]


def compose_jobs(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = ()) -> list[Job]:
    """Every job of these overrides, composed and validated; ValueError of one line where one cannot be.

    With `multirun`, comma-separated values and Hydra's sweep functions make the product grid. The grid that an
    experiment carries is left alone; `compose_command` takes it in.
    """
    register_resolvers()
    with composer(config_dirs) as hydra:
        return [
            _job(point, hydra.compose(point, number if multirun else None), multirun)
            for number, point in enumerate(_grid(hydra.parse(overrides), multirun))
        ]


def check_composed(
    overrides: Sequence[str], config_dirs: Sequence[str], *, multirun: bool, package: str | None = None
) -> None:
    """ValueError of one line where these overrides cannot be composed, or have no such package; no value is checked."""
    register_resolvers()
    with composer(config_dirs) as hydra:
        composed = hydra.compose(_grid(hydra.parse(overrides), multirun)[0])
        if package not in (None, "_global_") and OmegaConf.select(composed, package) is None:
            raise ValueError(
                f"--package {package}: must be a key of the configuration that holds others, such as model"
            )


def compose_points(points: Sequence[Sequence[str]], first: int, config_dirs: Sequence[str] = ()) -> list[Job]:
    """The jobs of a grid whose points somebody else has chosen; the first of them has the number `first`."""
    register_resolvers()
    with composer(config_dirs) as hydra:
        return [_job(list(p), hydra.compose(list(p), first + place), True) for place, p in enumerate(points)]


def compose_command(
    overrides: Sequence[str],
    *,
    multirun: bool,
    config_dirs: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Command:
    """The jobs of a command line, with the grid that an experiment file carries as `grid: {key: [value, ...]}`.

    A key that the command line sets is left to it. `progress(done, of)` is called after every job. ValueError of one
    line where a job cannot be composed, where several experiments are swept and one has a grid, where two jobs would
    share a folder, where a claim is about what no job records.
    """
    register_resolvers()
    with composer(config_dirs) as hydra:
        parsed = hydra.parse(overrides)
        first = hydra.compose(_grid(parsed, multirun)[0], 0 if multirun else None)
        given = {override.get_key_element().lstrip("+~") for override in parsed}
        grid = plain_values(first).get("grid") or {}
        if not isinstance(grid, Mapping):
            raise ValueError(f"grid={grid}: must be a mapping of keys to lists of values")
        added = [_axis(key, values) for key, values in grid.items() if values is not None]
        added = [axis for axis in added if axis.partition("=")[0] not in given]
        several = [o for o in parsed if o.get_key_element().lstrip("+") == "experiment" and o.is_sweep_override()]
        if not (multirun or added):
            job = _job(list(overrides), first, False)
            check_claimed([job.config])
            return Command([job], list(overrides), False)
        expanded = [*overrides] if several else [*overrides, *added]
        parsed = hydra.parse(expanded)
        points = _grid(parsed, True)
        jobs, roots = [], []
        for number, point in enumerate(points):
            composed = hydra.compose(point, number)
            jobs.append(_job(point, composed, True))
            roots.append(Path(composed.hydra.sweep.dir))
            if several and any(values is not None for values in jobs[-1].config.grid.values()):
                raise ValueError(f"{several[0].input_line}: one of them has a grid of its own; run it by itself")
            progress(number + 1, len(points))
        check_claimed([job.config for job in jobs])
        axes = {
            override.get_key_element().lstrip("+"): [point.partition("=")[2] for point in _points(override)]
            for override in parsed
            if override.is_sweep_override()
        }
        launching = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
        choices = {key: composed.hydra.runtime.choices[f"hydra/{key}"] for key in ("launcher", "sweeper")}
        callbacks = [str(name) for name in composed.hydra.callbacks]
    command = Command(jobs, expanded, True, axes=axes, launcher=launching, choices=choices, callbacks=callbacks)
    return _in_one_folder(command, roots, placed="hydra.sweep.dir" in given)


def _in_one_folder(command: Command, roots: list[Path], placed: bool) -> Command:
    """The same command with one folder for its runs, the same for another spelling or one value more of an axis."""
    folder, jobs = Path(os.path.commonpath(roots)), command.jobs
    if not placed and roots[0].name == "sweep":
        shared = shared_differences([job.config for job in jobs], list(command.axes))
        identity = config_hash({"shared": shared, "axes": sorted(command.axes)})
        folder = roots[0].with_name(f"sweep-{identity[:10]}")
        jobs = [
            replace(job, folder=folder / job.folder.relative_to(root)) for job, root in zip(jobs, roots, strict=True)
        ]
    kept: dict[Path, Job] = {}
    for job in jobs:
        there = kept.setdefault(job.folder, job)
        if differences(there.config) != differences(job.config):
            one, other = (
                " ".join(o for o in a.overrides if o not in b.overrides) for a, b in ((there, job), (job, there))
            )
            raise ValueError(f"hydra.sweep.subdir={job.folder.name}: must differ between {one} and {other}")
    return replace(command, jobs=list(kept.values()), folder=folder)


def _axis(key: str, values: Any) -> str:
    if not isinstance(values, list) or not values:
        raise ValueError(f"grid.{key}={values}: must be a list of values")
    return f"{key}={','.join(map(_written, values))}"


def _points(override: Override) -> list[str]:
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise ValueError(f"{override.input_line}: must list its values, as in {override.get_key_element()}=1,2")
    try:
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    except ValueError as error:
        raise ValueError(f"{override.input_line}: cannot be listed ({error})") from error


def _written(value: Any) -> str:
    """A value in the grammar of overrides."""
    if value is None or isinstance(value, bool | list):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(part)}" for key, part in value.items()) + "}"
    plain = not isinstance(value, str) or (_NAME.fullmatch(value) and value.lower() not in _NO_TEXT)
    return str(value) if plain else quoted(value)


def _grid(parsed: Sequence[Override], multirun: bool) -> list[list[str]]:
    for override in parsed:
        key = override.key_or_group
        if override.is_sweep_override() and key.startswith(_OF_SWEEPS):
            raise ValueError(f"{override.input_line}: a sweep has one value of this key; a list is written {key}=[a,b]")
        if override.is_sweep_override() and not multirun:
            raise ValueError(f"{override.input_line}: several values make several jobs; add -m")
    points = [list(point) for point in itertools.product(*map(_points, parsed))]
    if not points:
        raise ValueError(of_no_value(next(str(override.input_line) for override in parsed if not _points(override))))
    return points


def _job(overrides: list[str], composed: Any, multirun: bool) -> Job:
    values = plain_values(composed)
    config = validated(values)
    check_logger(config.logger)
    check_no_secrets(config.plain(), os.environ)
    where = composed.hydra
    if not isinstance(where.verbose, bool | str | ListConfig):
        raise ValueError(f"hydra.verbose={where.verbose}: must be true, false or names of loggers")
    with naming_folders(composed, config):
        folder = sweep_folder(where.sweep.dir, where.sweep.subdir) if multirun else run_folder(where.run.dir)
    return Job(overrides, values, config, folder, None if multirun else composed)
