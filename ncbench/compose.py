"""From a command line to validated configurations, without torch and before Hydra's own main.

Composing every job of a command first means that a misspelt key in the last of a hundred costs a second, not a night.
"""

import itertools
import netrc
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncbench._conf import CONF_DIR
from ncbench.config import Config
from ncbench.sweep import run_id
from ncbench.validation import unknown_key, validate

__all__ = ["Job", "check_logger", "compose_jobs", "experiments", "plain_values", "register_resolvers"]


@dataclass(frozen=True)
class Job:
    """One run of a command: its overrides, its plain resolved values, the same as dataclasses, its folder."""

    overrides: list[str]
    values: dict[str, Any]
    config: Config
    folder: Path


def register_resolvers() -> None:
    """`${run_id:}`: the hash that names a run's folder, in hydra.run.dir and hydra.sweep.subdir."""
    OmegaConf.register_new_resolver("run_id", _resolve_run_id, replace=True)


def _resolve_run_id(*, _root_: Any) -> str:
    return run_id(plain_values(_root_))


def plain_values(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain, resolved values, without Hydra's own part."""
    keys = [key for key in composed if key != "hydra"]
    values = OmegaConf.to_container(OmegaConf.masked_copy(composed, keys), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def compose_jobs(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = ()) -> list[Job]:
    """Every job of a command line, composed and validated; ValueError of one line where one cannot be.

    With `multirun`, comma-separated values and Hydra's sweep functions make the product grid.
    """
    register_resolvers()
    search = (
        [f"hydra.searchpath=[{','.join(f'file://{Path(d).resolve()}' for d in config_dirs)}]"] if config_dirs else []
    )
    GlobalHydra.instance().clear()
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
            grid = _grid(parsed, multirun)
            return [_job(point, search, multirun) for point in grid]
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_one_line(error)) from error


def _grid(parsed: Sequence[Override], multirun: bool) -> list[list[str]]:
    axes: list[list[str]] = []
    for override in parsed:
        assert override.input_line is not None
        if not override.is_sweep_override():
            axes.append([override.input_line])
        elif not multirun:
            raise ValueError(f"{override.input_line}: several values make several jobs; add -m")
        else:
            key = override.get_key_element()
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return [list(point) for point in itertools.product(*axes)]


def _job(overrides: list[str], search: list[str], multirun: bool) -> Job:
    composed = compose("config", overrides=[*overrides, *search], return_hydra_config=True)
    values = plain_values(composed)
    config = validate(values)
    check_logger(config)
    where = composed.hydra
    folder = Path(where.sweep.dir, where.sweep.subdir) if multirun else Path(where.run.dir)
    return Job(overrides, values, config, folder)


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
    return text.replace("Could not find 'experiment/", "unknown experiment '")
