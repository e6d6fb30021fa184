"""The runs of a committed record (`ncbench.report.pages.record`) and their configurations, of which it keeps only one.

The others are made of the command that each run's run.json carries, composed today or as values in the kept one, and
taken only where the hash of the configuration is the recorded one: what trains is what was recorded, or nothing is.
"""

import copy
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser

from ncbench.config.identity import differences
from ncbench.config.root import CLAIMED
from ncbench.config.trusted import read_recorded
from ncbench.config.validate import validate_recorded
from ncbench.records.load import load_measures, load_references, load_spectra
from ncbench.records.proven_files import check_small_files
from ncbench.records.run_hash import config_hash, schema_1_hash
from ncbench.records.run_info import read_run_info
from ncbench.records.runs import find_runs
from ncbench.records.schema import CONFIG, RUN_INFO
from ncbench.records.settings import find_settings, with_setting
from ncbench.records.small_files import read_yaml
from ncbench.report.settings import SUMMARY, quartiles
from ncbench.run.current_folder import installed_modules_only
from ncbench.sweep.again import overrides_of
from ncbench.sweep.compare import relative_difference
from ncbench.sweep.data_folder import is_about_folders, with_data, without_hidden_folders

__all__ = ["SUMMARY_TABLE", "CommittedRun", "compare_summary", "runs_of_record"]

SUMMARY_TABLE = "summary.csv"


@dataclass(frozen=True)
class CommittedRun:
    """One run of a record: its name there, what its run.json says, its configuration, and the record's folder."""

    name: str
    info: dict[str, Any]
    values: dict[str, Any]
    overrides: list[str]
    config_hash: str
    record: Path


def runs_of_record(
    folder: Path, trust: Sequence[str] = (), data: Path | None = None
) -> tuple[list[CommittedRun], list[str]]:
    """The runs of a record, or the one run of it that is asked for, and for each that cannot be made again, why.

    A run folder stands for itself where it is in no record. `data` is where the data set lies, and `trust` what the
    configurations may name beside the known classes (`ncbench.config.trusted`). ValueError of one line where the folder
    is neither, where none of its runs can be made again, and where a configuration names what is not trusted.
    """
    record = next((path for path in (folder, *folder.resolve().parents[:3]) if (path / SUMMARY_TABLE).is_file()), None)
    if record is None and (folder / RUN_INFO).is_file() and (folder / CONFIG).is_file():
        return [_whole_run(folder, trust, data)], []
    if record is None or not (record / CONFIG).is_file():
        raise ValueError(f"{folder}: is no record (no {SUMMARY_TABLE} and {CONFIG} in it)")
    kept = with_data(read_yaml(record / CONFIG), data, record.name)
    read_recorded(kept, trust)
    composed = _Composed(kept, trust)
    found: list[CommittedRun] = []
    refused: list[str] = []
    for path in find_runs(folder):
        info = read_run_info(path)
        runs = record.resolve() / "runs"
        name = path.resolve().relative_to(runs).as_posix() if path.resolve().is_relative_to(runs) else record.name
        if (made := composed.find(info)) is None:
            what = f"{info['config_hash'][:10]}, recorded by `{info.get('command')}`"
            refused.append(f"{name}: no configuration has its hash today ({what})")
        else:
            values, overrides, present = made
            found.append(CommittedRun(name, info, with_data(values, data, name), overrides, present, record=record))
    if not found:
        raise ValueError(f"{folder}: {refused[0]}")
    return found, refused


def _whole_run(folder: Path, trust: Sequence[str], data: Path | None) -> CommittedRun:
    """A run folder with its own configuration; ValueError where it is not done or has no digests to compare."""
    check_small_files(folder)
    info, values = read_run_info(folder), with_data(read_yaml(folder / CONFIG), data, folder.resolve().name)
    recorded = read_recorded(values, trust)
    if info.get("status") != "done":
        raise ValueError(f"{folder}: its status is {info.get('status')}; only a run that is done is repeated")
    if not info.get("digests"):
        raise ValueError(
            f"{folder}: has no digests of the weights; `python -m ncbench.sweep rerun` compares the values of a run"
        )
    present = config_hash(differences(recorded))
    return CommittedRun(folder.resolve().name, info, values, overrides_of(folder), present, record=folder)


