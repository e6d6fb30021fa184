"""Composes configurations with Hydra, the points of a grid fast: what they share is composed once.

Hydra composes the files of the chosen groups and then sets the values of the command line in it. The first part takes
a tenth of a second and is the same for all points that choose the same groups; so it is kept, and a point is a copy of
it with its own values. The values are set by Hydra's own function, in the order of the command line.
"""

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.config.validate import to_be_added, unknown_key
from ncbench.run.added_keys import check_added
from ncbench.run.hydra_messages import one_line, refused_key

__all__ = ["Composer", "composer", "quoted"]

_AT_THE_ROOT = re.compile(r"\s*#\s*@package\s+_global_\s*$", re.MULTILINE)


class Composer:
    """Hydra, ready to compose `config.yaml` with overrides; made by `composer`."""

    def __init__(self, config_dirs: Sequence[str]) -> None:
        folders = ",".join(quoted(f"file://{Path(folder).resolve()}") for folder in config_dirs)
        self._search_path = [f"hydra.searchpath=[{folders}]"] if config_dirs else []
        self._folders = [Path(folder) for folder in config_dirs]
        self._of_groups: dict[tuple[str, ...], Any] = {}
        loader: Any = GlobalHydra.instance().config_loader()
        self._parser = OverridesParser.create(config_loader=loader)
        self._repository = loader.repository

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides as Hydra understands them."""
        return self._parser.parse_overrides(list(overrides))

    def compose(self, overrides: list[str], number: int | None = None) -> Any:
        """What Hydra makes of the overrides, its own part included; `number` is that of a job of a grid."""
        parsed = self.parse(overrides)
        for override in parsed:
            self._check_group(override)
        if any(o.key_or_group in ("hydra.searchpath", "hydra.job.env_copy") for o in parsed):
            composed = self._by_hydra(overrides)
        else:
            groups = tuple(str(o.input_line) for o in parsed if self._is_group(o))
            if groups not in self._of_groups:
                self._of_groups[groups] = self._by_hydra(groups)
            composed = copy.deepcopy(self._of_groups[groups])
            values = [o for o in parsed if not self._is_group(o)]
            try:
                ConfigLoaderImpl._apply_overrides_to_config(values, composed)
            except ConfigCompositionException as error:
                self._check_added(refused_key(str(error)), values, copy.deepcopy(self._of_groups[groups]))
                raise
            self._note(parsed, composed)
        if number is not None:
            with open_dict(composed.hydra):
                composed.hydra.job.num, composed.hydra.job.id = number, str(number)
        return composed

    def _by_hydra(self, overrides: Sequence[str]) -> Any:
        for override in self.parse(overrides):
            if override.key_or_group == "experiment" and isinstance(override.value(), str):
                self._check_header(str(override.value()))
        try:
            return compose("config", overrides=[*overrides, *self._search_path], return_hydra_config=True)
        except (OSError, RecursionError) as error:  # a file that holds a number, or itself
            if isinstance(error, HydraException):
                raise
            chosen = " ".join(overrides) or "conf/config.yaml"
            raise ValueError(f"{chosen}: its file must hold a mapping of keys, which does not hold itself") from error

    def _check_header(self, experiment: str) -> None:
        """ValueError where an experiment's keys would not be those of the run, as Hydra puts them under its group."""
        paths = [folder / "experiment" / f"{experiment}.yaml" for folder in (*self._folders, CONF_DIR)]
        path = next((path for path in paths if path.is_file()), None)
        try:
            at_the_root = path is None or _AT_THE_ROOT.match(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: must be a text in UTF-8") from error
        if not at_the_root:
            raise ValueError(
                f"{path}: its first line must be '# @package _global_', or its keys are not those of the run"
            )

    def _check_group(self, override: Override) -> None:
        """ValueError where a group is given what is no name of a file of it."""
        group, value = override.key_or_group, override.value()
        if self._is_group(override) and not override.is_delete() and not isinstance(value, str | list | dict):
            known = [name for name in self._repository.get_group_options(group) if "/" not in name]
            rule = f"must be one of {', '.join(known)}" if group else "a key is needed in front of ="
            raise ValueError(f"{override.input_line}: {rule}")

    def _is_group(self, override: Override) -> bool:
        group = override.key_or_group
        known = self._repository.group_exists(group) or any((path / group).is_dir() for path in self._folders)
        return known or override.package is not None

    def _check_added(self, key: str, values: Sequence[Override], composed: Any) -> None:
        """ValueError where a key that the files do not have would be refused as an added one too.

        Where the key is there and its new value, a mapping, has a further one, it is that one.
        """
        there = None if key.startswith("hydra.") else OmegaConf.select(composed, key) if key else None
        given = next((o.value() for o in values if o.key_or_group == key), None)
        if isinstance(there, DictConfig) and isinstance(given, dict):
            further = _further(given, there)
            if further and "." not in "".join(further):  # a key with dots is one of a grid, and no path
                self._check_added(".".join([key, *further]), values, composed)
            if further:
                raise ValueError(f"{'.'.join([key, *further])}: {to_be_added(key)}")
        if key and unknown_key(key) == to_be_added(key):
            written = [str(o.input_line) for o in values]
            lines = [line if line.startswith(("+", "~")) else f"++{line}" for line in written]
            check_added(key, self.parse(lines), composed)

    def _note(self, parsed: list[Override], composed: Any) -> None:
        """What Hydra notes of its overrides."""
        of_task = [override for override in parsed if not override.is_hydra_override()]
        of_hydra = [str(override.input_line) for override in parsed if override.is_hydra_override()]
        written = composed.hydra.job.config.override_dirname
        composed.hydra.overrides.task = [str(override.input_line) for override in of_task]
        composed.hydra.overrides.hydra = [*of_hydra, *self._search_path]
        composed.hydra.job.override_dirname = get_overrides_dirname(
            of_task, kv_sep=written.kv_sep, item_sep=written.item_sep, exclude_keys=written.exclude_keys
        )


def _further(given: dict[Any, Any], there: DictConfig) -> list[str]:
    """The path to the first key of a mapping that another one does not have; [] where it has them all."""
    for key, value in given.items():
        if key not in there:
            return [str(key)]
        inner = there._get_node(key)
        if isinstance(value, dict) and isinstance(inner, DictConfig) and (deeper := _further(value, inner)):
            return [str(key), *deeper]
    return []


@contextmanager
def composer(config_dirs: Sequence[str]) -> Iterator[Composer]:
    """Hydra ready to compose, also from the user's own folders, with its errors in one line; then as it was before.

    ValueError for a folder that does not exist, and in place of what Hydra raises.
    """
    for folder in config_dirs:
        if not Path(folder).is_dir():
            raise ValueError(f"--config-dir {folder}: no such directory")
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"), warnings.catch_warnings():
            warnings.filterwarnings("error", message="provider=hydra.searchpath")
            yield Composer(config_dirs)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(one_line(error, config_dirs)) from error
    except UserWarning as warning:
        path = str(warning).partition("path=")[2].removesuffix(" is not available.")
        raise ValueError(f"hydra.searchpath={path}: no such folder or package") from warning
    finally:
        GlobalHydra.instance().hydra = before


def quoted(text: str) -> str:
    """A text as one value in the grammar of overrides, whatever characters it has.

    >>> quoted("runs/a, b"), quoted("o'brien")
    ("'runs/a, b'", "'o\\\\'brien'")
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"
