"""Final values over the networks of each setting: the table of a report, theory lines beside them, where they ended."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from ncbench.records.layers import WHOLE_NETWORK, rows_of_split
from ncbench.records.load import load_final, load_references
from ncbench.records.runs import Dir
from ncbench.records.settings import Setting, find_settings, with_setting

SUMMARY = ["median", "q25", "q75", "min", "max", "replicas"]
Values = np.ndarray[Any, np.dtype[Any]]
MEANS = ["mean", "mean_low", "mean_high"]


def quartiles(frame: pd.DataFrame, by: Iterable[str], column: str = "value") -> pd.DataFrame:
    """Median, quartiles, extremes and number of values of `column` in every group, leaving out NaN."""
    by = list(by)
    if frame.empty:
        return pd.DataFrame(columns=[*by, *SUMMARY])
    groups = frame.groupby(by, observed=True)[column]
    table = _quantiles(groups, infinite=bool(frame[column].isin([math.inf, -math.inf]).any()))
    table.columns = pd.Index(["median", "q25", "q75"])
    table = table.assign(min=groups.min(), max=groups.max(), replicas=groups.count())
    return table.reset_index()


def _quantiles(groups: Any, infinite: bool) -> pd.DataFrame:
    """Median and quartiles; between two values of which one is infinite, or both alike, that one, and no NaN."""
    at = np.array([0.5, 0.25, 0.75])
    table: pd.DataFrame = groups.quantile(at).unstack()
    if infinite:
        low, high = (groups.quantile(at, interpolation=side).unstack() for side in ("lower", "higher"))
        nearest = low.where((low == high) | np.isneginf(low), high)
        table = table.where(table.notna(), nearest)
    return table


def interval_reach(deviations: Values, sizes: Values) -> Values:
    """How far the 95 % interval of a mean reaches on either side (Student, Biometrika 6, 1908).

        t_{0.975, n - 1} s / sqrt(n)

    `deviations` are the sample's standard deviations s (over n - 1), `sizes` its n, one per sample. NaN for n < 2.

    >>> interval_reach(np.array([1.0]), np.array([3])).round(4).tolist()  # 4.3027 / sqrt(3)
    [2.4841]
    """
    several = np.where(sizes > 1, sizes, 2)
    return np.where(sizes > 1, t.ppf(0.975, several - 1) * deviations / np.sqrt(several), math.nan)


def with_means(table: pd.DataFrame, frame: pd.DataFrame, by: Iterable[str], column: str = "value") -> pd.DataFrame:
    """The table of `quartiles`, with the mean of every group and its interval of 95 % (`interval_reach`)."""
    by = list(by)
    if frame.empty:
        return table.assign(**dict.fromkeys(MEANS, math.nan))
    groups = frame.groupby(by, observed=True)[column]
    reach = interval_reach(groups.std().to_numpy(dtype=float), groups.count().to_numpy(dtype=int))
    found = pd.DataFrame({"mean": groups.mean()})
    found = found.assign(mean_low=found["mean"] - reach, mean_high=found["mean"] + reach)
    return table.merge(found.reset_index(), on=by, how="left")


def final_table(dir: Dir) -> pd.DataFrame:
    """Final values over the networks of each setting, in long form: the content of `table.csv`.

    Columns: run, every swept value, split, layer, stage, measure, step, median, q25, q75, min, max, replicas, mean,
    mean_low, mean_high. Behind the measure stands the source layer, where some layer has a value for each of several.
    `run` names the folders, `step` is the last one that is recorded, of networks that ended at several the largest;
    `replicas` counts the networks with a value; q25 and q75 are the quartiles, mean_low and mean_high the
    95 % interval of the mean after Student, empty for one network.
    """
    settings = find_settings(dir)
    frame = with_setting(load_final(dir), settings)
    series = ["setting", "split", "layer", "stage", "measure"]
    if (frame.groupby(series, observed=True)["source_layer"].nunique() > 1).any():
        series.append("source_layer")
    steps = frame.groupby(series, observed=True)["step"].max().reset_index()
    table = with_means(quartiles(frame, series), frame, series).sort_values(series, kind="stable")
    table.insert(len(series), "step", table[series].merge(steps, how="left")["step"].to_numpy())
    return with_values(table, settings).reset_index(drop=True)


def with_values(table: pd.DataFrame, settings: list[Setting]) -> pd.DataFrame:
    """The table with the folders and the swept values of each setting in front, in place of the setting's number."""
    names = dict.fromkeys(name for setting in settings for name in setting.values if name != "run")
    columns: dict[str, list[Any]] = {"run": ["; ".join(setting.runs) for setting in settings]}
    columns |= {name: [setting.values.get(name) for setting in settings] for name in names}
    for place, (name, column) in enumerate(columns.items()):
        table.insert(place, name, [column[code] for code in table["setting"]])
    return table.drop(columns="setting")


