"""`run.json` as every command reads it: one JSON object whose entries have the types that readers rely on.

What this version does not know is let through.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ncbench.records.errors import BadRecordsError
from ncbench.records.schema import RUN_INFO, SCHEMA_VERSION
from ncbench.records.small_files import read_json

__all__ = ["MOST_REPLICAS", "frozen", "frozen_from", "is_number", "is_whole", "read_run_info"]

MOST_REPLICAS = 1_000_000  # of one run: a larger number is damage, and tables that are filled by it end the memory


def read_run_info(folder: Path) -> dict[str, Any]:
    """What the run.json of a folder says. Raises BadRecordsError of one line, naming the file, where it is damaged.

    FileNotFoundError where there is none.
    """
    path = folder / RUN_INFO
    info = read_json(path)
    if not isinstance(info, dict):
        raise BadRecordsError(f"{path} must hold one JSON object")
    for key, (holds, rule) in _RULES.items():
        value = info.get(key)
        if value is not None and not holds(value):
            raise BadRecordsError(f"{path}: {key}={_shown(value)} must be {rule}")
    if (version := info.get("schema_version") or 0) > SCHEMA_VERSION:
        raise BadRecordsError(
            f"{path}: schema_version={version} is that of a later ncbench, which may mean other things by the same "
            f"names; this one reads up to {SCHEMA_VERSION}, so read it with that version"
        )
    _check_states(path, info)
    return info


def frozen(info: dict[str, Any], state: str) -> list[int]:
    """The replicas that run.json lists under a state: converged, diverged, dead or stalled."""
    return list(frozen_from(info, state))


def frozen_from(info: dict[str, Any], state: str) -> dict[int, int]:
    """The same replicas, and the step since which each of them has been so."""
    entries = (info.get("replica_states") or {}).get(state, [])
    return {int(entry["replica"]): int(entry.get("step", 0)) for entry in entries}


def _check_states(path: Path, info: Mapping[str, Any]) -> None:
    """`replica_states` lists replicas of the run under the name of a state."""
    replicas = info.get("replicas") or MOST_REPLICAS
    for state, entries in (info.get("replica_states") or {}).items():
        for entry in entries if isinstance(entries, list) else [None]:
            replica: Any = entry.get("replica") if isinstance(entry, dict) else None
            step: Any = entry.get("step", 0) if isinstance(entry, dict) else None
            if not is_whole(replica) or not 0 <= replica < replicas or not is_whole(step):
                rule = 'must be a list of {"replica": number of a replica, "step": a whole number}'
                raise BadRecordsError(f"{path}: replica_states.{state}={_shown(entries)} {rule}")


def is_whole(value: Any) -> bool:
    """Whether a value of a JSON file is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())


def _are_steps(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(step.isdecimal() and holds(entry) for step, entry in value.items())
    )


def _are_summaries(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and all(number is None or is_number(number) for number in entry.values())
        for entry in value.values()
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


_TEXT = (lambda value: isinstance(value, str), "a text")
_WHOLE = (is_whole, "a whole number")
_NUMBER = (is_number, "a number")
_OBJECT = (lambda value: isinstance(value, dict), "an object")
_Rule = tuple[Callable[[Any], bool], str]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("status", "name", "config_hash", "started", "finished", "error", "command", "recorded_by"), _TEXT),
    **dict.fromkeys(("schema_version", "seed", "steps"), _WHOLE),
    **dict.fromkeys(("wall_seconds", "replica_steps_per_second"), _NUMBER),
    **dict.fromkeys(("git", "geometry", "standstill", "replica_states"), _OBJECT),
    "device": (lambda value: isinstance(value, dict | str), "an object or a text"),
    "replicas": (
        lambda value: is_whole(value) and 0 <= value <= MOST_REPLICAS,
        f"a number of replicas, at most {MOST_REPLICAS}",
    ),
    "versions": (_are_texts, "an object of texts"),
    "final": (_are_summaries, "an object of numbers by name"),
    "digests": (_are_steps(lambda entry: isinstance(entry, str)), "an object of texts by step"),
    "learning_rates": (
        _are_steps(lambda entry: entry is None or is_number(entry)),
        "an object of numbers by step",
    ),
    "replica_digests": (
        lambda value: isinstance(value, list) and all(isinstance(entry, str) for entry in value),
        "a list of texts",
    ),
}
