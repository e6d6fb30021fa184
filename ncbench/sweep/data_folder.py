"""Where the data of a record lies: a folder of the machine that made it, or one that is given here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["is_about_folders", "with_data", "without_hidden_folders"]

_HIDDEN = "DIR"  # what stands in a record for a folder of the machine that made it


def with_data(values: dict[str, Any], data: Path | None, name: str) -> dict[str, Any]:
    """The values with their data set in this folder (None: where they say), which is no part of what a run computes.

    ValueError of one line, which calls the run by its `name`, where its data lies in no folder.
    """
    if data is None:
        return values
    dataset = values.get("dataset")
    if not isinstance(dataset, dict) or "root" not in dataset:
        raise ValueError(f"dataset.root={data}: the data set of {name} lies in no folder")
    return {**values, "dataset": {**dataset, "root": str(data.absolute())}}


def without_hidden_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without where the data lay on another machine, which is no value for this one."""
    dataset = dict(values["dataset"])
    if dataset.get("root") == _HIDDEN:
        dataset |= {"root": None, "download": True}
    return {**values, "dataset": dataset}


def is_about_folders(word: str) -> bool:
    """Whether a word of a record's command line says where something lies."""
    key, _, value = word.lstrip("+").partition("=")
    return key.startswith("hydra") or value == _HIDDEN or key == "dataset.root"
