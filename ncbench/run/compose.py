"""From a command line to validated configurations, without torch and before any job starts.

Composing every job of a command first means that a misspelt key in the last of a hundred costs a second, not a night.
A single run is composed once and validated once.
"""

import difflib
import itertools
import json
import netrc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.claims.paper_claims import with_standards
from ncbench.claims.papers import carry_paper, check_reproduces, paper_of
from ncbench.config.identity import differences
from ncbench.config.root import Config
from ncbench.config.validate import unknown_key, validate
from ncbench.records.run_hash import run_id

__all__ = [
    "Command",
    "Job",
    "check_logger",
    "compose_command",
    "compose_jobs",
    "experiments",
    "plain_values",
    "register_resolvers",
    "validated",
    "with_paper",
]


@dataclass(frozen=True)
class Job:
    """One run of a command: its overrides, its plain resolved values, the same as dataclasses, its folder.

    `composed` is what Hydra made of the overrides, its own part included; None for a job of a grid, which Hydra
    composes again when it starts it.
    """

    overrides: list[str]
    values: dict[str, Any]
    config: Config
    folder: Path
    composed: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Command:
    """The jobs of a command line, with the overrides that make them: an experiment's own grid is among them."""

    jobs: list[Job]
    overrides: list[str]
    multirun: bool


def register_resolvers() -> None:
    """`${run_id:}`: the hash that names a run's folder, in hydra.run.dir and hydra.sweep.subdir."""
    OmegaConf.register_new_resolver("run_id", _resolve_run_id, replace=True)


def _resolve_run_id(*, _root_: Any) -> str:
    return run_id(differences(validated(plain_values(_root_))))


def validated(values: dict[str, Any]) -> Config:
    """The dataclasses of plain values; every configuration of a process is validated once."""
    return _validate_once(_Values(json.dumps(values, default=str), values))


@dataclass(frozen=True)
class _Values:
    text: str
    values: Mapping[str, Any] = field(compare=False)


@lru_cache(maxsize=1024)
def _validate_once(of: _Values) -> Config:
    return validate(of.values)


def plain_values(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain, resolved values, without Hydra's own part; see `with_paper`."""
    keys = [key for key in composed if key != "hydra"]
    values = OmegaConf.to_container(OmegaConf.masked_copy(composed, keys), resolve=True)
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items()}
    return with_paper(plain, composed.hydra) if "hydra" in composed else plain


def with_paper(values: dict[str, Any], hydra: Any) -> dict[str, Any]:
    """The values with what they refer to written out: a paper of another folder, and the standards of its claims."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    reproduces = carry_paper(values.get("reproduces"), folders)
    check_reproduces(reproduces)  # a paper that is not known is said so, before its claims are looked for
    paper = paper_of(reproduces)
    claims = with_standards(values.get("claims"), paper.claims if paper else {}, paper.key if paper else "")
    return {**values, "reproduces": reproduces, "claims": claims}


def compose_jobs(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = ()) -> list[Job]:
    """Every job of these overrides, composed and validated; ValueError of one line where one cannot be.

    With `multirun`, comma-separated values and Hydra's sweep functions make the product grid. The grid that an
    experiment carries is left alone; `compose_command` takes it in.
    """
    with _hydra(config_dirs) as search:
        return [_job(point, _compose(point, search), multirun) for point in _grid(_parse(overrides), multirun)]


def compose_command(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = ()) -> Command:
    """The jobs of a command line, with the grid that an experiment file carries as `grid: {key: [value, ...]}`.

    A key that the command line sets is left to it. ValueError of one line where a job cannot be composed, or where
    several experiments are swept and one has a grid.
    """
    with _hydra(config_dirs) as search:
        parsed = _parse(overrides)
        given = {override.get_key_element().lstrip("+~") for override in parsed}
        swept = [o for o in parsed if o.get_key_element().lstrip("+") == "experiment" and o.is_sweep_override()]
        jobs: list[Job] = []
        for point in _grid(parsed, multirun):
            composed = _compose(point, search)
            grid = plain_values(composed).get("grid") or {}
            if grid and swept:
                raise ValueError(f"{swept[0].input_line}: one of them has a grid of its own; run it by itself")
            axes = [_axis(key, values) for key, values in grid.items() if key not in given]
            if axes:
                break
            jobs.append(_job(point, composed, multirun))
        else:
            return Command(jobs, list(overrides), multirun)
    expanded = [*overrides, *axes]
    return Command(compose_jobs(expanded, multirun=True, config_dirs=config_dirs), expanded, True)


def _axis(key: str, values: Any) -> str:
    if not isinstance(values, list) or not values:
        raise ValueError(f"grid.{key}={values}: must be a list of values")
    return f"{key}={','.join(map(_written, values))}"


@contextmanager
def _hydra(config_dirs: Sequence[str]) -> Iterator[list[str]]:
    """Hydra ready to compose, with its errors in one line; yields the override that adds the search path."""
    register_resolvers()
    GlobalHydra.instance().clear()
    folders = ",".join(f"file://{Path(folder).resolve()}" for folder in config_dirs)
    try:
        with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
            yield [f"hydra.searchpath=[{folders}]"] if config_dirs else []
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(_one_line(error)) from error


def _parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def _points(override: Override) -> list[str]:
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _written(value: Any) -> str:
    """A value in the grammar of overrides."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def _grid(parsed: Sequence[Override], multirun: bool) -> list[list[str]]:
    for override in parsed:
        if override.is_sweep_override() and not multirun:
            raise ValueError(f"{override.input_line}: several values make several jobs; add -m")
    return [list(point) for point in itertools.product(*map(_points, parsed))]


def _compose(overrides: list[str], search: list[str]) -> Any:
    return compose("config", overrides=[*overrides, *search], return_hydra_config=True)


def _job(overrides: list[str], composed: Any, multirun: bool) -> Job:
    values = plain_values(composed)
    config = validated(values)
    check_logger(config)
    where = composed.hydra
    folder = Path(where.sweep.dir, where.sweep.subdir) if multirun else Path(where.run.dir)
    return Job(overrides, values, config, folder, None if multirun else composed)


def check_logger(config: Config) -> None:
    """W&B online needs a key, and asking for it in the middle of a sweep would hang it: refuse at the start."""
    if config.logger.kind != "wandb" or os.environ.get("WANDB_API_KEY"):
        return
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        known = netrc.netrc(path).authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        known = False
    if not known:
        raise ValueError("logger=wandb: no W&B key; set WANDB_API_KEY, run `wandb login`, or use logger=wandb_offline")


def experiments(folder: Path = CONF_DIR / "experiment") -> dict[str, Path]:
    """Name (as after `+experiment=`) -> file of every experiment."""
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def _one_line(error: BaseException) -> str:
    """The message of a Hydra or OmegaConf error on one line, without its search path and advice for developers."""
    text = " ".join(str(error).split()).partition(" Config search path:")[0].partition(" Set the env")[0]
    refused = re.match(r"Could not override '([^']+)'", text)
    if refused and refused[1] != "experiment":
        return f"{refused[1]}: {unknown_key(refused[1])}"
    missing = re.search(r"Could not find 'experiment/([^']+)'", text)
    if missing:
        known = experiments()
        near = difflib.get_close_matches(missing[1], [*known, *(name.rsplit("/", 1)[-1] for name in known)], n=1)
        meant = next((name for name in known if near and name.endswith(near[0])), None)
        hint = f" (did you mean {meant}?)" if meant else ""
        return f"unknown experiment '{missing[1]}'{hint}; --list names them, --config-dir adds your own"
    return text