class _Composed:
    """The configurations of a record, by the hashes that name them: the one it keeps, and those of its commands."""

    def __init__(self, kept: dict[str, Any], trust: Sequence[str]) -> None:
        self._trust = trust
        self._known: dict[str, tuple[dict[str, Any], list[str], str]] = {}
        self._commands: set[str] = set()
        self._kept = kept
        self._add(kept, [])

    def find(self, info: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], str] | None:
        """Values, overrides and present hash of the run's configuration, None where it cannot be made."""
        command = str(info.get("command") or "")
        if command not in self._commands:
            self._commands.add(command)
            self._compose(command)
        return self._known.get(str(info["config_hash"]))

    def _add(self, values: Mapping[str, Any], overrides: list[str]) -> None:
        values = without_hidden_folders(values)
        present = config_hash(differences(validate_recorded(values)))
        # What a run claims may have been written into its configuration later.
        computed = {key: value for key, value in values.items() if key not in CLAIMED}
        for name in (present, schema_1_hash(computed)):
            before = self._known.get(name)  # the kept configuration stays, and learns what it was made of
            self._known[name] = (dict(before[0] if before else values), overrides, present)

    def _compose(self, command: str) -> None:
        from ncbench.run.compose import compose_command

        _, found, text = command.partition("ncbench.train ")
        words = [word for word in shlex.split(text) if not is_about_folders(word)]
        if not found or any("${" in word for word in words):  # what it would read of this machine, we do not want
            return
        if not self._trust and any("_target_" in word for word in words):  # a refusal of its arguments would import it
            return
        try:
            with installed_modules_only(not self._trust):
                jobs = compose_command([w for w in words if not w.startswith("-")], multirun="--multirun" in words).jobs
        except ValueError:  # the experiment is no longer what it was
            return
        for job in jobs:
            axes = [override for override in job.overrides if not override.lstrip("+").startswith("hydra")]
            self._add(job.values, axes)
            # Where the experiment has changed since: what the record keeps, with the values of this job.
            with suppress(ValueError):
                self._add(_with_values(self._kept, axes), axes)


def _with_values(kept: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the configuration with the values that overrides give to keys of its groups (`model.depth=3`)."""
    values = copy.deepcopy(dict(kept))
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        value = OverridesParser.create().parse_override(f"value={text}").value()
        group, _, last = key.partition(".")
        if isinstance(values.get(group), dict) and last in values[group]:
            values[group][last] = value
        elif key in values and not last:
            values[key] = value
    return values


def compare_summary(run: CommittedRun, folder: Path) -> tuple[int, str, int, float]:
    """The recorded values of the run in summary.csv beside those of the run in `folder`, as the six digits written.

    Returns how many values there are, the first difference in the order of steps ("" where there is none), how many
    differ, and their largest relative difference.
    """
    recorded = pd.read_csv(run.record / SUMMARY_TABLE, dtype=str, keep_default_na=False)
    recorded = recorded[recorded["run"] == run.name].map(_written)
    again = _summary_of(folder, recorded).map(_written)
    keys = [name for name in recorded.columns if name in again.columns and name not in (*SUMMARY, "run")]
    # Theory lines of several settings of a run stand in order, without the setting.
    recorded, again = (table.assign(occurrence=table.groupby(keys).cumcount()) for table in (recorded, again))
    both = recorded.merge(again, on=[*keys, "occurrence"], how="left", suffixes=("", " again"), indicator="of")
    both["order"] = pd.to_numeric(both["step"]) if "step" in both else 0
    values, differing, largest, first = 0, 0, 0.0, ""
    for row in both.sort_values("order", kind="stable").to_dict("records"):
        for name in [name for name in SUMMARY if row[name] != ""]:
            values += 1
            now = row[f"{name} again"] if row["of"] == "both" else "nothing"
            if now != row[name]:
                differing += 1
                largest = max(largest, _relative(row[name], now))
                first = first or f"{_where(row, keys)}: {name} {row[name]} before, {now} this time"
    return values, first, differing, largest


def _relative(before: str, now: str) -> float:
    try:
        return relative_difference(float(before), float(now))
    except ValueError:
        return math.inf


def _summary_of(folder: Path, recorded: pd.DataFrame) -> pd.DataFrame:
    """The same rows of a run's records: quartiles and extremes over the replicas of each setting."""
    settings = find_settings(folder)
    lines = load_references(folder)
    lines = lines[lines["value"].notna()]
    theory = pd.DataFrame({"measure": [f"line:{name}" for name in lines["name"]], "median": lines["value"]})
    steps = sorted({int(step) for step in recorded["step"] if step})
    frame = with_setting(load_measures(folder, sorted(set(recorded["measure"])), steps=steps), settings)
    series = ["setting", "split", "layer", "stage", "measure", "step"]
    if "source_layer" in recorded:
        series.insert(-1, "source_layer")
    tables = [theory.drop_duplicates(), quartiles(frame, series)]
    if "index" in recorded:
        indices = [int(index) - 1 for index in set(recorded["index"]) if index]
        spectra = with_setting(load_spectra(folder, steps=steps, indices=indices), settings)
        values = quartiles(spectra, ["setting", "layer", "stage", "index", "step"], column="singular_value")
        tables.append(values.assign(measure="singular_value", index=values["index"].astype(int) + 1))
    table = pd.concat([part.astype(object) for part in tables if len(part)], ignore_index=True)
    for name in dict.fromkeys(name for setting in settings for name in setting.values):
        of_settings = [settings[int(code)].values.get(name) if code == code else None for code in table["setting"]]
        table[name] = pd.Series(of_settings, dtype=object)
    return table.drop(columns="setting")


def _written(value: Any) -> str:
    """A value as summary.csv has it: numbers in six digits, nothing for what is missing."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool | np.bool_):
        return str(value)
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return str(value)


def _where(row: Mapping[Any, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {row[key]}" for key in keys if row[key] != "")
