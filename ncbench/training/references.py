"""Theory lines: the closed forms that an experiment names, at the run's own K, L, n and decays."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["evaluate_references"]


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
    """The entries of references.json: name, value, formula, arguments, replicas, why.

    `references` are {"name": ..., "_target_": "package.module.function", further arguments}; `weight_decays` holds L
    numbers per replica, `feature_decays` one. Replicas with the same decays share an entry (`replicas` None: all).
    A line that does not exist for these arguments has value None and says why.
    """
    entries: list[dict[str, Any]] = []
    decays: dict[tuple[tuple[float, ...], float | None], list[int]] = {}
    for replica, (weights, feature) in enumerate(zip(weight_decays, feature_decays)):
        decays.setdefault((tuple(weights), feature), []).append(replica)
    for reference in references:
        extra = {key: value for key, value in reference.items() if key not in ("name", "_target_")}
        module_name, _, function = reference["_target_"].rpartition(".")
        module = import_module(module_name)
        for (weights, feature), replicas in decays.items():
            arguments = {
                "num_classes": num_classes,
                "depth": depth,
                "per_class": per_class,
                "feature_decay": feature,
                "weight_decays": list(weights),
                **extra,
            }
            value, why = None, _mismatch(module, loss, activation, feature)
            if why is None:
                try:
                    value = float(getattr(module, function)(**arguments))
                except ValueError as error:
                    why = str(error)
            entries.append(
                {
                    "name": reference["name"],
                    "value": value,
                    "formula": getattr(module, "FORMULAS", {}).get(function),
                    "arguments": arguments,
                    "replicas": None if len(decays) == 1 else replicas,
                    "why": why,
                }
            )
    return entries


def _mismatch(module: Any, loss: str, activation: str, feature_decay: float | None) -> str | None:
    """Why the module's closed forms are not lines for this objective, or None where they are."""
    applies: Mapping[str, str] = getattr(module, "APPLIES", {})
    for key, value in (("loss", loss), ("activation", activation)):
        if applies.get(key, value) != value:
            return f"holds for {key}={applies[key]}, the run has {key}={value}"
    if feature_decay is None:
        return "the objective has no feature decay"
    return None
