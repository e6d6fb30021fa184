"""Values of the replicas that a claim is about, and of those that it is not; the outcomes that records have to have."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.helpers.planted_world import World

HOLDS, FAILS, UNDECIDED, NOT_HOLDS = "holds", "fails", "undecided", "not holds"
Of = Callable[[int], float]  # replica -> value


class Planted(NamedTuple):
    """A record: what it is, the outcome that it has to have, and what writes its values into a world."""

    name: str
    outcome: str
    plant: Callable[[World], None]


def members(selection: Any, world: World) -> tuple[list[int], list[int]]:
    """The replicas that a selection is about, and the others; some of `where` do not meet a condition `given`."""
    chosen = world.chosen(selection.where)
    if getattr(selection, "given", None) is not None and len(chosen) >= 24:
        chosen = [i for place, i in enumerate(chosen) if place % 4 != 3]
    return chosen, [i for i in range(len(world.replicas)) if i not in set(chosen)]


def placed(selection: Any, values: Of, others: Of) -> Callable[[World], None]:
    """Values of the replicas that a selection is about, and those of all others."""

    def plant(world: World) -> None:
        chosen, rest = members(selection, world)
        given = getattr(selection, "given", None)
        if given is not None:
            world.meet(given, chosen, met=True)
            world.meet(given, [i for i in rest if recorded(given, world, i)], met=False)
        world.plant(selection, {i: values(i) for i in chosen})
        world.plant(selection, {i: others(i) for i in rest if recorded(selection, world, i)})

    return plant


def recorded(selection: Any, world: World, replica: int) -> bool:
    return not selection.layers or bool(world.layers(selection, replica))
