"""The state of a run folder, decided before anything in it is touched.

    planned -> running -> done | failed | interrupted

`run.json` is replaced atomically. The lock is an advisory lock of the operating system on `.lock`: a killed process
loses it at once, so `running` without a live lock means interrupted.
"""

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any

from ncbench.records.schema import LOCK, RUN_INFO, SCHEMA_VERSION

__all__ = ["RunFolder", "RunState", "write_json", "write_text"]


class RunState(Enum):
    """What a command finds in a run folder."""

    NEW = "new"
    DONE = "done"
    RESUMABLE = "resumable"


class RunFolder:
    """A run's folder: its `run.json` and its lock."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None

    def info(self) -> dict[str, Any]:
        """`run.json` as written last, or {} where there is none."""
        try:
            info: dict[str, Any] = json.loads((self.path / RUN_INFO).read_text())
        except FileNotFoundError:
            return {}
        return info

    def state(self, config_hash: str) -> RunState:
        """What may be done here with a configuration of this hash.

        Raises ValueError, naming the folder, where another process is running in it or where it holds a run of
        another configuration.
        """
        if self._lock is None and self._held_elsewhere():
            holder = (self.path / LOCK).read_text().strip() or "another process"
            raise ValueError(f"hydra.run.dir={self.path}: a run is going on in this folder ({holder})")
        info = self.info()
        if not info:
            return RunState.NEW
        if info["config_hash"] != config_hash:
            raise ValueError(
                f"hydra.run.dir={self.path}: holds a run of another configuration "
                f"({info['config_hash'][:10]}, not {config_hash[:10]}); choose another folder"
            )
        return RunState.DONE if info["status"] == "done" else RunState.RESUMABLE

    def update(self, **values: Any) -> None:
        """Merge values into `run.json`, atomically."""
        merged = {"schema_version": SCHEMA_VERSION, **self.info(), **values}
        write_json(self.path / RUN_INFO, merged)

    def __enter__(self) -> "RunFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        handle = open(self.path / LOCK, "a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise ValueError(f"hydra.run.dir={self.path}: a run is going on in this folder") from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        self._lock = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _held_elsewhere(self) -> bool:
        try:
            with open(self.path / LOCK) as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write JSON so that a kill leaves the old file or the new one, never a part."""
    write_text(path, json.dumps(value, indent=1, default=str))


def write_text(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)
