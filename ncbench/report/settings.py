"""Groups replicas into settings: those of one run that differ in nothing but the seed.

Every median, quartile and share of the report is taken over a setting.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.cache import cached
from ncbench.records.layers import WHOLE_NETWORK, rows_of_split
from ncbench.records.load import load_final, load_references, load_replicas, load_run_info
from ncbench.records.runs import Dir

SUMMARY = ["median", "q25", "q75", "min", "max", "replicas"]
DERIVED = {"noise": "noise_ratio"}  # noise = noise_ratio sqrt(weight_decay): the ratio has said it


@dataclass(frozen=True)
class Setting:
    """Replicas of the run `run`; `values` are theirs of every quantity that varies in the directory."""

    run: str
    replicas: tuple[int, ...]
    values: dict[str, Any]
    label: str


@cached
def find_settings(dir: Dir) -> list[Setting]:
    """Settings of all runs in `dir` in the order of what varies; where nothing does, runs in order.

    What varies is read from `replicas.json`: every entry but `seed`. A run
    without that file is one setting with as many replicas as `run.json` says.
    """
    replicas = load_replicas(dir)
    varying = varying_names(replicas)
    infos = load_run_info(dir)
    settings: list[tuple[str, tuple[int, ...], dict[str, Any]]] = []
    for run, info in infos.items():
        rows = replicas[replicas["run"] == run]
        if rows.empty:
            settings.append((run, tuple(range(info.get("replicas") or 1)), {}))
        groups: dict[tuple[Any, ...], list[int]] = {}
        for replica, values in zip(rows["replica"], known_values(rows, varying), strict=True):
            groups.setdefault(tuple(values.values()), []).append(int(replica))
        settings += [(run, tuple(members), dict(zip(varying, key, strict=True))) for key, members in groups.items()]
    return _labelled(sorted(settings, key=lambda setting: [sort_key(value) for value in setting[2].values()]), infos)


def sort_key(value: Any) -> tuple[int, float, str]:
    """Order of swept values: numbers by size, then names; a missing value comes last."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return (0, float(value), "")
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def varying_names(replicas: pd.DataFrame) -> list[str]:
    """Names of the replicated or swept values that are not the same everywhere, numbers first."""
    names = [n for n in replicas.columns if n not in ("run", "replica", "seed")]
    varying = [name for name in names if replicas[name].nunique(dropna=False) > 1]
    return sorted(varying, key=lambda name: not pd.api.types.is_numeric_dtype(replicas[name]))


def _labelled(
    settings: list[tuple[str, tuple[int, ...], dict[str, Any]]], infos: dict[str, dict[str, Any]]
) -> list[Setting]:
    labels = [describe(values) for _, _, values in settings]
    for place, (run, _, _) in enumerate(settings):
        if len(infos) == 1 and not labels[place]:
            labels[place] = str(infos[run].get("name") or run)
        elif not labels[place]:
            labels[place] = run
    ambiguous = {label for label in labels if labels.count(label) > 1}
    return [
        Setting(run, members, values, f"{run}: {label}" if label in ambiguous else label)
        for (run, members, values), label in zip(settings, labels, strict=True)
    ]


def describe(values: dict[str, Any]) -> str:
    """Swept values as text, without those that follow from others.

    >>> describe({"weight_decay": 0.002, "depth": 4})
    'weight_decay=0.002, depth=4'
    """
    untold = {name for name, source in DERIVED.items() if values.get(source) is not None}
    shown = {name: value for name, value in values.items() if value is not None and name not in untold}
    return ", ".join(f"{name}={plain(value)}" for name, value in shown.items())


