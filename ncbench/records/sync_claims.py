"""Writes the present claims into the config.yaml of a finished run: they may change without training it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench.records.folder import read_config, write_config

__all__ = ["update_claims"]


def update_claims(folder: Path, present: Mapping[str, Any]) -> None:
    """Put what is claimed at present into the folder's config.yaml, if it is something else."""
    recorded = read_config(folder)
    if recorded and any(recorded.get(key) != value for key, value in present.items()):
        write_config(folder, {**recorded, **present})
