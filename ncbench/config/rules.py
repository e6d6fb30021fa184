"""How a configuration's rules are stated: one line, key=value and the rule that it breaks."""

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["is_int", "is_list", "only_with", "require", "require_decays"]


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """ValueError of one line, `key=value: rule`, unless the condition holds."""
    if not condition:
        raise ValueError(f"{key}={value}: {rule}")


def only_with(choice: str, condition: bool, key: str, value: object) -> None:
    """ValueError of one line, unless the condition holds: the value belongs to another choice of a group."""
    if not condition:
        raise ValueError(f"{key}={value} is only available with {choice}")


def is_int(value: object) -> bool:
    """Whether a value of yaml is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_list(value: object) -> bool:
    """Whether a value of yaml is a list, empty or not."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def require_decays(key: str, value: Any) -> None:
    """One number >= 0, or a list of them."""
    values = list(value) if is_list(value) else [value]
    require(len(values) > 0, key, value, "must be a number or a list of numbers")
    for decay in values:
        number = isinstance(decay, (int, float)) and not isinstance(decay, bool)
        require(number and math.isfinite(decay) and decay >= 0, key, decay, "must be a number >= 0")
