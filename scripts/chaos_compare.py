"""What differs between two finished runs of one configuration: nothing may, whatever happened to one of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ncbench.records.errors import BadRecordsError
from ncbench.records.folder import RunFolder
from ncbench.records.load import load_grams, load_means, load_measures, load_sample_grams, load_spectra
from ncbench.records.schema import CHECKPOINTS, CONFIG, PREVIOUS_CHECKPOINT, REFERENCES, REPLICAS, RUN, row_key

__all__ = ["differences"]

LOADERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "measures": load_measures,
    "spectra": load_spectra,
    "grams": load_grams,
    "means": load_means,
    "sample_grams": load_sample_grams,
}
# What run.json says of the training; the rest is about when, where and how often it was started.
_IN_RUN_INFO = (
    *("status", "error", "config_hash", "seed", "replicas", "steps", "final", "digests", "learning_rates"),
    *("replica_states", "replica_digests", "standstill", "geometry", "engine"),
)


def differences(first: Path, second: Path) -> list[str]:
    """In words: checkpoints as the bytes of their tensors, every column of every table, the small files, what is left.

    The counters of Lightning's loops are compared too, but for `combined_loader`, where a resumed pass began.
    """
    differing = []
    # Whether there is a previous.ckpt, and of which step, depends on the clock.
    kept = [[path.name for path in (folder / CHECKPOINTS).glob("*.ckpt")] for folder in (first, second)]
    names = [sorted({*found} - {PREVIOUS_CHECKPOINT}) for found in kept]
    if names[0] != names[1]:
        differing.append(f"checkpoints: {names[0]}, {names[1]}")
    for name in {*names[0]} & {*names[1]}:
        saved: list[Any] = [torch.load(folder / CHECKPOINTS / name, weights_only=True) for folder in (first, second)]
        differing += [f"{name}: {where}" for where in _unlike(saved[0], saved[1], "")]
    for table, load in LOADERS.items():
        try:
            differing += [f"{table}: {what}" for what in _unlike_rows(load(first), load(second), row_key(table))]
        except BadRecordsError as error:
            differing.append(f"{table}: {error}")
    for name in (CONFIG, REFERENCES, REPLICAS):
        if (first / name).read_bytes() != (second / name).read_bytes():
            differing.append(name)
    infos = [RunFolder(folder).info() for folder in (first, second)]
    differing += [f"run.json: {key}" for key in _IN_RUN_INFO if _text(infos[0], key) != _text(infos[1], key)]
    for folder in (first, second):
        differing += [f"{path.relative_to(folder)} is left" for path in folder.rglob(".*.tmp")]
    return differing


def _text(info: Mapping[str, Any], key: str) -> str:
    return json.dumps(info.get(key), sort_keys=True)


def _unlike(a: Any, b: Any, where: str) -> list[str]:
    """The places at which two values of a checkpoint are not the same."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b)
        return [] if same else [where]
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a} | {*b}, key=str)
        return [
            place
            for key in keys
            if key != "combined_loader"
            for place in (_unlike(a[key], b[key], f"{where}.{key}") if key in a and key in b else [f"{where}.{key}"])
        ]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [place for i in range(len(a)) for place in _unlike(a[i], b[i], f"{where}[{i}]")]
    return [] if type(a) is type(b) and (a == b or (a != a and b != b)) else [where]


def _bytes(x: torch.Tensor) -> bytes:
    return x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _unlike_rows(a: pd.DataFrame, b: pd.DataFrame, key: list[str]) -> list[str]:
    """The columns in which two tables differ by a bit, where both have the same rows, each of them once."""
    a, b = (rows.drop(columns=RUN).sort_values(key, ignore_index=True) for rows in (a, b))
    if a.duplicated(key).any() or b.duplicated(key).any():
        return ["a row is there twice"]
    if len(a) != len(b) or [*a.columns] != [*b.columns]:
        return [f"{len(a)} and {len(b)} rows"]
    return [name for name in a.columns if _column(a[name]) != _column(b[name])]


def _column(values: pd.Series) -> bytes | list[Any]:
    if values.dtype.kind in "iuf":
        return values.to_numpy().tobytes()
    return [value.tobytes() if isinstance(value, np.ndarray) else str(value) for value in values]
