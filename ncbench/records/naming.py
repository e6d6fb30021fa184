"""What settings are called: by the quantities that vary, never by a hash."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ncbench.records.computed import Values, telling_apart

__all__ = ["describe", "descriptions", "distinguish", "known_values", "labels_of", "plain", "sort_key", "varying_names"]

DERIVED = {"noise": "noise_ratio"}  # noise = noise_ratio sqrt(weight_decay): the ratio has said it
FOLDER = "run"  # the last resort
TARGET = "._target_"


def distinguish(
    found: Sequence[dict[str, Any]], runs: Sequence[str], configs: Mapping[str, Values | None]
) -> list[dict[str, Any]]:
    """Of these settings' values those that vary, and where they leave two settings equal, what tells these apart.

    `runs` are the settings' first runs. Keys of the configuration come first ("experiment" for `name`, "dataset" for
    the class of it), then `run`, the folder, of those that are still equal.
    """
    table = pd.DataFrame(list(found))
    names = varying_names(table) if len(found) > 1 else []
    rows = [{name: values[name] for name in names} for values in found]
    keys: dict[str, None] = {}
    for members in _equal(rows):
        known = [config for place in members if (config := configs[runs[place]]) is not None]
        keys.update(dict.fromkeys(telling_apart(known)))
    for key in keys:
        name = "experiment" if key == "name" else key.removesuffix(TARGET)
        column = [(configs[run] or {}).get(key) for run in runs]
        short = [str(value).rsplit(".", 1)[-1] for value in column] if key.endswith(TARGET) else column
        shown = short if len(set(map(str, short))) == len(set(map(str, column))) else column
        for row, value in zip(rows, shown, strict=True):
            row[name] = value
    still = _equal(rows)
    for place, row in enumerate(rows if still else []):
        row[FOLDER] = runs[place] if any(place in members for members in still) else None
    return rows


def _equal(rows: Sequence[dict[str, Any]]) -> list[list[int]]:
    """The places of rows that have the same values, where there are several."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(tuple(row.values()), []).append(place)
    return [members for members in places.values() if len(members) > 1]


def labels_of(rows: Sequence[dict[str, Any]], runs: Sequence[str], infos: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A label for each setting, no two of them equal: its values; of a single setting the experiment's name."""
    if len(rows) == 1:
        return [str(infos[runs[0]].get("name") or runs[0])]
    texts = descriptions([{name: value for name, value in row.items() if name != FOLDER} for row in rows])
    labels = [_label(row, text) for row, text in zip(rows, texts, strict=True)]
    return [f"{run}: {label}" if labels.count(label) > 1 else label for label, run in zip(labels, runs, strict=True)]


def _label(row: Mapping[str, Any], text: str) -> str:
    folder = row.get(FOLDER)
    if folder is not None:
        return f"{folder}: {text}" if text else str(folder)
    return text or f"without {', '.join(name for name in row if name != FOLDER)}"


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


def descriptions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`describe` of each; with all digits of the numbers where six leave two that differ with one text.

    >>> descriptions([{"lr": 0.1}, {"lr": 0.1000000001}])
    ['lr=0.1', 'lr=0.1000000001']
    """
    told = {tuple(_told(row).items()) for row in rows}
    texts = [describe(row) for row in rows]
    return texts if len(set(texts)) == len(told) else [describe(row, exact=True) for row in rows]


def describe(values: Mapping[str, Any], exact: bool = False) -> str:
    """Swept values as text, without those that follow from others; numbers to six digits, or `exact`.

    >>> describe({"weight_decay": 0.002, "depth": 4})
    'weight_decay=0.002, depth=4'
    """
    return ", ".join(f"{name}={value if exact else plain(value)}" for name, value in _told(values).items())


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    untold = {name for name, source in DERIVED.items() if values.get(source) is not None}
    return {name: value for name, value in values.items() if value is not None and name not in untold}


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
