"""How selections and conditions of claims are named to a reader."""

from collections.abc import Mapping
from typing import Any

from ncbench.claims.selection import Condition, Selection

__all__ = ["describe", "describe_condition", "describe_where"]


def describe(selection: Selection) -> str:
    """A selection as a reader names it.

    >>> describe(Selection(measure="rank", layers=("intermediate",), stage="pre", reduce_layers="max"))
    'max rank (intermediate, pre)'
    """
    name = f"sigma_{selection.index}/sigma_1" if selection.index else selection.measure
    name += f"/{selection.relative_to}" if selection.relative_to else ""
    name += "/first" if selection.relative_to_first else ""
    name += f" in {selection.inside[0]:g} to {selection.inside[1]:g}" if selection.inside else ""
    places = [*selection.layers, *([selection.stage] if selection.stage else [])]
    places += [f"from {selection.source_layer}"] if selection.source_layer else []
    places += [] if selection.split == "train" else [selection.split]
    places += [] if selection.step == "last" else [f"step {selection.step}"]
    name += f" ({', '.join(places)})" if places else ""
    name = f"{selection.reduce_layers} {name}" if selection.reduce_layers else name
    return f"{name}, given {describe_condition(selection.given)}" if selection.given else name


def describe_condition(condition: Condition) -> str:
    """A condition as a reader states it: `max rank (intermediate, pre) in 5 to 5`."""
    what = describe(condition.selection)
    if condition.between is not None:
        low, high = condition.between
        return f"{what} = {low:g}" if low == high else f"{what} in {low:g} to {high:g}"
    return f"{what} < {condition.below:g}" if condition.below is not None else f"{what} > {condition.above:g}"


def describe_where(where: Mapping[str, Any]) -> str:
    """The replicas that `where` keeps, as the end of a sentence."""
    return f" with {', '.join(f'{name}={value}' for name, value in where.items())}" if where else ""
