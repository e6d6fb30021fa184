"""What is claimed about a finished run may change without training it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench.records.folder import read_config, write_config

__all__ = ["update_claims"]

_CLAIMED = ("claims", "reproduces", "grid")


def update_claims(folder: Path, values: Mapping[str, Any]) -> None:
    """Put the present `claims`, `reproduces` and `grid` into the folder's config.yaml, if they are others."""
    recorded = read_config(folder)
    present = {key: values[key] for key in _CLAIMED if key in values}
    if recorded and any(recorded.get(key) != value for key, value in present.items()):
        write_config(folder, {**recorded, **present})
