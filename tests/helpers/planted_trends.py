"""For a claim along an axis, or on a boundary: made-up records in which it is true and in which it is false."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from ncbench.claims.types import Boundary, Crossing, Monotone, Slope
from tests.helpers.planted import FAILS, HOLDS, NOT_HOLDS, UNDECIDED, Of, Planted, members, placed
from tests.helpers.planted_world import STEPS, World
from tests.helpers.run_folders import LAST


def _along(
    claim: Any, value: Callable[[float, int], float], other: Callable[[float, int], float]
) -> Callable[[World], None]:
    """Values by the place on the axis and the replica; those of replicas that the claim is not about by `other`."""

    def plant(world: World) -> None:
        chosen, rest = members(claim.selection, world)
        if claim.axis == "step":
            for place, step in enumerate((*STEPS, LAST)):
                world.plant(claim.selection, {i: value(place, i) for i in chosen}, step)
                world.plant(claim.selection, {i: other(place, i) for i in rest}, step)
        elif claim.axis == "layer":
            for ids, law in ((chosen, value), (rest, other)):
                places = {i: range(len(world.layers(claim.selection, i))) for i in ids}
                world.plant_layers(claim.selection, {i: [law(p, i) for p in of] for i, of in places.items()})
        else:
            places = [point[claim.axis] for point in world.replicas]
            placed(claim.selection, lambda i: value(places[i], i), lambda i: other(places[i], i))(world)

    return plant


def monotone(claim: Monotone, world: World) -> Iterator[Planted]:
    chosen = members(claim.selection, world)[0]
    places = sorted({world.replicas[i][claim.axis] for i in chosen}) if claim.axis in world.replicas[0] else None

    def rank(place: float) -> float:
        return float(sum(place > other for other in places)) if places is not None else float(place)

    def up(place: float, i: int) -> float:
        return 1 + rank(place)

    def down(place: float, i: int) -> float:
        return 1 / (1 + rank(place))

    if claim.inside is not None:  # 0 or 1: the upper half of the places, or the lower
        assert places is not None
        half = len(places) / 2
        up, down = (lambda place, i: float(rank(place) >= half)), (lambda place, i: float(rank(place) < half))
    right, wrong = (up, down) if claim.direction == "increasing" else (down, up)
    yield Planted("in its direction", HOLDS, _along(claim, right, wrong))
    either = claim.direction == "either"
    yield Planted("in the other direction", HOLDS if either else FAILS, _along(claim, wrong, right))
    yield Planted("constant", FAILS, _along(claim, lambda place, i: 1.0, right))
    if not claim.relative_to_first and claim.inside is None:
        yield Planted("by replica alone", NOT_HOLDS, _along(claim, lambda place, i: 1.0 + i * 7 % 5, right))


def slope(claim: Slope, world: World) -> Iterator[Planted]:
    def law(slope: float) -> Callable[[float, int], float]:
        if claim.axis == "layer" or claim.scale == "linear":
            return lambda place, i: 1000 + slope * place
        if claim.scale == "semilogx":
            return lambda place, i: 1000 + slope * math.log(place or 1)
        return lambda place, i: float(place or 1) ** slope

    low, high = claim.slope - claim.absolute, claim.slope + claim.absolute
    middle, near = claim.slope, 0.05 * claim.absolute
    for slope in dict.fromkeys([middle, low + near, high - near]):
        yield Planted(f"slope {slope:.3g}", HOLDS, _along(claim, law(slope), law(high + 1)))
    for slope in dict.fromkeys([low - near, high + near, 0.0, -middle]):
        if not low <= slope <= high:
            yield Planted(f"slope {slope:.3g}", FAILS, _along(claim, law(slope), law(middle)))


def boundary(claim: Boundary, world: World) -> Iterator[Planted]:
    chosen = members(claim.selection, world)[0]
    across, against = (sorted({world.replicas[i][name] for i in chosen}) for name in (claim.axis, claim.against))
    middle, centre = math.sqrt(across[0] * across[-1]), math.sqrt(against[0] * against[-1])

    def law(power: float) -> Of:
        def value(i: int) -> float:
            crossing = middle * (world.replicas[i][claim.against] / centre) ** power
            return float(claim.threshold * (world.replicas[i][claim.axis] / crossing) ** 4)

        return value

    def crosses(power: float) -> bool:
        ends = [middle * (place / centre) ** power for place in (against[0], against[-1])]
        return across[0] < min(ends) and max(ends) < across[-1]

    low, high = claim.slope - claim.absolute, claim.slope + claim.absolute
    near = 0.1 * claim.absolute
    for power in dict.fromkeys([claim.slope, low + near, high - near]):
        if crosses(power):
            yield Planted(f"power {power:.3g}", HOLDS, placed(claim.selection, law(power), law(-power)))
    for power in dict.fromkeys([low - near, high + near, 0.0, -claim.slope]):
        if crosses(power) and not low <= power <= high:
            yield Planted(f"power {power:.3g}", FAILS, placed(claim.selection, law(power), law(claim.slope)))
    yield Planted("no crossing", UNDECIDED, placed(claim.selection, lambda i: claim.threshold / 9, law(claim.slope)))


def crossing(claim: Crossing, world: World) -> Iterator[Planted]:
    chosen = members(claim.selection, world)[0]
    places = sorted({world.replicas[i][claim.axis] for i in chosen})

    def law(at: float, power: float = 1.0) -> Of:
        return lambda i: float(claim.threshold * (world.replicas[i][claim.axis] / at) ** power)

    away = 10 * places[-1] / claim.value  # a crossing beyond the axis: none
    near = claim.value * (1 + claim.tolerance / 2), claim.value * (1 - claim.tolerance / 2)
    for at in (claim.value, *near):
        for power in (1.0, -1.0):
            yield Planted(f"at {at:.4g}", HOLDS, placed(claim.selection, law(at, power), law(claim.value * away)))
    for at in (claim.value * (1 + 2 * claim.tolerance), claim.value * (1 - 2 * claim.tolerance), claim.value * away):
        yield Planted(f"at {at:.4g}", FAILS, placed(claim.selection, law(at), law(claim.value)))

    def twice(i: int) -> float:
        middle = claim.value * (places[-1] / claim.value) ** 0.5
        place = world.replicas[i][claim.axis]
        return law(claim.value)(i) if place < middle else claim.threshold / 9

    yield Planted("there and back", FAILS, placed(claim.selection, twice, law(claim.value)))
