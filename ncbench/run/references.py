"""Theory lines: the closed forms that an experiment names, at the run's own K, L, n and decays."""

import inspect
import numbers
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ncbench.measure.failures import is_own_bug, why_it_fails
from ncbench.run.current_folder import missing_module
from ncbench.run.one_line_errors import no_such_target

__all__ = ["check_references", "evaluate_references"]

_KEYS_OF_LINE = ("name", "measure", "layers", "stage", "_target_")
KNOWN_ARGUMENTS = (
    *("num_classes", "depth", "width", "per_class", "feature_decay", "weight_decays"),
    *("num_samples", "dimension", "first_width", "weight_decay", "delta", "noise"),
)


def evaluate_references(
    references: Sequence[Mapping[str, Any]],
    *,
    loss: str,
    activation: str,
    reference_arguments: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The entries of references.json: name, measure, layers, stage, value, values, formula, arguments, replicas, why.

    `references` are {"name": ..., "_target_": "package.module.function", "measure": what the line is compared with
    ("loss" by default), "layers" and "stage" where it is measured, further arguments}. `reference_arguments` says of
    every replica what it is, under names of KNOWN_ARGUMENTS; a function is called with those that it takes. Beside them
    are `narrowest`, the least width of a layer (a module's `NARROWEST` says as functions of a line's arguments how many
    neurons every layer needs where the solution is to exist, or also how many the last hidden one), `last_hidden`, the
    width of that one, and `frozen`, a matrix of the head that is not trained.
    Of a network of one matrix the activation does not count. Replicas for which the arguments are the same share an
    entry (`replicas` None: all). A function that returns a mapping of stages to singular values gives `values` and no
    `value`; a loss whose module names such a companion in `SPECTRA` brings it along. A line that does not exist for
    these arguments has value None and says why.

    ValueError where a function returns neither a number, None nor a mapping.
    """
    entries: list[dict[str, Any]] = []
    for reference in [*references, *_companions(references)]:
        module, function = _module(reference)
        taken = set(inspect.signature(getattr(module, function)).parameters)
        groups = _groups(reference, taken, reference_arguments)
        for arguments, replicas in groups:
            result: Any = None
            known = reference_arguments[replicas[0]]
            acts = activation if known.get("depth") != 1 else ""
            why = _mismatch(module, loss, acts, arguments, taken) or _no_such_solution(
                module, function, known, arguments
            )
            if why is None:
                try:
                    result = _callable(f"{module.__name__}.{function}")(**arguments)
                except ValueError as error:
                    why = str(error)
                except Exception as error:
                    given = set(reference) - set(_KEYS_OF_LINE)  # which may be of any type
                    if is_own_bug(error) and not (given and isinstance(error, TypeError)):
                        raise
                    raise ValueError(f"references.{reference['name']}: {function} {why_it_fails(error)}") from error
            several = isinstance(result, Mapping)
            if result is not None and not several and not isinstance(result, numbers.Real):
                kind = type(result).__name__
                raise ValueError(f"references.{reference['name']}: {function} returns a {kind}, no number or mapping")
            entries.append(
                {
                    "name": reference["name"],
                    "measure": reference.get("measure", "loss"),
                    **{key: reference[key] for key in ("layers", "stage") if key in reference},
                    "value": None if result is None or several else float(result),
                    "values": dict(result) if several else None,
                    "formula": getattr(module, "FORMULAS", {}).get(function),
                    "arguments": arguments,
                    "replicas": None if len(groups) == 1 else replicas,
                    "why": why,
                }
            )
    return entries


def _groups(
    reference: Mapping[str, Any], taken: set[str], reference_arguments: Sequence[Mapping[str, Any]]
) -> list[tuple[dict[str, Any], list[int]]]:
    """The different arguments of a line, each with the replicas that have them."""
    extra = {key: value for key, value in reference.items() if key not in _KEYS_OF_LINE}
    groups: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for replica, known in enumerate(reference_arguments):
        arguments = {name: known[name] for name in KNOWN_ARGUMENTS if name in taken and name in known} | extra
        groups.setdefault(repr(arguments), (arguments, []))[1].append(replica)
    return list(groups.values())


def _companions(references: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The predicted singular values that belong to the losses, but those that are asked for already."""
    asked = {reference["_target_"] for reference in references}
    companions = []
    for reference in references:
        module, function = _module(reference)
        if function in getattr(module, "SPECTRA", {}):
            target = f"{module.__name__}.{module.SPECTRA[function]}"
            if target not in asked:
                companions.append({**reference, "measure": "spectra", "_target_": target})
    return companions


def check_references(references: Sequence[Mapping[str, Any]]) -> None:
    """ValueError of one line for a theory line whose function does not exist or does not take its arguments."""
    for reference in references:
        key, target = f"references.{reference['name']}", reference["_target_"]
        try:
            module, function = _module(reference)
            taken = inspect.signature(getattr(module, function))
            of_run = {name: None for name in KNOWN_ARGUMENTS if name in taken.parameters}
            taken.bind(**of_run, **{name: value for name, value in reference.items() if name not in _KEYS_OF_LINE})
        except Exception as error:  # of a module of somebody's own, too
            if is_own_bug(error):
                raise
            if isinstance(error, TypeError):
                raise ValueError(f"{key}: {target} {why_it_fails(error)}") from error
            ours = isinstance(error, ValueError) and isinstance(error.__cause__, InstantiationException)
            why = str(error) if ours else missing_module(error) or no_such_target(error)
            raise ValueError(f"{key}._target_={target}: {why}") from error
        for name, check in getattr(module, "CHECKED", {}).items():
            if name in reference:
                check(reference[name], f"{key}.{name}")


def _module(reference: Mapping[str, Any]) -> tuple[Any, str]:
    target = reference["_target_"]
    module, _, function = target.rpartition(".")
    try:
        _callable(target)
    except InstantiationException as error:
        if str(error).startswith("Target "):
            raise ValueError("Hydra does not let a configuration call it") from error
        if str(error).startswith("Expected a callable"):
            raise ValueError("must be a function") from error
    return import_module(module), function


def _callable(target: str) -> Any:
    """What a configuration names, where Hydra lets it be named, as everything else that is called: not os.system."""
    return instantiate({"_target_": target, "_partial_": True})


def _mismatch(module: Any, loss: str, activation: str, arguments: Mapping[str, Any], taken: set[str]) -> str | None:
    """Why the module's closed forms are not lines for this objective, or None where they are."""
    applies: Mapping[str, str] = getattr(module, "APPLIES", {})
    for key, value in (("loss", loss), ("activation", activation)):
        if value and applies.get(key, value) != value:
            return f"holds for {key}={applies[key]}, the run has {key}={value}"
    if "feature_decay" in taken and arguments.get("feature_decay") is None:
        return "the objective has no feature decay"
    return None


def _no_such_solution(module: Any, function: str, known: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Why the run cannot have the solution: a matrix is not trained, or a layer too narrow; None where it can."""
    if known.get("frozen"):
        return (
            f"decays every matrix, and {known['frozen']} needs no gradient, so that it is neither trained nor decayed"
        )
    least, narrowest = getattr(module, "NARROWEST", {}).get(function), known.get("narrowest")
    if least is None or narrowest is None:
        return None
    try:
        needed = least(arguments)
    except Exception:  # the line itself says what is wrong with them
        return None
    everywhere, last = needed if isinstance(needed, tuple) else (needed, needed)
    if narrowest < everywhere:
        return f"needs at least {everywhere} neurons in every layer, and one has {narrowest}"
    if (last_hidden := known.get("last_hidden", last)) < last:
        return f"needs at least {last} neurons in the last hidden layer, which has {last_hidden}"
    return None
