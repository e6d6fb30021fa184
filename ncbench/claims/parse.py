"""From `claims:` of yaml to typed claims, with one line per mistake: `claims.below_dnc.at_least=2: must be ...`."""

import difflib
import functools
import operator
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NoReturn, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ncbench.claims.types import CHECKS, Claim

__all__ = ["near", "parse_claims", "refuse"]

_union: Any = functools.reduce(operator.or_, CHECKS.values())
_CLAIM: TypeAdapter[Claim] = TypeAdapter(Annotated[_union, Field(discriminator="check")])
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RULES = {
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "string_pattern_mismatch": "must be a text",
}
_BEFORE_0_2 = (
    "claims: a list was the form before version 0.2, now every claim has a name; running the same command again brings "
    "the claims of a run folder up to date"
)


def parse_claims(claims: Any) -> dict[str, Claim]:
    """The claims of an experiment by their names; null, for all of them or for one, is none.

    Raises ValueError of one line (key, value, rule) where one is wrong.
    """
    if isinstance(claims, list | tuple):
        raise ValueError(_BEFORE_0_2)
    if claims is None:
        return {}
    if not isinstance(claims, Mapping):
        refuse("claims", claims, "must be a mapping of names to claims")
    return {name: _claim(name, written) for name, written in claims.items() if written is not None}


def refuse(key: str, value: Any, rule: str) -> NoReturn:
    """ValueError of one line: key, value, rule."""
    raise ValueError(f"{key}={' '.join(str(value).split())}: {rule}")


def near(name: Any, known: Collection[str]) -> str:
    """A hint for a misspelt name.

    >>> near("shar_below", ["share_below", "slope"])
    '(did you mean share_below?)'
    """
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f"(did you mean {matches[0]}?)" if matches else f"(known: {', '.join(known)})"


def _claim(name: Any, written: Any) -> Claim:
    prefix = f"claims.{name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        refuse(prefix, written, "a claim's name has lower-case letters, digits and underscores, as in below_dnc")
    if not isinstance(written, Mapping):
        refuse(prefix, written, "must be a mapping of keys")
    try:
        return _CLAIM.validate_python(_without_nulls(written))
    except ValidationError as error:
        # A misspelt key is the cause of the one that is missing beside it.
        (first, *_) = sorted(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", e["type"] != "missing"))
        raise ValueError(_line(prefix, dict(first))) from None


def _without_nulls(written: Mapping[Any, Any]) -> dict[Any, Any]:
    """The keys that are set: null takes back what was inherited, in a nested mapping too."""
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in written.items()
        if value is not None
    }


def _line(prefix: str, error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as one line."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "union_tag_not_found":
        return f"{prefix}.check: a value is needed; one of {', '.join(CHECKS)}"
    if kind == "union_tag_invalid":
        check = error["input"]["check"]
        return f"{prefix}.check={check}: unknown check {near(check, CHECKS)}"
    check, *place = error["loc"]
    key = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    value = " ".join(str(error["input"]).split())
    if kind == "rule":
        if not context["key"]:
            return f"{key}: {context['rule']}"
        return f"{key}.{context['key']}={' '.join(str(context['value']).split())}: {context['rule']}"
    owner = str(place[-2]) if len(place) > 1 else str(check)
    if kind == "missing":
        return f"{key}: a value is needed by {owner}"
    if kind == "extra_forbidden":
        return f"{key}={value}: {owner} takes no such key {near(place[-1], _keys(CHECKS[str(check)], place[:-1]))}"
    return f"{key}={value}: {_rule(kind, context)}"


def _rule(kind: str, context: Mapping[str, Any]) -> str:
    """What a value has to be."""
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be one of {str(context['expected']).replace(' or ', ', ')}".replace("'", "")
    if kind in ("greater_than_equal", "less_than_equal"):
        return "must be in [0, 1]"
    if kind == "greater_than":
        return f"must be > {context['gt']:g}"
    return _RULES.get(kind, "must be a mapping of keys")


def _keys(model: type[BaseModel], place: list[Any]) -> list[str]:
    """The keys of the mapping at a place inside a claim."""
    for part in place:
        annotation = model.model_fields[part].annotation
        kinds = (annotation, *get_args(annotation))
        (model,) = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
