"""Finds run folders and reads the small JSON and YAML files in them.

A run is a folder with `run.json`; a directory may hold many, at any depth. Every table names a run by its
path relative to the directory asked for, or by the folder's own name when that directory is the run itself.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.errors import BadRecordsError as BadRecordsError
from ncbench.records.errors import CrowdedError as CrowdedError
from ncbench.records.errors import NoRecordsError as NoRecordsError
from ncbench.records.errors import UndefinedError as UndefinedError
from ncbench.records.layers import natural_key
from ncbench.records.lock import is_locked
from ncbench.records.proven_files import check_small_file
from ncbench.records.run_info import MOST_REPLICAS, frozen_from, is_number, is_whole, read_run_info
from ncbench.records.schema import REFERENCES, REPLICAS, RUN, RUN_INFO
from ncbench.records.small_files import read_json

Dir = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def as_paths(dir: Dir) -> list[Path]:
    """The directories meant by an argument `dir`: one path, or several."""
    return [Path(dir)] if isinstance(dir, str | os.PathLike) else [Path(path) for path in dir]


def find_runs(dir: Dir) -> list[Path]:
    """Run folders in `dir` (or in several directories), itself included, in natural order of paths.

    Folders inside a run and folders whose name starts with a dot are not searched. Links to folders are followed, each
    folder once, so that a directory may gather runs that lie elsewhere.

    Raises FileNotFoundError for a directory that does not exist, and BadRecordsError, a ValueError, for one that holds
    no run.
    """
    folders: dict[Path, None] = {}
    for base in as_paths(dir):
        if not base.is_dir():
            raise FileNotFoundError(f"dir={str(base)!r} does not exist or is no directory")
        runs = _runs_below(base)
        if not runs:
            raise BadRecordsError(f"dir={str(base)!r} holds no run; a run is a folder with {RUN_INFO} in it")
        folders.update(dict.fromkeys(runs))
    if not folders:
        raise BadRecordsError("dir=[] names no directory; at least one is needed")
    return list(folders)


def _runs_below(base: Path) -> list[Path]:
    runs: list[Path] = []
    searched: set[str] = set()
    for folder, subfolders, files in os.walk(base, followlinks=True):
        if (real := os.path.realpath(folder)) in searched:  # a link to a folder above it, or to one beside it
            subfolders.clear()
            continue
        searched.add(real)
        if RUN_INFO in files:
            runs.append(Path(folder))
            subfolders.clear()
        else:
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
    return sorted(runs, key=lambda run: natural_key(run.relative_to(base).as_posix()))


def named_runs(dir: Dir) -> dict[str, Path]:
    """Run folders by the name they have in the column `run` of every table."""
    unique = {run.resolve(): run for run in reversed(find_runs(dir))}
    root = common_root(dir)
    names = {_name_below(root, run, dir): run for run in unique.values()}
    return dict(reversed(names.items()))


def _name_below(root: Path, run: Path, dir: Dir) -> str:
    """The path of a run below the root as it was found, whatever a link on the way leads to."""
    base = next(base for base in as_paths(dir) if run.is_relative_to(base))
    path = base.resolve() / run.relative_to(base)
    return path.name if path == root else path.relative_to(root).as_posix()


def common_root(dir: Dir) -> Path:
    """The directory itself, or the closest common parent of several."""
    return Path(os.path.commonpath([path.resolve() for path in as_paths(dir)]))


def load_run_info(dir: Dir) -> dict[str, dict[str, Any]]:
    """What `run.json` says (status, command, versions, cost, final values) for every run, by its name.

    A run that says `running` and has no live process is `interrupted`: it was killed. Raises BadRecordsError, a
    ValueError, where it is no JSON object or an entry is of another type.
    """
    info = {}
    for name, run in named_runs(dir).items():
        info[name] = read_run_info(run)
        if info[name].get("status") == "running" and not is_locked(run):
            info[name] = {**info[name], "status": "interrupted"}
    return info


def without_diverged(frame: pd.DataFrame, infos: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """Recorded values that are NaN from the step on at which a replica diverged: it was frozen at its last ones."""
    lost = {(run, i): step for run, info in infos.items() for i, step in frozen_from(info, "diverged").items()}
    if not lost:
        return frame
    from_step = [lost.get(key, math.inf) for key in zip(frame["run"].astype(str), frame["replica"], strict=True)]
    return frame.assign(value=frame["value"].mask(frame["step"].to_numpy() >= np.array(from_step)))


def load_replicas(dir: Dir) -> pd.DataFrame:
    """One row per replica: run, replica, seed and every replicated or swept value (weight_decay, depth, ...).

    A run without `replicas.json` contributes no row; a value that a run does not name is missing (NaN). Lists
    and mappings appear as their JSON text, so that every column can be grouped by.
    """
    records = []
    runs = named_runs(dir)
    for record in _records(runs, REPLICAS, _check_replica):
        records.append({key: _plain(value) for key, value in record.items()})
    frame = pd.DataFrame(records)
    leading = [RUN, "replica", "seed"]
    frame = frame.reindex(columns=leading + [name for name in frame.columns if name not in leading])
    frame[RUN] = pd.Categorical(frame[RUN], categories=list(runs))
    return frame


def load_references(dir: Dir) -> pd.DataFrame:
    """Theory lines, one row each: run, name, value, formula, arguments, replicas, why, measure, values, layers, stage.

    `replicas` is None where the line holds for all replicas, else the list of those it holds for; `value`
    is NaN where the theory gives none, and `why` then says the reason. `measure` is what the line is
    compared with: `loss` unless the record names another; of a measure per layer, `layers` and `stage` say where
    (None: of the whole network). A line of measure `spectra` has no value but
    `values`: predicted sigma_i / sigma_1 by stage ("head.2.pre"), as `load_spectra` records them.
    """
    runs = named_runs(dir)
    columns = [RUN, "name", "value", "formula", "arguments", "replicas", "why", "measure", "values"]
    columns += ["layers", "stage"]
    rows = [
        [record.get(column, "loss" if column == "measure" else None) for column in columns]
        for record in _records(runs, REFERENCES, _check_reference)
    ]
    frame = pd.DataFrame(rows, columns=columns).astype({"replicas": object, "why": object, "values": object})
    frame["value"] = pd.to_numeric(frame["value"]).astype(float)
    frame[RUN] = pd.Categorical(frame[RUN], categories=list(runs))
    for column in ("replicas", "why", "values", "layers", "stage"):
        frame[column] = pd.Series([_none_if_missing(value) for value in frame[column]], dtype=object)
    frame["layers"] = [[layers] if isinstance(layers, str) else layers for layers in frame["layers"]]
    return frame


def _records(runs: dict[str, Path], file: str, check: Callable[[Path, dict[str, Any]], None]) -> list[dict[str, Any]]:
    records = []
    for name, run in runs.items():
        check_small_file(run, file)
        if (run / file).is_file():
            content = read_json(run / file)
            if not (isinstance(content, list) and all(isinstance(record, dict) for record in content)):
                raise BadRecordsError(f"{run / file} must hold a list of JSON objects")
            for record in content:
                check(run / file, record)
            records += [{**record, RUN: name} for record in content]
    return records


def _check_replica(path: Path, record: dict[str, Any]) -> None:
    replica: Any = record.get("replica")
    seed = record.get("seed")
    if not is_whole(replica) or not 0 <= replica < MOST_REPLICAS:
        raise BadRecordsError(f"{path}: replica={replica!r} must be a number from 0 to {MOST_REPLICAS - 1}")
    if not (seed is None or is_whole(seed)):
        raise BadRecordsError(f"{path}: seed={seed!r} must be a whole number")


def _check_reference(path: Path, record: dict[str, Any]) -> None:
    value, replicas = record.get("value"), record.get("replicas")
    if not isinstance(record.get("name"), str):
        raise BadRecordsError(f"{path}: name={record.get('name')!r} must be the name of a theory line")
    if not (value is None or is_number(value)):
        raise BadRecordsError(f"{path}: {record['name']}: value={value!r} must be a number or null")
    if not (replicas is None or (isinstance(replicas, list) and all(is_whole(replica) for replica in replicas))):
        raise BadRecordsError(
            f"{path}: {record['name']}: replicas={replicas!r} must be null or a list of whole numbers"
        )


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def _none_if_missing(value: Any) -> Any:
    return None if isinstance(value, float) else value  # pandas has NaN where a record lacks the key
