"""Plain values become the dataclasses of `ncbench.config`: misspelt keys are refused and types checked, in one line."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ncbench.config.root import CLAIMED, VARIANTS, Config
from ncbench.config.typed import typed
from ncbench.config.variants import Group, Target, choose_variant, keys_of

__all__ = ["to_be_added", "unknown_key", "validate", "validate_recorded"]


_RENAMED = {"trainer.dtype": "trainer.precision (32, 64 or bf16-mixed)"}
_PRECISIONS = {"float32": "32", "float64": "64"}  # what `trainer.dtype` said


def validate(values: Mapping[str, Any]) -> Config:
    """The configuration as dataclasses; ValueError of one line (key, value, rule) where it breaks a rule.

    `values` is a plain, fully resolved mapping. Unknown keys are refused however they came in (a leading `+`
    included); interpolation and `_target_`s are left to Hydra.
    """
    known = [f.name for f in fields(Config)]
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{key}={value}: {_unknown(key, known, '')}")
    of_groups: dict[str, Any] = {}
    # The trainer first: a schedule may take its number of epochs, and it is the trainer's key that is wrong then.
    for name in sorted(VARIANTS, key=lambda name: name != "trainer"):
        variants = VARIANTS[name]
        if name not in values:
            raise ValueError(f"{name}: a value is needed")
        if not isinstance(values[name], Mapping):
            raise ValueError(f"{name}={values[name]}: must be a group of keys")
        of_groups[name] = _group(name, choose_variant(name, variants, values[name]), values[name])
    ungrouped = {key: value for key, value in values.items() if key not in VARIANTS}
    return Config(**typed(Config, ungrouped, "", [key for key in known if key not in VARIANTS]), **of_groups)


def validate_recorded(values: Mapping[str, Any]) -> Config:
    """The configuration of a run folder, also of an earlier form: what it claims needs no reading and is left out."""
    kept = {key: value for key, value in values.items() if key not in CLAIMED}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping) and "dtype" in trainer:
        renamed = {key: value for key, value in trainer.items() if key != "dtype"}
        kept["trainer"] = {"precision": _PRECISIONS.get(trainer["dtype"], trainer["dtype"]), **renamed}
    return validate(kept)


def _group(name: str, variant: type[Group], values: Mapping[str, Any]) -> Group:
    """A group as its dataclass. A user's class may have further keys; ours has those of the dataclass."""
    known = keys_of(variant)
    unused = {"kind"} if variant.KIND else set()
    if not issubclass(variant, Target) and values.get("_target_") is None:
        unused.add("_target_")  # conf/schedule/constant.yaml
    given = {str(key): value for key, value in values.items() if key not in unused}
    further = {key: value for key, value in given.items() if key not in known}
    for key, value in further.items():
        if not (issubclass(variant, Target) and variant.public_name_of(str(values.get("_target_"))) is None):
            raise ValueError(f"{name}.{key}={value}: {_not_of_variant(name, variant, key)}")
    of_variant = typed(variant, {key: given[key] for key in given if key in known}, f"{name}.", known)
    return variant(**of_variant, **({"further": further} if further else {}))


def unknown_key(key: str) -> str:
    """Why a dotted key that the composed files do not have is refused: what it may have meant, or what there is."""
    name, _, last = key.partition(".")
    if not last:
        known = [f.name for f in fields(Config)]
        return "not a key that can be set this way" if key in known else _unknown(key, known, "")
    if name not in VARIANTS:
        return to_be_added(key)
    taking = _kinds_with(name, last)
    if len(taking) == len(VARIANTS[name]) or "." in last:
        return to_be_added(key)
    if taking:
        return f"the chosen {name} does not set this key; only {_take(taking)} it, and +{key}=... then adds it"
    return _unknown(last, sorted({known for variant in VARIANTS[name] for known in keys_of(variant)}), f"{name}.")


def to_be_added(key: str) -> str:
    """What to do about a key that the composed files do not have and that may be added."""
    return f"not set by this configuration; +{key}=... adds it"


def _not_of_variant(name: str, variant: type[Group], key: str) -> str:
    taken = [known for known in keys_of(variant) if not known.startswith("_")]
    if others := _kinds_with(name, key):
        return f"only {_take(others)} this key; {name}.kind={variant.KIND} takes {', '.join(taken) or 'none'}"
    every = f"; {name}.kind={variant.KIND} takes {', '.join(taken)}" if variant.KIND else ""
    why = _unknown(key, taken, f"{name}.")
    return why + every if "did you mean" in why else why


def _kinds_with(name: str, key: str) -> list[str]:
    return [variant.KIND for variant in VARIANTS[name] if key in keys_of(variant)]


def _take(kinds: list[str]) -> str:
    return f"{kinds[0]} takes" if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]} take"


def _unknown(key: str, known: list[str], prefix: str) -> str:
    if renamed := _RENAMED.get(f"{prefix}{key}"):
        return f"is now {renamed}"
    near = [f"{prefix}{match}" for match in difflib.get_close_matches(key, known, n=1)]
    near = near if prefix else _of_groups(key, exactly=True) or near or _of_groups(key, exactly=False)
    return f"unknown key (did you mean {' or '.join(near)}?)" if near else f"unknown key (known: {', '.join(known)})"


def _of_groups(key: str, *, exactly: bool) -> list[str]:
    """At most three keys of groups that are called so, or end so, or nearly: `lr` is found as optimizer.lr."""
    every = {
        (name, known)
        for name, variants in VARIANTS.items()
        for kind in variants
        for known in keys_of(kind)
        if not known.startswith("_")
    }
    words = {known for _, known in every}
    like = {key} if exactly else set(difflib.get_close_matches(key, words | {w.rpartition("_")[2] for w in words}, n=1))
    return sorted(f"{name}.{known}" for name, known in every if any(f"_{known}".endswith(f"_{word}") for word in like))[
        :3
    ]
