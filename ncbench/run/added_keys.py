"""Why `+KEY=...` would be refused too, where KEY=... is refused because the composed files do not have the key."""

import inspect
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ncbench.claims.parse import near
from ncbench.run.current_folder import importable_here
from ncbench.run.values import plain_values, validated

__all__ = ["check_added"]


def check_added(key: str, overrides: Sequence[Override], composed: Any) -> None:
    """ValueError of one line where the key cannot be added: to an unknown claim, to a function that does not take it.

    `composed` has what the files say; with the `overrides`, which may add what is not there, it becomes what the
    command would mean. What cannot be told is let through.
    """
    known = [name for name, claim in (composed.get("claims") or {}).items() if claim is not None]
    try:
        ConfigLoaderImpl._apply_overrides_to_config(list(overrides), composed)
        values = plain_values(composed)
    except (HydraException, OmegaConfBaseException):
        return
    group, *path = key.split(".")
    if group == "claims" and path[0] not in known and all(o.key_or_group != f"claims.{path[0]}" for o in overrides):
        new = f"+claims.{path[0]}={{check: ..., statement: ..., source: ours, ...}} adds one"
        raise ValueError(f"claims.{path[0]}: no such claim {near(path[0], known)}; {new}")
    _check_argument(key, composed)
    try:
        validated(values)
    except ValueError as error:
        if str(error).startswith((f"{key}=", f"{key}:")):
            raise


def _check_argument(key: str, composed: Any) -> None:
    """ValueError where the key is an argument of a `_target_` that does not take it."""
    parent, _, name = key.rpartition(".")
    group = OmegaConf.select(composed, parent)
    target = group.get("_target_") if isinstance(group, DictConfig) else None
    if not isinstance(target, str) or name.startswith("_"):
        return
    importable_here()
    try:
        taken = inspect.signature(get_object(target)).parameters
    except Exception:  # code of the user's own, which the run itself would refuse
        return
    if name not in taken and all(parameter.kind is not parameter.VAR_KEYWORD for parameter in taken.values()):
        raise ValueError(f"{key}: {target} takes no argument of that name {near(name, taken)}")
