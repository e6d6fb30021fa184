"""The values of a dataclass's keys with the types of its fields; a wrong one is refused with its key and value."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

__all__ = ["typed"]

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "mapping of keys"}


def typed(group: type, values: Mapping[str, Any], prefix: str, known: Sequence[str]) -> dict[str, Any]:
    """The values of a dataclass's keys; OmegaConf checks and converts their types.

    ValueError of one line, `key=value: must be ...`, for a value of another type, and where one is missing. The jobs of
    a grid differ in one group or two: of the others each is checked once.
    """
    of = _Values(json.dumps(values, default=repr), dict(values))
    return copy.deepcopy(_typed(group, of, prefix, tuple(known)))


@dataclass(frozen=True)
class _Values:
    text: str
    values: Mapping[str, Any] = field(compare=False)


@lru_cache(maxsize=256)
def _typed(group: type, of: _Values, prefix: str, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        plain = OmegaConf.to_container(_merged(group, of.values))
    except OmegaConfBaseException:
        plain = None
    hints = get_type_hints(group)
    for key, value in of.values.items():
        # OmegaConf would take any number for true.
        number = hints[key] in (bool, bool | None) and isinstance(value, int | float) and value not in (0, 1)
        if number or (plain is None and not _fits(group, {key: value})):
            raise ValueError(f"{prefix}{key}={value}: must be {_wanted(hints[key])}{_hint(hints[key], value)}")
    assert isinstance(plain, dict)
    missing = [key for key in known if plain[key] == MISSING]
    if missing:
        raise ValueError(f"{prefix}{missing[0]}: a value is needed")
    return {key: plain[key] for key in known}


def _fits(group: type, values: Mapping[str, Any]) -> bool:
    try:
        _merged(group, values)
    except OmegaConfBaseException:
        return False
    return True


def _merged(group: type, values: Mapping[str, Any]) -> Any:
    schema = OmegaConf.structured(group)
    with flag_override(schema, "readonly", False):  # frozen dataclasses make read-only nodes
        return OmegaConf.merge(schema, values)


def _wanted(hint: Any, several: bool = False) -> str:
    """What a value of this type is, in words: "a whole number or null", "a list of texts"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType or NoneType in arguments:
        return f"{_wanted(next(part for part in arguments if part is not NoneType))} or null"
    if origin is list:
        return f"a list of {_wanted(arguments[0], several=True)}"
    word = _WORDS[origin or hint]
    if hint is bool:
        return word
    return word.replace("mapping", "mappings") if several and origin else f"{word}s" if several else f"a {word}"


def _hint(hint: Any, value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return f" (write {int(value)})" if whole and hint in (int, int | None) else ""
