"""Writes the present claims into the config.yaml of a finished run: they may change without training it again.

The overrides go with them: a report says of a run that it was made with `model.width=32` and claims what its experiment
does. Where that experiment has the width by now, the same run is that of a command without the override.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ncbench.records.folder import read_config, write_config
from ncbench.records.proven_files import write_proven
from ncbench.records.schema import OVERRIDES

__all__ = ["claims_differ", "update_claims"]


def update_claims(folder: Path, present: Mapping[str, Any], overrides: Sequence[str] | None = None) -> list[str]:
    """Put what is claimed at present into the folder's config.yaml, if it is something else.

    `overrides` are those of the command that claims it, with those of Hydra's own settings; None: unknown. Returns the
    names of the claims that are new, changed or no longer there. The caller has the folder's lock.
    """
    recorded = read_config(folder)
    if not _are_others(recorded, present):
        return []
    # Before the claims, so that a command that is killed in between finds other claims and begins again.
    if overrides is not None and (folder / OVERRIDES).is_file():  # copies may lack what is hidden
        write_proven(folder, OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(_of_the_run(overrides))))
    write_config(folder, {**recorded, **present})
    before, now = (_by_name(values.get("claims")) for values in (recorded, present))
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def claims_differ(folder: Path, present: Mapping[str, Any]) -> bool:
    """Whether the folder's config.yaml holds other claims than these."""
    return _are_others(read_config(folder), present)


def _of_the_run(overrides: Sequence[str]) -> list[str]:
    """The overrides that Hydra lists as those of the task: all but the ones of its own settings."""
    return [override for override in overrides if not override.lstrip("+~").startswith(("hydra.", "hydra/"))]


def _are_others(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    return bool(recorded) and any(recorded.get(key) != value for key, value in present.items())


def _by_name(claims: Any) -> dict[str, Any]:
    """Claims by name; null is none, and the list that was the form before version 0.2 has no names."""
    return {str(name): claim for name, claim in claims.items()} if isinstance(claims, Mapping) else {}
