"""Groups of a configuration that come in variants: their keys, the classes that they describe, and which one is meant.

A group such as `optimizer` is one frozen dataclass per variant. `kind` in its yaml names the variant; where it is
absent (a configuration that is older than it, a user's own file) a known `_target_` tells. A user's own class goes
with the kind of ours that it replaces, and may have further keys, which are passed on to it. The variants themselves
stand in `datasets`, `models`, `training` and `schedules`; `root.VARIANTS` collects them.
"""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING as REQUIRED
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar

from omegaconf import MISSING

__all__ = ["Group", "Target", "choose_variant", "default_of", "keys_of", "public_name"]


@dataclass(frozen=True)
class Group:
    """The keys of one group. `KIND` names the variant, `CLASSES` (public name -> import path) what it describes."""

    KIND: ClassVar[str] = ""
    CLASSES: ClassVar[Mapping[str, str]] = {}

    def plain(self) -> dict[str, Any]:
        """The group as it is written into a file: every key, with the kind where there are several."""
        kind = {"kind": self.KIND} if self.KIND else {}
        return kind | {key: copy.deepcopy(getattr(self, key)) for key in keys_of(type(self))}


@dataclass(frozen=True)
class Target(Group):
    """A group that makes an object: `_target_` is its class, the other keys are arguments of it.

    `further` holds what the file says beyond the variant's keys, for a class that is not one of ours.
    """

    NOT_PASSED: ClassVar[tuple[str, ...]] = ()

    _target_: str = MISSING
    further: dict[str, Any] = field(default_factory=dict, metadata={"is_key": False})

    @classmethod
    def public_name_of(cls, path: str) -> str | None:
        """The public name of a class, wherever it stands, if it is one of `CLASSES`."""
        return next((name for name, ours in cls.CLASSES.items() if public_name(ours) == public_name(path)), None)

    @property
    def public_target(self) -> str | None:
        """The public name of the class, or None for a class of the user's own."""
        return self.public_name_of(self._target_)

    def plain(self) -> dict[str, Any]:
        """As of every group, and what a class of the user's own takes beside."""
        return super().plain() | copy.deepcopy(self.further)

    def arguments(self) -> dict[str, Any]:
        """What Hydra's `instantiate` takes: the present path of the class and the values of its arguments."""
        path = self.CLASSES.get(self.public_target or "", self._target_)
        values = {key: value for key, value in self.plain().items() if key not in (*self.NOT_PASSED, "kind")}
        return values | {"_target_": path}


def keys_of(group: type[Group]) -> list[str]:
    """The keys that a group may have in a file, besides `kind`."""
    return [f.name for f in fields(group) if f.metadata.get("is_key", True)]


def default_of(of: "Field[Any]") -> Any:
    """The default of a dataclass's field; omegaconf.MISSING where a value is needed."""
    return of.default_factory() if of.default_factory is not REQUIRED else of.default


def public_name(path: str) -> str:
    """A name that stays when a class or function moves within its room: `data.Digits`, `theory.dufm_mse.dnc_loss`.

    For what is not ours the path itself, but `torch.optim.SGD` wherever torch keeps it.

    >>> public_name("ncbench.models.replica.dufm.DUFM"), public_name("ncbench.theory.dufm_mse.losses.dnc_loss")
    ('models.DUFM', 'theory.dufm_mse.dnc_loss')
    >>> public_name("torch.optim.sgd.SGD"), public_name("mine.models.DUFM")
    ('torch.optim.SGD', 'mine.models.DUFM')
    """
    package, *rooms, name = ["", *path.split(".")] if "." not in path else path.split(".")
    if package == "torch" and rooms[:1] == ["optim"]:
        return f"torch.optim.{name}"
    if package != "ncbench" or not rooms:
        return path
    # Functions of different theories share names (dnc_loss), so there the module is part of the name.
    return ".".join([*rooms[: 2 if rooms[0] == "theory" else 1], name])


def choose_variant(group: str, variants: Sequence[type[Group]], values: Mapping[str, Any]) -> type[Group]:
    """The dataclass that a group's values are of; ValueError of one line where they do not say it."""
    if len(variants) == 1:
        return variants[0]
    kinds, kind, target = [variant.KIND for variant in variants], values.get("kind"), values.get("_target_")
    by_target = None
    if isinstance(target, str):
        paths = {public_name(path): variant for variant in variants for path in variant.CLASSES.values()}
        by_target = paths.get(public_name(target))
    if kind is not None:
        if kind not in kinds:
            near = difflib.get_close_matches(str(kind), kinds, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{group}.kind={kind}: unknown kind{meant}; it must be one of {', '.join(kinds)}")
        chosen = variants[kinds.index(kind)]
        if by_target not in (None, chosen):
            assert by_target is not None
            raise ValueError(f"{group}.kind={kind}: {target} is of another kind, {by_target.KIND}")
        return chosen
    if by_target is not None:
        return by_target
    if target is not None:
        raise ValueError(
            f"{group}._target_={target}: this is no class of ncbench; add {group}.kind=... to say what it is, one of "
            f"{', '.join(kinds)}"
        )
    given = {key for key in values if key != "_target_"}
    without = [variant for variant in variants if not issubclass(variant, Target)]
    fitting = [variant for variant in without if given <= set(keys_of(variant))]
    if not fitting:
        raise ValueError(f"{group}: a value is needed for {group}.kind, one of {', '.join(kinds)}")
    return fitting[0]
