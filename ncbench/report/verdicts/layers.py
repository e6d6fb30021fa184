"""Which recorded rows the `layers` of a selection mean in every run, and how several become one value."""

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ncbench.claims.selection import Selection
from ncbench.records.layers import COUNTED_WORDS, layer_key, layers_between, patterns
from ncbench.records.proven_files import proven_yaml
from ncbench.records.schema import CONFIG

__all__ = ["NotEnoughDataError", "in_layers", "joined", "within"]


class NotEnoughDataError(Exception):
    """Why a claim cannot be judged on these records, in one sentence."""


def in_layers(frame: pd.DataFrame, selection: Selection, folders: Mapping[str, Path], name: str) -> pd.DataFrame:
    """The rows of the chosen layers, stage and source layer; column `place` counts the layers from 1.

    `name` is the selection as a reader names it, for the error.
    """
    frame = frame[frame["run"].isin(list(folders)) & (frame["layer"] != "")]
    staged = frame if selection.stage is None else frame[frame["stage"] == selection.stage]
    if selection.source_layer is not None:
        staged = staged[staged["source_layer"] == selection.source_layer]
    places: dict[tuple[str, str], int] = {}
    for run, layers in staged.groupby("run")["layer"]:
        recorded = sorted(map(str, layers.unique()), key=layer_key)
        patterns = _patterns(selection, str(run), folders[str(run)])
        for pattern, counted in patterns.items():
            # Of the intermediate layers those behind a source have a value from it.
            behind = selection.source_layer is not None and counted
            if not behind and not fnmatch.filter(recorded, pattern):
                raise NotEnoughDataError(f"{name} is not recorded in {pattern} of run {run}")
        names = [name for name in recorded if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        places |= {(str(run), name): place for place, name in enumerate(names, start=1)}
    place = [places.get(key, 0) for key in zip(staged["run"], staged["layer"], strict=True)]
    return staged.assign(place=place)[np.array(place, dtype=int) > 0]


def _patterns(selection: Selection, run: str, folder: Path) -> dict[str, bool]:
    """The names and globs that every entry of `layers` stands for, and whether a word that counts layers gave it."""
    found: dict[str, bool] = {}
    for asked in selection.layers:
        if asked in COUNTED_WORDS:
            depth = _depth(run, folder)
            between = layers_between(asked, depth)
            if not between:
                raise NotEnoughDataError(f"run {run} has no {asked} layer (model.depth={depth})")
            found = {**dict.fromkeys(between, True), **found}
        else:
            found |= dict.fromkeys(patterns(asked) or [asked], False)
    return found


def _depth(run: str, folder: Path) -> int:
    config = proven_yaml(folder, CONFIG)
    model = config.get("model") if isinstance(config, dict) else None
    depth = model.get("depth") if isinstance(model, dict) else None
    if not isinstance(depth, int):
        raise NotEnoughDataError(f"the {CONFIG} of run {run} does not contain model.depth")
    return depth


def joined(frame: pd.DataFrame, by: list[str], how: str | None) -> pd.DataFrame:
    """One value per group of `by`: the rows' maximum, minimum or mean; NaN where one of them is not finite."""
    finite = frame.assign(value=frame["value"].where(np.isfinite(frame["value"])))
    groups = finite.groupby(by, sort=True)["value"]
    if how is None and len(frame) and groups.size().max() > 1:
        raise NotEnoughDataError("several layers, stages or source layers are recorded where one was chosen")
    values = groups.agg(how or "mean").where(groups.count() == groups.size())
    return pd.DataFrame({"value": values, "parts": groups.size()}).reset_index()


def within(
    values: pd.Series, below: Any = None, above: Any = None, between: tuple[float, float] | None = None
) -> pd.Series:
    """Whether each value lies below, above or, ends included, between; False where it is not finite."""
    met = pd.Series(np.isfinite(values), values.index)
    if below is not None:
        met &= values < below
    if above is not None:
        met &= values > above
    if between is not None:
        met &= (values >= between[0]) & (values <= between[1])
    return met
