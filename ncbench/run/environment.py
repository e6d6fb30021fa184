"""Texts of a configuration that come from an environment variable: the run sees the value, the record has the question.

`dataset.root=${oc.env:DATA}` trains on the data that lies there; config.yaml and all that is made of it say
`${oc.env:DATA}`, as the user wrote it. A number is what was computed, and stands in the record whatever it came from.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

__all__ = ["Asked", "as_written", "asked_of_environment", "written_overrides"]

Asked = Mapping[tuple[str | int, ...], str]  # where a value stands -> the interpolation that it was written as


def asked_of_environment(composed: Any) -> Asked:
    """The values of a composed configuration, but for Hydra's own part, that `oc.env` has a part in."""
    asked: dict[tuple[str | int, ...], str] = {}
    plain: Any = OmegaConf.to_container(composed)
    raw = {str(key): value for key, value in plain.items() if key != "hydra"}
    written = {path: text for path, text in _texts(raw) if "${" in text}
    with _watched() as used:
        for path, text in written.items():
            used.clear()
            node = composed
            for part in path:
                node = node[part]
            resolved = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            if used:
                inner = [()] if not isinstance(resolved, dict | list) else [inside for inside, _ in _texts(resolved)]
                asked |= {(*path, *inside): text for inside in inner}
    return asked


def as_written(values: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """The values as they are recorded: texts that were asked of the environment as they were written."""
    recorded = copy.deepcopy(dict(values))
    for path, text in asked.items():
        place: Any = recorded
        try:
            for part in path[:-1]:
                place = place[part]
            if isinstance(place[path[-1]], str):
                place[path[-1]] = text
        except (KeyError, IndexError, TypeError):  # such as a claim of a standard, which is written out
            continue
    return recorded


def written_overrides(overrides: Any) -> list[str]:
    """Overrides as they were written, where the list of those of a Hydra job would give the values in their place."""
    written: Any = OmegaConf.to_container(overrides) if OmegaConf.is_config(overrides) else overrides
    return list(written)


def _texts(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    parts: Any = ()
    if isinstance(values, Mapping):
        parts = values.items()
    elif isinstance(values, list):
        parts = enumerate(values)
    elif isinstance(values, str):
        yield path, values
    for key, part in parts:
        yield from _texts(part, (*path, key))


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Inside, the list gets the name of every variable that `oc.env` is asked for."""
    used: list[str] = []

    def env(key: str, *default: str | None) -> str | None:
        used.append(key)
        return oc.env(key, *default)

    _register(env)
    try:
        yield used
    finally:
        _register(oc.env)


def _register(env: Callable[..., Any]) -> None:
    OmegaConf.register_new_resolver("oc.env", env, replace=True, use_cache=False)
