"""The identity of a run: a hash of what is computed.

Where the data lies, where measures are sent, and how often a checkpoint is written or a bar drawn do not change the
numbers, so they do not change the identity: a run can be moved to another disk, or logged elsewhere, and continue. Nor
does what is claimed about the numbers: a claim may be added to a run that is done.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["config_hash", "run_id"]

_NOT_COMPUTED = {
    "dataset": ("root", "download"),
    "trainer": ("progress", "checkpoint_seconds"),
    "logger": None,
    "claims": None,
    "grid": None,
    "reproduces": None,
}


def config_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the resolved configuration without the keys that change no number."""
    kept = {key: copy.copy(value) for key, value in values.items() if key != "hydra"}
    for group, keys in _NOT_COMPUTED.items():
        if keys is None:
            kept.pop(group, None)
        elif isinstance(kept.get(group), dict):
            kept[group] = {key: value for key, value in kept[group].items() if key not in keys}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_id(values: Mapping[str, Any]) -> str:
    """The first ten digits of the hash: the name of the run's folder and of its W&B run."""
    return config_hash(values)[:10]
