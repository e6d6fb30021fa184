"""What a command line sets, as columns of the replica table."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

__all__ = ["swept_values"]

_RESERVED = ("run", "replica", "seed")  # columns of every replica table


def swept_values(overrides: Sequence[str], taken: Collection[str] = ()) -> dict[str, Any]:
    """The values given on the command line, as columns of the replica table.

    A value has the last part of its key for a name (`model.depth` -> depth), where no other key of the command line has
    it and the table has no column of that name already (`taken`: those of `seed` and `replicate`); else the whole key
    (`dataset.seed`). An interpolation is no value.
    """
    given: dict[str, Any] = {}
    parser = OverridesParser.create()
    for override in overrides:
        key, equals, text = override.lstrip("+").partition("=")
        if (
            equals
            and "${" not in text
            and not key.startswith(("~", "hydra", "replicate"))
            and key not in ("experiment", "seed")
        ):
            given[key] = parser.parse_override(f"value={text}").value()
    short = Counter(key.rsplit(".", 1)[-1] for key in given)
    columns = {key: key.rsplit(".", 1)[-1] for key in given}
    own = {*_RESERVED, *taken}
    return {name if short[name] == 1 and name not in own else key: given[key] for key, name in columns.items()}
