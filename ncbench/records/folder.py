"""The state of a run folder, decided before anything in it is touched, and the lock that admits one process.

`RunFolder.state` says whether the folder holds the run of a configuration's hash; `with RunFolder(...)` takes the lock.

    planned -> running -> done | failed | interrupted

`run.json` is replaced atomically. The lock is an advisory lock of the operating system on `.lock`: a killed process
loses it at once, so `running` without a live lock means interrupted. `.holder` says who has it, or had it last.
"""

import os
import socket
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from filelock import BaseFileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncbench.records.lock import SOFT_LOCK, take_lock
from ncbench.records.run_hash import schema_1_hash
from ncbench.records.schema import CONFIG, HOLDER, LOCK, RUN_INFO, SCHEMA_VERSION
from ncbench.records.small_files import MOST_YAML, BadRecordsError, read_json, read_text, yaml_text
from ncbench.records.whole_files import write_json, write_text

__all__ = ["OccupiedError", "RunFolder", "RunState", "read_config", "write_config"]


class OccupiedError(ValueError):
    """Another process is running in the folder."""


class RunState(Enum):
    """What a command finds in a run folder."""

    NEW = "new"
    DONE = "done"
    RESUMABLE = "resumable"


class RunFolder:
    """A run's folder: its `run.json` and its lock."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock: BaseFileLock | None = None

    def info(self) -> dict[str, Any]:
        """`run.json` as written last, or {} where there is none; ValueError, naming it, where it cannot be read."""
        try:
            info: Any = read_json(self.path / RUN_INFO)
        except FileNotFoundError:
            return {}
        if not isinstance(info, dict):
            raise ValueError(f"{self.path / RUN_INFO}: must hold one JSON object")
        return info

    def state(self, config_hash: str, rehash: Callable[[Mapping[str, Any]], str] | None = None) -> RunState:
        """What may be done here with a configuration of this hash.

        A run.json of schema 1 carries another kind of hash: `rehash` gives the present one of the values in its
        config.yaml. Raises ValueError, naming the folder, where another process is running in it or where it holds a
        run of another configuration.
        """
        if self._lock is None and self.is_held():
            raise OccupiedError(self._occupied())
        info = self.info()
        if not info:
            return RunState.NEW
        recorded: str = info["config_hash"]
        if recorded != config_hash and info.get("schema_version") == 1 and rehash is not None:
            recorded = self._hash_of_schema_1(recorded, rehash)
        if recorded != config_hash:
            raise ValueError(
                f"hydra.run.dir={self.path}: holds a run of another configuration "
                f"({recorded[:10]}, not {config_hash[:10]}); choose another folder"
            )
        return RunState.DONE if info["status"] == "done" else RunState.RESUMABLE

    def update(self, **values: Any) -> None:
        """Merge values into `run.json`, atomically."""
        merged = {"schema_version": SCHEMA_VERSION, **self.info(), **values}
        write_json(self.path / RUN_INFO, merged)

    def __enter__(self) -> "RunFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = take_lock(self.path)
        except Timeout as error:
            raise OccupiedError(self._occupied()) from error
        write_text(self.path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        self._lock.release()
        self._lock = None

    def is_held(self) -> bool:
        """Whether another process is running in the folder."""
        if not any((self.path / name).is_file() for name in (LOCK, SOFT_LOCK)):
            return False
        try:
            take_lock(self.path, quietly=True).release()
        except Timeout:
            return True
        return False

    def _occupied(self) -> str:
        try:
            holder = (self.path / HOLDER).read_text().strip()
        except FileNotFoundError:
            holder = "another process"
        return f"hydra.run.dir={self.path}: a run is going on in this folder ({holder})"

    def _hash_of_schema_1(self, recorded: str, rehash: Callable[[Mapping[str, Any]], str]) -> str:
        """The present hash of a run that was recorded with schema 1, from its config.yaml."""
        where = f"hydra.run.dir={self.path}: holds a run of an earlier version"
        values = read_config(self.path)
        if schema_1_hash(values) != recorded:
            raise ValueError(f"{where}, and its config.yaml is not that run's ({recorded[:10]}); choose another folder")
        try:
            return rehash(values)
        except ValueError as error:
            raise ValueError(
                f"{where}, whose configuration is no longer valid ({error}); choose another folder"
            ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The plain values of a run folder's config.yaml, or {} where there is none.

    An interpolation stays the text that it is: what would be put in its place is of this machine. Raises
    BadRecordsError, a ValueError, where the file holds something else.
    """
    if not (folder / CONFIG).is_file():
        return {}
    text = yaml_text(read_text(folder / CONFIG, MOST_YAML), folder / CONFIG)
    try:
        values = OmegaConf.to_container(OmegaConf.create(text))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())[:300]
        raise BadRecordsError(f"{folder / CONFIG} is no configuration ({why})") from None
    if not isinstance(values, dict):
        raise BadRecordsError(f"{folder / CONFIG} must hold a mapping of keys")
    return {str(key): value for key, value in values.items()}


def write_config(folder: Path, values: Mapping[str, Any]) -> None:
    """Replace the folder's config.yaml, atomically."""
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(values))))
