"""Which keys make up the identity of a run: those that differ from the defaults and change a number.

A class may move within its room, a key with a default may be added, and a default may be written out, without making
another run of it. Therefore a default of `ncbench.config` must never be changed: a run with the old one would be taken
for a run with the new one. Add a key instead, or set the value in the yaml file.

Where the data lies, where measures are sent, how often a checkpoint is written or a bar drawn, and whether a step's
kernels are launched one by one or as a CUDA graph do not change the numbers: a run can be moved to another disk, or
logged elsewhere, and continue. Nor does what is claimed about them: a claim may be added to a run that is done.
`trainer.engine` is part of it, as engines differ by rounding, and so is `trainer.threads`: only gradient descent and
L-BFGS on ensembles give the same bits whatever the number of threads, other optimisers and backbones do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ncbench.config.measuring import SHOWN_BY_REPORT, Measure, Trainer
from ncbench.config.root import CLAIMED, Config
from ncbench.config.variants import Group, Target, default_of, keys_of, public_name

__all__ = ["NOT_COMPUTED", "differences", "shared_differences"]

# Keys of the variants of a group. What a user's own class takes beside them counts, whatever it is called.
NOT_COMPUTED: Mapping[str, tuple[str, ...]] = {
    "dataset": ("root", "download", "num_workers"),
    "trainer": ("progress", "checkpoint_seconds", "keep_checkpoints", "cuda_graph"),
}
_LEFT_OUT = ("logger", *CLAIMED)


def differences(config: Config) -> dict[str, Any]:
    """The plain values that `ncbench.records.run_hash` hashes: a nested mapping without any import path of ours."""
    different: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if f.name in _LEFT_OUT:
            continue
        if isinstance(value, Group):
            different[f.name] = _of_group(value, NOT_COMPUTED.get(f.name, ()))
        elif f.name == "references":
            # What a line is compared with is the loss, unless it says otherwise.
            lines = [{k: v for k, v in line.items() if (k, v) != ("measure", "loss")} for line in value]
            different |= {"references": _with_public_names(lines)} if lines else {}
        elif value != default_of(f):
            different[f.name] = _with_public_names(value)
    return different


def shared_differences(configs: Sequence[Config], axes: Sequence[str]) -> dict[str, Any]:
    """What the jobs of a sweep compute besides its axes: the same for one value more of an axis.

    What an axis may change is left out: its key, its group, or all where experiments are swept.
    """
    shared = {} if "experiment" in axes else _shared([differences(config) for config in configs])
    kept = {key: value for key, value in shared.items() if key not in axes}
    for axis in axes:
        group, _, key = axis.partition(".")
        if key and isinstance(kept.get(group), dict):
            kept[group] = {name: value for name, value in kept[group].items() if name != key.partition(".")[0]}
    return kept


def _shared(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of these nested values have in common."""
    shared: dict[str, Any] = {}
    for key, value in values[0].items():
        others = [other.get(key) for other in values[1:]]
        if isinstance(value, Mapping) and all(isinstance(other, Mapping) for other in others):
            shared[key] = _shared([value, *others])  # type: ignore[list-item]
        elif all(key in other for other in values) and all(other == value for other in others):
            shared[key] = value
    return shared


def _of_group(group: Group, left_out: tuple[str, ...]) -> dict[str, Any]:
    """The class under its public name, or the kind where it has none, and the values that are no defaults."""
    named: dict[str, Any] = {"kind": group.KIND} if group.KIND else {}
    if isinstance(group, Target):
        known = group.public_target
        path = public_name(group._target_) if group._target_.startswith("ncbench.") else group._target_
        named = {"class": known} if known else {**named, "class": path}
    defaults = {f.name: default_of(f) for f in fields(group)}
    keys = [key for key in keys_of(type(group)) if key not in (*left_out, "_target_", "_partial_")]
    values = {key: getattr(group, key) for key in keys if getattr(group, key) != defaults[key]}
    if isinstance(group, Measure):
        values = _without_captions(values)
    if isinstance(group, Trainer) and group.precision == "64":
        # As this key was called when the first runs got their names.
        values = {key: value for key, value in values.items() if key != "precision"} | {"dtype": "float64"}
    further = group.further if isinstance(group, Target) else {}
    return named | {key: _with_public_names(value) for key, value in (values | further).items()}


def _without_captions(values: dict[str, Any]) -> dict[str, Any]:
    """A run's own measures without what the report alone reads of them."""
    return values | {
        kind: {name: {k: v for k, v in spec.items() if k not in SHOWN_BY_REPORT} for name, spec in values[kind].items()}
        for kind in ("moments", "matrices")
        if kind in values
    }


def _with_public_names(value: Any) -> Any:
    """Nested values with public names in place of import paths."""
    if isinstance(value, Mapping):
        return {
            str(key): public_name(part) if key == "_target_" and isinstance(part, str) else _with_public_names(part)
            for key, part in value.items()
            if key != "_partial_"
        }
    return [_with_public_names(part) for part in value] if isinstance(value, list | tuple) else value
