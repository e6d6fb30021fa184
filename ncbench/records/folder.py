"""The state of a run folder, decided before anything in it is touched, and the lock that admits one process.

`RunFolder.state` says whether the folder holds the run of a configuration's hash; `with RunFolder(...)` takes the lock.

    planned -> running -> done | failed | interrupted

`run.json` is replaced atomically. The lock is an advisory lock of the operating system on `.lock`: a killed process
loses it at once, so `running` without a live lock means interrupted. `.holder` says who has it, or had it last. Where
the lock cannot be had nothing is written.
"""

import os
import socket
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from filelock import Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncbench._cli import DISK_FULL
from ncbench.records.lock import FolderLock, is_locked
from ncbench.records.proven_files import check_small_file, write_proven
from ncbench.records.run_hash import schema_1_hash
from ncbench.records.run_info import read_run_info
from ncbench.records.schema import CHECKPOINTS, CONFIG, HOLDER, HYDRA, RUN_INFO, SCHEMA_VERSION, TABLES
from ncbench.records.small_files import MOST_YAML, BadRecordsError, read_text, yaml_text
from ncbench.records.whole_files import write_json, write_text

__all__ = ["OccupiedError", "RunFolder", "RunState", "read_config", "write_config"]


_LONGEST_HOLDER = 4096  # bytes


class OccupiedError(ValueError):
    """Another process is running in the folder."""


class RunState(Enum):
    """What a command finds in a run folder."""

    NEW = "new"
    DONE = "done"
    RESUMABLE = "resumable"


class RunFolder:
    """A run's folder: its `run.json` and its lock. `argument` is what messages call it by."""

    def __init__(self, path: str | os.PathLike[str], argument: str = "hydra.run.dir") -> None:
        self.path, self._named = Path(path), f"{argument}={path}"
        self._lock: FolderLock | None = None

    def info(self) -> dict[str, Any]:
        """`run.json` as written last, or {} where there is none; ValueError, naming it, where it cannot be read."""
        try:
            return read_run_info(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ValueError(f"{self._named}: cannot be read ({error.strerror or error})") from error

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
            self._refuse_what_is_of_no_run()
            return RunState.NEW
        recorded, status = info.get("config_hash"), info.get("status")
        if recorded is None or status is None:
            lacks = "config_hash" if recorded is None else "status"
            raise ValueError(f"{self.path / RUN_INFO}: has no {lacks}, so it is of no run of ncbench.train")
        if recorded != config_hash and info.get("schema_version") == 1 and rehash is not None:
            recorded = self._hash_of_schema_1(recorded, rehash)
        if recorded != config_hash:
            raise ValueError(
                f"{self._named}: holds a run of another configuration "
                f"({recorded[:10]}, not {config_hash[:10]}); choose another folder"
            )
        return RunState.DONE if status == "done" else RunState.RESUMABLE

    def update(self, **values: Any) -> None:
        """Merge values into `run.json`, atomically; LostFolderError where the folder is no more this process's own."""
        self.check_owner()
        merged = {"schema_version": SCHEMA_VERSION, **self.info(), **values}
        write_json(self.path / RUN_INFO, merged)

    def __enter__(self) -> "RunFolder":
        try:
            self._lock = FolderLock(self.path)
            for left in (*self.path.glob(".*.tmp"), *self.path.glob(f"{HYDRA}/.*.tmp")):  # by an owner that was killed
                left.unlink()
            write_text(self.path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")
        except Timeout as error:
            raise OccupiedError(self._occupied()) from error
        except BaseException as error:
            self.__exit__()
            if not isinstance(error, OSError) or error.errno in DISK_FULL:
                raise
            why = error.strerror or error
            inside = error.filename is not None and Path(str(error.filename)).parent == self.path
            at = f"{Path(str(error.filename)).name}: " if inside else ""
            raise ValueError(f"{self._named}: is no folder that can be written to ({at}{why})") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def check_owner(self) -> None:
        """LostFolderError where the folder that this process has locked is not what stands there by now."""
        if self._lock is not None:
            self._lock.check()

    def is_owned(self) -> bool:
        """Whether it is this object that has the lock."""
        return self._lock is not None

    def is_held(self) -> bool:
        """Whether another process is running in the folder."""
        return is_locked(self.path)

    def _refuse_what_is_of_no_run(self) -> None:
        """ValueError where records or checkpoints lie in the folder and nothing says of which run they are."""
        patterns = (f"{CHECKPOINTS}/*.ckpt", *(f"{table}/part-*.parquet" for table in TABLES))
        left = [path.relative_to(self.path) for pattern in patterns for path in sorted(self.path.glob(pattern))]
        if left:
            raise ValueError(
                f"{self.path / RUN_INFO}: is missing, so nothing says of which configuration {left[0]} is; "
                "put a copy of it back, or choose another folder"
            )

    def _occupied(self) -> str:
        try:
            holder = read_text(self.path / HOLDER, _LONGEST_HOLDER).strip()
        except (OSError, BadRecordsError):
            holder = "another process"
        return f"{self._named}: a run is going on in this folder ({holder})"

    def _hash_of_schema_1(self, recorded: str, rehash: Callable[[Mapping[str, Any]], str]) -> str:
        """The present hash of a run that was recorded with schema 1, from its config.yaml."""
        where = f"{self._named}: holds a run of an earlier version"
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
    BadRecordsError, a ValueError, where the file holds something else or is not as it was written.
    """
    check_small_file(folder, CONFIG)
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
    write_proven(folder, CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(values))))