def best_networks(dir: Dir) -> dict[int, int]:
    """By the code of each setting that has recorded a loss: the number of the network with the lowest final one."""
    settings = find_settings(dir)
    frame = load_final(dir)
    frame = with_setting(frame[(frame["measure"] == "loss") & frame["split"].isin(rows_of_split())], settings)
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    rows: pd.Series[int] = frame.groupby("setting")["value"].idxmin()
    return {int(str(code)): int(frame["network"].loc[row]) for code, row in rows.items()}


def references_of(references: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Theory lines that have a value (or values) and hold for networks of this setting, from the first of its runs."""
    known = references["value"].notna() | references["values"].notna()
    rows = references[known & references["run"].isin(setting.runs)]
    of_run = rows[rows["run"] == rows["run"].iloc[0]] if len(rows) else rows
    members = {network.replica for network in setting.networks if len(rows) and network.run == rows["run"].iloc[0]}
    return of_run[np.array([who is None or bool(set(who) & members) for who in of_run["replicas"]], dtype=bool)]


def load_setting_references(dir: Dir, settings: list[Setting]) -> list[dict[str, float]]:
    """For each setting the theory lines of the loss: their values by name."""
    references = load_references(dir)
    lines = references[references["measure"] == "loss"]
    return [
        {str(name): float(value) for name, value in zip(rows["name"], rows["value"], strict=True)}
        for rows in (references_of(lines, setting) for setting in settings)
    ]


def end_points(dir: Dir) -> pd.DataFrame:
    """Where every network with a loss ended: run, replica, setting, network, step, loss, gradient.

    The loss is the last recorded one of the training data, at `step`; the gradient is the largest entry of |gradient|
    at the end (`grad_max`), NaN where it is not recorded.
    """
    frame = load_final(dir)  # unfiltered, as by every figure, so that a report reads it once
    frame = frame[frame["measure"].isin(["loss", "grad_max"]) & (frame["layer"] == WHOLE_NETWORK)]
    frame = with_setting(frame[frame["split"].isin(rows_of_split())], find_settings(dir)).astype({"run": str})
    keys = ["run", "replica", "setting", "network"]
    losses = frame[frame["measure"] == "loss"][[*keys, "step", "value"]].rename(columns={"value": "loss"})
    gradients = frame[frame["measure"] == "grad_max"][[*keys, "value"]].rename(columns={"value": "gradient"})
    return losses.merge(gradients, on=keys, how="left")


def loss_over_dnc(dir: Dir) -> pd.DataFrame:
    """Final loss over DNC loss, where there is a DNC line: run, replica, setting, network, value."""
    lines = load_setting_references(dir, find_settings(dir))
    dnc = pd.Series({code: values["dnc"] for code, values in enumerate(lines) if "dnc" in values}, dtype=float)
    frame = end_points(dir)
    frame = frame[frame["setting"].isin(dnc.index)]
    return frame[["run", "replica", "setting", "network"]].assign(value=frame["loss"] / frame["setting"].map(dnc))
