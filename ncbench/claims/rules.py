"""The rules of a claim's keys: the types of single keys, and what one key asks of the others.

A rule of a single key is a validator that raises ValueError with the rule. A rule between keys raises `broken`, which
names the key that breaks it. `ncbench.claims.parse` makes one line of either.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from ncbench.records.layers import LAYER_WORDS

if TYPE_CHECKING:
    from ncbench.claims.selection import Values

__all__ = [
    "LAYER_WORDS",
    "NO_LEVEL",
    "Between",
    "Layers",
    "NonNegativeInt",
    "Outcome",
    "Positive",
    "PositiveInt",
    "Share",
    "Step",
    "Text",
    "Where",
    "broken",
    "check_bounds",
    "check_layers",
    "check_one_of",
    "check_share",
    "check_values",
    "not_empty",
    "texts",
]

Outcome = Literal["holds", "fails", "undecided"]


def _whole(least: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"must be a whole number >= {least}")
        return value

    return check


def _layers(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"must be {', '.join(LAYER_WORDS)}, or a list of layer names")
    return tuple(names)


def texts(value: Any) -> Any:
    """A list of texts as a tuple; numbers, which yaml makes of some of them, as texts.

    ValueError for what is no list.
    """
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of texts")
    return tuple(str(text) for text in value)


def not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses an empty list.

    ValueError for one.
    """
    if not value:
        raise ValueError("must name at least one")
    return value


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("must be two numbers, the lower one first")
    return tuple(value)


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("must be two numbers, the lower one first")
    return value


def _step(value: Any) -> str | int:
    if value in ("first", "last"):
        return str(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("must be last, first, or a step >= 0")
    return value


def _where(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a mapping of replicated or swept names to values")
    for name, wanted in value.items():
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        scalars = all(isinstance(entry, str | int | float) for entry in values)
        if not values or not scalars:
            raise broken(name, wanted, "must be a value or a list of values")
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in values):
            raise broken(name, wanted, "must hold finite numbers")
    return dict(value)


# What a replica is that has ended at no level of the theory: `ncbench.report.end_states` says which of them.
NO_LEVEL = ("no known level", "not converged", "diverged")

Text = Annotated[str, Field(pattern=r"\S")]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, BeforeValidator(_whole(1))]
NonNegativeInt = Annotated[int, BeforeValidator(_whole(0))]
Layers = Annotated[tuple[str, ...], BeforeValidator(_layers)]
Between = Annotated[tuple[float, float], BeforeValidator(_pair), AfterValidator(_ascending)]
Step = Annotated[str | int, BeforeValidator(_step)]
Where = Annotated[dict[str, Any], BeforeValidator(_where)]


def broken(key: str, value: Any, rule: str) -> PydanticCustomError:
    """The error of a rule between keys: the key that breaks it ("" for the whole mapping), its value, the rule."""
    return PydanticCustomError("rule", "{rule}", {"key": key, "value": value, "rule": rule})


def check_one_of(what: str, values: Any, keys: tuple[str, ...]) -> None:
    """Refuses all but exactly one of these keys."""
    if sum(getattr(values, key) is not None for key in keys) != 1:
        raise broken("", None, f"{what} needs exactly one of {', '.join(keys)}")


def check_bounds(at_least: float | None, at_most: float | None) -> None:
    """Refuses bounds that no number keeps."""
    if at_least is not None and at_most is not None and at_least > at_most:
        raise broken("at_most", f"{at_most:g}", f"must not be less than at_least={at_least:g}")


def check_share(at_least: float, by: str) -> None:
    """Refuses a share or correlation of 1 that an interval would have to reach."""
    if at_least == 1 and by == "interval":
        raise broken("at_least", f"{at_least:g}", "no interval lies at 1; use by: estimate, or less than 1")


def check_values(chosen: "Values") -> None:
    """What the keys of a selection ask of each other, whatever the check."""
    if (chosen.measure == "sigma") != (chosen.index is not None):
        raise broken("index", chosen.index, "is needed by measure=sigma, and by no other")
    if not chosen.layers:
        for key in ("stage", "reduce_layers", "index", "source_layer"):
            if getattr(chosen, key) is not None:
                raise broken(key, getattr(chosen, key), "is for chosen layers; add layers")
    if chosen.source_layer is not None and chosen.index is not None:
        raise broken("source_layer", chosen.source_layer, "sigma has no source layers")
    if chosen.split == "test" and chosen.index is not None:
        raise broken("split", chosen.split, "singular values are of the training data")
    if chosen.relative_to_first:
        if chosen.step == "first":
            raise broken("relative_to_first", True, "with step: first a value is divided by itself")
        if chosen.relative_to is not None or chosen.measure.startswith("line:"):
            raise broken("relative_to_first", True, "a theory line has no first measurement; take one of the two")


def check_layers(chosen: "Values") -> None:
    """Refuses several layers or stages that nothing joins to one value."""
    if not chosen.layers or chosen.reduce_layers is not None:
        return
    (first, *more) = chosen.layers
    if more or first in LAYER_WORDS or "*" in first or chosen.stage is None:
        raise broken("reduce_layers", None, "a value is needed where several layers or stages are chosen")
