"""Writes the present claims into the config.yaml of a finished run: they may change without training it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench.records.folder import read_config, write_config

__all__ = ["claims_differ", "update_claims"]


def update_claims(folder: Path, present: Mapping[str, Any]) -> list[str]:
    """Put what is claimed at present into the folder's config.yaml, if it is something else.

    Returns the names of the claims that are new, changed or no longer there. The caller has the folder's lock.
    """
    recorded = read_config(folder)
    if not _are_others(recorded, present):
        return []
    write_config(folder, {**recorded, **present})
    before, now = (_by_name(values.get("claims")) for values in (recorded, present))
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def claims_differ(folder: Path, present: Mapping[str, Any]) -> bool:
    """Whether the folder's config.yaml holds other claims than these."""
    return _are_others(read_config(folder), present)


def _are_others(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    return bool(recorded) and any(recorded.get(key) != value for key, value in present.items())


def _by_name(claims: Any) -> dict[str, Any]:
    """Claims by name; null is none, and the list that was the form before version 0.2 has no names."""
    return {str(name): claim for name, claim in claims.items()} if isinstance(claims, Mapping) else {}
