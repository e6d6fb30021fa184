"""From plain values to the dataclasses of `ncbench.config`: unknown keys refused, types checked, one line each."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import MISSING, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from ncbench.config.root import Config

__all__ = ["unknown_key", "validate"]


def validate(values: Mapping[str, Any]) -> Config:
    """The configuration as dataclasses; ValueError of one line (key, value, rule) where it breaks a rule.

    `values` is a plain, fully resolved mapping. Unknown keys are refused however they came in (a leading `+`
    included); interpolation and `_target_`s are left to Hydra.
    """
    _refuse_unknown(values, Config, "")
    config = _typed(Config, values, "")
    assert isinstance(config, Config)
    return config


def _typed(group: type, values: Mapping[str, Any], prefix: str) -> Any:
    """An instance of a group's dataclass; OmegaConf checks and converts the types of its own keys."""
    nested = {f.name: f.type for f in fields(group) if isinstance(f.type, type) and is_dataclass(f.type)}
    schema = OmegaConf.structured(group)
    try:
        with flag_override(schema, "readonly", False):  # frozen dataclasses make read-only nodes
            merged = OmegaConf.merge(schema, {key: value for key, value in values.items() if key not in nested})
        plain = OmegaConf.to_container(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise ValueError(f"{prefix}{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    own = {str(key): value for key, value in plain.items() if key not in nested}
    missing = [key for key, value in own.items() if value == MISSING] + [key for key in nested if key not in values]
    if missing:
        raise ValueError(f"{prefix}{missing[0]}: a value is needed")
    return group(**own, **{key: _typed(kind, values[key], f"{prefix}{key}.") for key, kind in nested.items()})


def unknown_key(key: str) -> str:
    """Why a dotted key is refused: what it may have meant, or what there is instead."""
    prefix = ""
    group: type = Config
    *path, last = key.split(".")
    for part in path:
        kind = {f.name: f.type for f in fields(group)}.get(part)
        if not (isinstance(kind, type) and is_dataclass(kind)):
            return f"not set by this configuration; +{key}=... adds it"
        prefix, group = f"{prefix}{part}.", kind
    known = sorted(f.name for f in fields(group))
    if last in known:
        return f"the chosen {path[-1]} has no such key" if path else "not a key that can be set this way"
    near = difflib.get_close_matches(last, known, n=1)
    return f"unknown key (did you mean {prefix}{near[0]}?)" if near else f"unknown key (known: {', '.join(known)})"


def _refuse_unknown(values: Mapping[str, Any], group: type, prefix: str) -> None:
    known = {f.name: f.type for f in fields(group)}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{prefix}{key}={value}: {unknown_key(f'{prefix}{key}')}")
        kind = known[key]
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ValueError(f"{prefix}{key}={value}: must be a group of keys")
            _refuse_unknown(value, kind, f"{prefix}{key}.")
