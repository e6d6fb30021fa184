"""The identity of a run: a hash of what is computed.

`ncbench.config.identity` says what that is; here plain values come in. Numbers are written in one way, so that `1` and
`1.0`, or `1e-3` and `0.001`, are the same number, and the order of keys does not count.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["PLANNED_HASH", "config_hash", "run_id", "schema_1_hash"]

PLANNED_HASH = "NCBENCH_PLANNED_HASH"  # environment variable: what the job of a sweep was when it was planned

_NOT_IN_SCHEMA_1 = {
    "dataset": ("root", "download"),
    "trainer": ("progress", "checkpoint_seconds"),
    "logger": None,
    "claims": None,
    "grid": None,
    "open": None,
    "reproduces": None,
}


def config_hash(differences: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of what a configuration computes.

    >>> config_hash({"lr": 1.0, "steps": 2})[:10] == config_hash({"steps": 2, "lr": 1})[:10]
    True
    """
    return _sha256(_normalised(differences))


def run_id(differences: Mapping[str, Any]) -> str:
    """The first ten digits of the hash: the name of the run's folder and of its W&B run."""
    return config_hash(differences)[:10]


def schema_1_hash(values: Mapping[str, Any]) -> str:
    """The hash that a run.json with schema_version 1 carries: of all resolved values, import paths included."""
    hashed = {key: copy.copy(value) for key, value in values.items() if key != "hydra"}
    for group, keys in _NOT_IN_SCHEMA_1.items():
        if keys is None:
            hashed.pop(group, None)
        elif isinstance(hashed.get(group), dict):
            hashed[group] = {key: value for key, value in hashed[group].items() if key not in keys}
    return _sha256(hashed)


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _normalised(value: Any) -> Any:
    """Whole numbers as int, whether they were written 1 or 1.0."""
    if isinstance(value, Mapping):
        return {str(key): _normalised(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_normalised(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