def known_values(table: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """These columns of each row; a missing value is None."""
    rows = table[names].itertuples(name=None)  # with the index: rows without columns are rows still
    return [dict(zip(names, map(_none_if_nan, row[1:]), strict=True)) for row in rows]


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def plain(value: Any) -> str:
    """A value as a reader writes it.

    >>> plain(4.0), plain(0.002), plain("relu")
    ('4', '0.002', 'relu')
    """
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def with_setting(frame: pd.DataFrame, settings: list[Setting]) -> pd.DataFrame:
    """The rows that belong to `settings`, with a column `setting`: the code of each, its place in that list."""
    codes = {(setting.run, replica): code for code, setting in enumerate(settings) for replica in setting.replicas}
    runs = list(frame["run"].cat.categories)
    most = 1 + max([replica for _, replica in codes] + [int(frame["replica"].max()) if len(frame) else 0])
    table = np.full((len(runs), most), -1, dtype=np.int32)
    for (run, replica), code in codes.items():
        table[runs.index(run), replica] = code
    of_rows = table[frame["run"].cat.codes.to_numpy(), frame["replica"].to_numpy()]
    belonging: pd.DataFrame = frame.assign(setting=of_rows)[of_rows >= 0]
    return belonging


def quartiles(frame: pd.DataFrame, by: Iterable[str], column: str = "value") -> pd.DataFrame:
    """Median, quartiles, extremes and number of values of `column` in every group, leaving out NaN."""
    by = list(by)
    if frame.empty:
        return pd.DataFrame(columns=[*by, *SUMMARY])
    groups = frame.groupby(by, observed=True)[column]
    table = groups.quantile(np.array([0.5, 0.25, 0.75])).unstack()
    table.columns = pd.Index(["median", "q25", "q75"])
    table = table.assign(min=groups.min(), max=groups.max(), replicas=groups.count())
    return table.reset_index()


def final_table(dir: Dir) -> pd.DataFrame:
    """Final values over the replicas of each setting, in long form: the content of `table.csv`.

    Columns: run, every swept value, split, layer, stage, measure, step, median, q25, q75, min, max, replicas. Behind
    the measure stands the source layer, where some layer has a value for each of several.
    """
    settings = find_settings(dir)
    frame = with_setting(load_final(dir), settings)
    series = ["setting", "split", "layer", "stage", "measure", "step"]
    if (frame.groupby(series[:-1], observed=True)["source_layer"].nunique() > 1).any():
        series.insert(-1, "source_layer")
    table = quartiles(frame, series).sort_values(series, kind="stable")
    table.insert(0, "run", [settings[code].run for code in table["setting"]])
    varying = list(dict.fromkeys(name for setting in settings for name in setting.values))
    for place, name in enumerate(varying):
        table.insert(1 + place, name, [settings[code].values.get(name) for code in table["setting"]])
    return table.drop(columns="setting").reset_index(drop=True)


def best_replicas(dir: Dir) -> dict[int, int]:
    """By the code of each setting that has recorded a loss: the replica with the lowest final one."""
    settings = find_settings(dir)
    frame = load_final(dir)
    frame = with_setting(frame[(frame["measure"] == "loss") & frame["split"].isin(rows_of_split())], settings)
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    rows: pd.Series[int] = frame.groupby("setting")["value"].idxmin()
    return {int(str(code)): int(frame["replica"].loc[row]) for code, row in rows.items()}


def references_of(references: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The theory lines that have a value (or values) and hold for replicas of this setting."""
    known = references["value"].notna() | references["values"].notna()
    rows = references[(references["run"] == setting.run) & known]
    holds = [who is None or bool(set(who) & set(setting.replicas)) for who in rows["replicas"]]
    return rows[np.array(holds, dtype=bool)]


def load_setting_references(dir: Dir, settings: list[Setting]) -> list[dict[str, float]]:
    """For each setting the theory lines of the loss: their values by name."""
    references = load_references(dir)
    lines = references[references["measure"] == "loss"]
    return [
        {str(name): float(value) for name, value in zip(rows["name"], rows["value"], strict=True)}
        for rows in (references_of(lines, setting) for setting in settings)
    ]


def end_points(dir: Dir) -> pd.DataFrame:
    """Where every replica with a loss ended: run, replica, setting, step, loss, gradient.

    The loss is the last recorded one of the training data, at `step`; the gradient is the largest entry of |gradient|
    at the end (`grad_max`), NaN where it is not recorded.
    """
    frame = load_final(dir)  # unfiltered, as by every figure, so that a report reads it once
    frame = frame[frame["measure"].isin(["loss", "grad_max"]) & (frame["layer"] == WHOLE_NETWORK)]
    frame = with_setting(frame[frame["split"].isin(rows_of_split())], find_settings(dir)).astype({"run": str})
    keys = ["run", "replica", "setting"]
    losses = frame[frame["measure"] == "loss"][[*keys, "step", "value"]].rename(columns={"value": "loss"})
    gradients = frame[frame["measure"] == "grad_max"][[*keys, "value"]].rename(columns={"value": "gradient"})
    return losses.merge(gradients, on=keys, how="left")


def loss_over_dnc(dir: Dir) -> pd.DataFrame:
    """Final loss over DNC loss of every replica of the runs that have a DNC line: run, replica, setting, value."""
    lines = load_setting_references(dir, find_settings(dir))
    dnc = pd.Series({code: values["dnc"] for code, values in enumerate(lines) if "dnc" in values}, dtype=float)
    frame = end_points(dir)
    frame = frame[frame["setting"].isin(dnc.index)]
    return frame[["run", "replica", "setting"]].assign(value=frame["loss"] / frame["setting"].map(dnc))
