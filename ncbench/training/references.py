"""Theory lines: the closed forms that an experiment names, at the run's own K, L, n and decays."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["check_references", "evaluate_references"]

_OWN = ("name", "measure", "_target_")


def evaluate_references(
    references: Sequence[Mapping[str, Any]],
    *,
    loss: str,
    activation: str,
    num_classes: int,
    depth: int,
    per_class: float,
    weight_decays: Sequence[Sequence[float]],
    feature_decays: Sequence[float | None],
) -> list[dict[str, Any]]:
    """The entries of references.json: name, measure, value, values, formula, arguments, replicas, why.

    `references` are {"name": ..., "_target_": "package.module.function", "measure": what the line is compared with
    ("loss" by default), further arguments}; `weight_decays` holds L numbers per replica, `feature_decays` one.
    Replicas with the same decays share an entry (`replicas` None: all). A function that returns a mapping of stages to
    singular values gives `values` and no `value`; a loss whose module names such a companion in `SPECTRA` brings it
    along. A line that does not exist for these arguments has value None and says why.
    """
    decays: dict[tuple[tuple[float, ...], float | None], list[int]] = {}
    for replica, (weights, feature) in enumerate(zip(weight_decays, feature_decays)):
        decays.setdefault((tuple(weights), feature), []).append(replica)
    entries: list[dict[str, Any]] = []
    for reference in [*references, *_companions(references)]:
        extra = {key: value for key, value in reference.items() if key not in _OWN}
        module, function = _module(reference)
        for (weights, feature), replicas in decays.items():
            arguments = {
                "num_classes": num_classes,
                "depth": depth,
                "per_class": per_class,
                "feature_decay": feature,
                "weight_decays": list(weights),
                **extra,
            }
            found: Any = None
            why = _mismatch(module, loss, activation, feature)
            if why is None:
                try:
                    found = getattr(module, function)(**arguments)
                except ValueError as error:
                    why = str(error)
            several = isinstance(found, Mapping)
            entries.append(
                {
                    "name": reference["name"],
                    "measure": reference.get("measure", "loss"),
                    "value": None if found is None or several else float(found),
                    "values": dict(found) if several else None,
                    "formula": getattr(module, "FORMULAS", {}).get(function),
                    "arguments": arguments,
                    "replicas": None if len(decays) == 1 else replicas,
                    "why": why,
                }
            )
    return entries


def _companions(references: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The predicted singular values that belong to the losses, but those that are asked for already."""
    asked = {reference["_target_"] for reference in references}
    found = []
    for reference in references:
        module, function = _module(reference)
        if function in getattr(module, "SPECTRA", {}):
            target = f"{module.__name__}.{module.SPECTRA[function]}"
            if target not in asked:
                found.append({**reference, "measure": "spectra", "_target_": target})
    return found


def check_references(references: Sequence[Mapping[str, Any]]) -> None:
    """ValueError of one line for a theory line whose function does not exist or does not take its arguments."""
    for reference in references:
        key, target = f"references.{reference['name']}", reference["_target_"]
        try:
            module, function = _module(reference)
            of_run = dict.fromkeys(("num_classes", "depth", "per_class", "feature_decay", "weight_decays"))
            extra = {name: value for name, value in reference.items() if name not in _OWN}
            inspect.signature(getattr(module, function)).bind(**of_run, **extra)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{key}._target_={target}: no such function ({error})") from error
        except TypeError as error:
            raise ValueError(f"{key}: {target} does not take its arguments ({error})") from error


def _module(reference: Mapping[str, Any]) -> tuple[Any, str]:
    module, _, function = reference["_target_"].rpartition(".")
    return import_module(module), function


def _mismatch(module: Any, loss: str, activation: str, feature_decay: float | None) -> str | None:
    """Why the module's closed forms are not lines for this objective, or None where they are."""
    applies: Mapping[str, str] = getattr(module, "APPLIES", {})
    for key, value in (("loss", loss), ("activation", activation)):
        if applies.get(key, value) != value:
            return f"holds for {key}={applies[key]}, the run has {key}={value}"
    if feature_decay is None:
        return "the objective has no feature decay"
    return None
