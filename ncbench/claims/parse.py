"""The keys of a claim one by one: what type and range each has, and the one-line error where it has not."""

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

__all__ = ["LAYER_WORDS", "READERS", "VERDICTS", "Keys", "near", "refuse", "whole"]

VERDICTS = ("reproduced", "conditional", "not reproduced", "not enough data")
LAYER_WORDS = ("intermediate", "inner", "head", "all")

Reader = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Keys:
    """The keys of a check: needed, exactly one of each group in `one_of`, and those it takes besides."""

    needs: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    takes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every key."""
        return (*self.needs, *(key for group in self.one_of for key in group), *self.takes)


def refuse(key: str, value: Any, rule: str) -> NoReturn:
    """ValueError of one line: key, value, rule."""
    raise ValueError(f"{key}={' '.join(str(value).split())}: {rule}")


def near(name: Any, known: Collection[str], prefix: str = "") -> str:
    """A hint for a misspelt name.

    >>> near("shar_below", ["share_below", "slope"])
    '(did you mean share_below?)'
    """
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"(did you mean {prefix}{found[0]}?)" if found else f"(known: {', '.join(known)})"


def number(key: str, value: Any) -> float:
    """A finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        refuse(key, value, "must be a number")
    return float(value)


def _positive(key: str, value: Any) -> float:
    if number(key, value) <= 0:
        refuse(key, value, "must be > 0")
    return float(value)


def whole(least: int) -> Reader:
    """A reader of whole numbers from `least` on."""

    def read(key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            refuse(key, value, f"must be a whole number >= {least}")
        return value

    return read


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        refuse(key, value, "must be a text")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        refuse(key, value, "must be true or false")
    return value


def _one_of(*known: str) -> Reader:
    def read(key: str, value: Any) -> str:
        if value not in known:
            refuse(key, value, f"must be one of {', '.join(known)}")
        return str(value)

    return read


def _or_null(reader: Reader) -> Reader:
    return lambda key, value: None if value is None else reader(key, value)


def _layers(key: str, value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, list | tuple) and len(names) > 0 and all(isinstance(n, str) and n for n in names)
    if not good:
        refuse(key, value, f"must be {', '.join(LAYER_WORDS)}, or a list of layer names")
    return tuple(names)


def _between(key: str, value: Any) -> tuple[float, float]:
    if not (isinstance(value, list | tuple) and len(value) == 2):
        refuse(key, value, "must be two numbers, the lower one first")
    low, high = (number(key, one) for one in value)
    if low > high:
        refuse(key, value, "must be two numbers, the lower one first")
    return low, high


def _at(key: str, value: Any) -> str | int:
    return value if value in ("first", "last") else _step(key, value)


def _step(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        refuse(key, value, "must be last, first, or a step >= 0")
    return value


def _where(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        refuse(key, value, "must be a mapping of replicated or swept names to values")
    for name, one in value.items():
        if isinstance(one, Mapping) or one == [] or not isinstance(name, str):
            refuse(f"{key}.{name}", one, "must be a value or a list of values")
    return dict(value)


READERS: dict[str, Reader] = {
    "says": _text,
    "expect": _one_of(*VERDICTS),
    "measure": _text,
    "index": whole(1),
    "layers": _layers,
    "stage": _or_null(_one_of("pre", "post", "weight")),
    "split": _one_of("train", "test"),
    "at": _at,
    "over_layers": _one_of("max", "min", "mean"),
    "where": _where,
    "relative_to": _text,
    "relative_to_first": _flag,
    "source": _text,
    "reference": _text,
    "below": number,
    "above": number,
    "between": _between,
    "at_least": number,
    "at_most": number,
    "value": number,
    "tolerance": _positive,
    "absolute": _positive,
    "statistic": _one_of("median", "mean", "min", "max", "best"),
    "axis": _text,
    "direction": _one_of("increasing", "decreasing"),
    "slope": number,
    "scale": _one_of("loglog", "semilogx", "linear"),
    "threshold": _positive,
    "against": _text,
    "by": _one_of("interval", "estimate"),
    "min_replicas": whole(1),
}
