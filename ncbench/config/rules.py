"""How a configuration's rules are stated: one line, key=value and the rule that it breaks."""

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["is_int", "require", "require_decays"]


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """ValueError of one line, `key=value: rule`, unless the condition holds."""
    if not condition:
        raise ValueError(f"{key}={value}: {rule}")


def is_int(value: object) -> bool:
    """Whether a value of yaml is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_decays(key: str, value: Any) -> None:
    """One number >= 0, or a list of them."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    require(len(values) > 0, key, value, "must be a number or a list of numbers")
    for one in values:
        number = isinstance(one, (int, float)) and not isinstance(one, bool)
        require(number and math.isfinite(one) and one >= 0, key, one, "must be a number >= 0")
