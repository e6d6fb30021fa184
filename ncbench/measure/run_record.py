"""A run folder of anybody's training, which reports and figures read as they read those of `ncbench.train`.

Its `run.json` has `recorded_by` in place of a configuration's hash: the network and its data are the user's own, so the
folder says what was measured and not how to build it again. Rules of the folder, as of every run folder: one process at
a time, nothing is lost that was finished, a resumed training drops what was recorded after its checkpoint's step.
"""

import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ncbench
from ncbench.measure.geometries import named_geometries
from ncbench.measure.measures import Measurement
from ncbench.records.folder import OccupiedError, RunFolder, read_config, write_config
from ncbench.records.proven_files import write_proven
from ncbench.records.schema import RECORDED_BY, REFERENCES, REPLICAS
from ncbench.records.whole_files import json_text, refuse_links_in
from ncbench.records.writer import RecordWriter, summarise

__all__ = ["RunRecord"]

_log = logging.getLogger(__name__)
_said: set[Path] = set()  # folders of which this process has said that an earlier step is added to them

UNKNOWN_SEED = -1
PACKAGES = {  # by the module that says whether it is in use
    "torch": "torch",
    "numpy": "numpy",
    "pytorch_lightning": "pytorch-lightning",
    "lightning": "lightning",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
}


class RunRecord:
    """Measurements of one network as a run folder: `check`, `begin`, `write` as often as there are, `close`.

    `values` become its config.yaml: plain values by group, of which `dataset.classes` and `model._target_` say whether
    a training that goes on is the one that the folder holds. `recorded_by` is the name of what writes it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], values: Mapping[str, Any], *, recorded_by: str, device: Any = None
    ) -> None:
        self.run = RunFolder(folder, "folder")
        self.values, self.recorded_by, self.device = dict(values), recorded_by, device
        self.seed: int | None = self.values.get("seed")
        self._writer: RecordWriter | None = None
        self._open, self._began, self._before = False, 0.0, 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been recorded in the folder."""
        return not self.run.info()

    def check(self, step: int, *, alone: bool = True, adding: bool = False) -> None:
        """ValueError of one line where this training may not write here; touches nothing.

        `step` is where the training begins: 0 means from the start. Refused are a folder in which a process is at work
        (asked where `alone`), a run of `ncbench.train`, a finished run that would be trained anew, and going on with a
        run of another network or number of classes. `adding`: one more measurement, at any step.
        """
        path, info = self.run.path, self.run.info()
        refuse_links_in(path)
        if alone and self.run.is_held():
            raise ValueError(f"folder={path}: another process is recording a run in it; choose another folder")
        if not info:
            return
        if info.get(RECORDED_BY) != self.recorded_by:
            holder = info.get(RECORDED_BY) or "ncbench.train"
            raise ValueError(f"folder={path}: holds a run that {holder} has recorded; choose another folder")
        if step == 0 and not adding and info.get("status") == "done":
            raise ValueError(
                f"folder={path}: holds a finished run already; choose another folder, or go on with that run from its "
                "checkpoint (trainer.fit(..., ckpt_path=...))"
            )
        if step > 0 or adding:
            recorded = read_config(path)
            for group, key in (("dataset", "classes"), ("model", "_target_")):
                was, now = (values.get(group, {}).get(key) for values in (recorded, self.values))
                if was != now:
                    raise ValueError(f"folder={path}: holds a run with {group}.{key}={was}, not {now}")

    def begin(self, step: int) -> None:
        """Take the lock, drop what is recorded after this step (0: everything), and say that the run is running."""
        previous = self.run.info()
        self._lock()
        if step == 0:
            previous = {}
        RecordWriter(self.run.path, []).keep_until(step if step else None)
        self._began, self._before = time.monotonic(), previous.get("wall_seconds") or 0.0
        anew: dict[str, Any] = {} if step else {"final": {}, "geometry": None, "wall_seconds": None}
        self._say(
            status="running", started=previous.get("started", _now()), finished=None, error=None, steps=step, **anew
        )
        write_config(self.run.path, {**read_config(self.run.path), **self.values} if step else self.values)

    def write(self, step: int, epoch: float, measurement: Measurement) -> None:
        """One measurement, beside those that are there; one of the same step is replaced."""
        if self._writer is None:
            R = max((len(x) for x in measurement.values.values()), default=1)
            known = {} if self.seed is None or R > 1 else {"seed": self.seed}
            write_proven(self.run.path, REPLICAS, json_text([{"replica": r, **known} for r in range(R)]))
            self._writer = RecordWriter(self.run.path, [known.get("seed", UNKNOWN_SEED)] * R)
            self.run.update(replicas=R)
        self._writer.write(step, epoch, measurement)
        geometry = named_geometries(measurement)
        steps = max(step, self.run.info().get("steps") or 0)
        self.run.update(steps=steps, **({"geometry": {"step": step, **geometry}} if geometry else {}))

    def add(self, step: int, epoch: float, measurement: Measurement) -> None:
        """One measurement of a network that is trained elsewhere: the folder is whole, and `done`, before and after."""
        started, last = self.run.info().get("started", _now()), self.run.info().get("steps") or 0
        if step < last and self.run.path not in _said:
            _said.add(self.run.path)
            _log.warning(
                "folder=%s: has measurements up to step %d, and one of step %d is added; those that are later stay. If "
                "they are of another training, delete the folder and measure anew",
                *(self.run.path, last, step),
            )
        self._lock()
        try:
            self._say(status="done", started=started, finished=None, error=None)
            write_config(self.run.path, self.values)
            self.write(step, epoch, measurement)
            self._flush()
            self.run.update(finished=_now(), final=summarise(self.run.path))
        finally:
            self._unlock()

    def close(self, status: str, error: str | None = None) -> None:
        """Write how the run ended: `done`, `interrupted` or `failed`. Nothing happens where it has been closed."""
        if not self._open:
            return
        try:
            self._flush()
            wall = self._before + time.monotonic() - self._began
            final = summarise(self.run.path)
            self.run.update(status=status, error=error, finished=_now(), wall_seconds=wall, final=final)
        finally:
            self._unlock()

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _lock(self) -> None:
        try:
            self.run.__enter__()
        except OccupiedError:
            raise ValueError(
                f"folder={self.run.path}: another process is recording a run in it; choose another folder"
            ) from None
        self._open = True

    def _unlock(self) -> None:
        self._open = False
        self.run.__exit__()

    def _say(self, **changing: Any) -> None:
        """run.json with what does not change during a training; no theory lines are known of it."""
        command = shlex.join(["python", *sys.argv]) if sys.argv[0].endswith(".py") else None
        self.run.update(
            name=self.values.get("name"),
            recorded_by=self.recorded_by,
            command=command,
            seed=self.seed,
            versions=_versions(),
            device=self.device,
            **changing,
        )
        if not (self.run.path / REFERENCES).exists():
            write_proven(self.run.path, REFERENCES, json_text([]))


def _versions() -> dict[str, str]:
    versions = {"ncbench": ncbench.__version__, "python": platform.python_version()}
    for module, package in PACKAGES.items():
        if module in sys.modules:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:  # a module of that name that is none of theirs
                continue
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
