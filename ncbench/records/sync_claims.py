"""What is claimed about a finished run may change without training it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ncbench.records.folder import write_text
from ncbench.records.schema import CONFIG

__all__ = ["update_claims"]

_CLAIMED = ("claims", "reproduces", "grid")


def update_claims(folder: Path, values: Mapping[str, Any]) -> None:
    """Put the present `claims`, `reproduces` and `grid` into the folder's config.yaml, if they are others."""
    path = folder / CONFIG
    if not path.is_file():
        return
    recorded = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(recorded, dict)
    present = {key: values[key] for key in _CLAIMED if key in values}
    if any(recorded.get(key) != value for key, value in present.items()):
        write_text(path, OmegaConf.to_yaml(OmegaConf.create({**recorded, **present})))
