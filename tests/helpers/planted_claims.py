"""For a claim: made-up records in which it is true and in which it is false, each check's rule turned round.

Every function yields (what is planted, the outcome that it has to have, the values): outcomes are worked out from the
claim's keys here, Wilson's interval by its formula, and not by the checks that they try.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ncbench.claims.types import (
    Boundary,
    Claim,
    Count,
    Crossing,
    EqualRanks,
    Monotone,
    Ordering,
    ShareAbove,
    ShareAtLevels,
    ShareBelow,
    ShareBetween,
    Slope,
    Value,
)
from tests.helpers.planted import FAILS, HOLDS, UNDECIDED, Of, Planted, members, placed
from tests.helpers.planted_trends import boundary, crossing, monotone, slope
from tests.helpers.planted_world import World, less, more


def records_of(claim: Claim, world: World) -> Iterator[Planted]:
    """The records for a claim of an experiment with the replicas of this world."""
    kind = type(claim)
    yield from _RECORDS[kind](claim, world)


def wilson(hits: int, size: int) -> tuple[float, float]:
    """(p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), p = hits/n."""
    z, p = 1.959963984540054, hits / size
    middle, half = p + z * z / (2 * size), z * math.sqrt(p * (1 - p) / size + z * z / (4 * size * size))
    return (middle - half) / (1 + z * z / size), (middle + half) / (1 + z * z / size)


def outcome_of_share(hits: int, size: int, at_least: float, by: str) -> str:
    """What so many hits among so many replicas say."""
    low, high = wilson(hits, size) if by == "interval" else (hits / size, hits / size)
    return HOLDS if low >= at_least else FAILS if high < at_least else UNDECIDED


def _cycle(values: Sequence[float]) -> Of:
    return lambda i: values[i % len(values)]


def _shares(claim: Any, world: World, chosen: list[int], mixed: Callable[[set[int]], Any]) -> Iterator[Planted]:
    """Records with as many hits as decide it just so: `mixed` plants them for a set of replicas that hit."""
    size = len(chosen)
    outcomes = [outcome_of_share(hits, size, claim.at_least, claim.by) for hits in range(size + 1)]
    wanted = {size: "all", 0: "none"}
    for outcome, pick, name in ((HOLDS, min, "just enough"), (FAILS, max, "just too few"), (UNDECIDED, max, "between")):
        hits = [number for number, found in enumerate(outcomes) if found == outcome]
        if hits:
            wanted.setdefault(pick(hits), name)
    for hits, name in wanted.items():
        turned = chosen[size // 3 :] + chosen[: size // 3]
        yield Planted(f"{name}: {hits} of {size}", outcomes[hits], mixed(set(turned[:hits])))


def _beyond(claim: Any, world: World) -> Iterator[Planted]:
    below = isinstance(claim, ShareBelow)
    number = claim.below if isinstance(claim, ShareBelow) else claim.above

    def bound(i: int) -> float:
        return world.line(claim.reference, i) if claim.reference else number

    def good(i: int) -> float:
        return less(bound(i)) if below else more(bound(i))

    def bad(i: int) -> float:
        return more(bound(i)) if below else less(bound(i))

    yield from _hits(claim, world, good, bad)
    if claim.relative_to is None and claim.reduce_layers != "mean" and not claim.relative_to_first:
        yield Planted("on the bound", FAILS, placed(claim.selection, bound, good))


def _between(claim: ShareBetween, world: World) -> Iterator[Planted]:
    low, high = claim.between
    inside = min(1e-6 * max(1.0, abs(low)), (high - low) / 4)
    good, bad = _cycle([low + inside, (low + high) / 2, high - inside]), _cycle([less(low), more(high)])
    yield from _hits(claim, world, good, bad)
    for name, side in (("all below", less(low)), ("all above", more(high))):
        yield Planted(name, FAILS, placed(claim.selection, _cycle([side]), good))


def _at_levels(claim: ShareAtLevels, world: World) -> Iterator[Planted]:
    """Losses at the levels in turn; those that miss are away from all of them, or still have a gradient."""
    chosen, gradient = members(claim.selection, world)[0], claim.selection.model_copy(update={"measure": "grad_max"})

    def level(i: int) -> float:
        return world.line(claim.levels[i % len(claim.levels)], i)

    def mixed(hits: set[int], moving: bool) -> Callable[[World], None]:
        def plant(of: World) -> None:
            near, far = 0.9 * claim.absolute, 2 * max(abs(level(i)) for i in chosen)
            placed(claim.selection, lambda i: level(i) + near if i in hits or moving else far, level)(of)
            still = less(claim.stationary)
            falling = more(claim.stationary) if moving else still
            placed(gradient, lambda i: still if i in hits else falling, lambda i: still)(of)

        return plant

    for moving in (False, True):
        yield from _shares(claim, world, chosen, lambda hits, moving=moving: mixed(hits, moving))


def _hits(claim: Any, world: World, good: Of, bad: Of) -> Iterator[Planted]:
    def mixed(hits: set[int]) -> Callable[[World], None]:
        others = good if not hits else bad
        return placed(claim.selection, lambda i: good(i) if i in hits else bad(i), others)

    yield from _shares(claim, world, members(claim.selection, world)[0], mixed)


def _equal_ranks(claim: EqualRanks, world: World) -> Iterator[Planted]:
    chosen = world.chosen(claim.where)

    def mixed(hits: set[int]) -> Callable[[World], None]:
        def plant(of: World) -> None:
            for i in range(len(of.replicas)):
                count = len(of.layers(claim, i))
                differing = [5.0 + (place == i % count) for place in range(count)]
                of.plant_layers(claim, {i: [5.0] * count if i in hits or (i not in chosen and not hits) else differing})

        return plant

    yield from _shares(claim, world, chosen, mixed)


def _count(claim: Count, world: World) -> Iterator[Planted]:
    chosen = members(claim.selection, world)[0]
    if claim.between is not None:
        low, high = claim.between
        good, bad = _cycle([(low + high) / 2]), _cycle([less(low), more(high)])
    else:
        bound = claim.below if claim.below is not None else claim.above
        assert bound is not None
        sides = [less(bound), more(bound)] if claim.below is not None else [more(bound), less(bound)]
        good, bad = _cycle(sides[:1]), _cycle(sides[1:])
    least, most = claim.at_least or 0, len(chosen) if claim.at_most is None else claim.at_most
    wanted = {least: HOLDS, most: HOLDS, least - 1: FAILS, most + 1: FAILS, 0: HOLDS if least == 0 else FAILS}
    for hits, outcome in wanted.items():
        if 0 <= hits <= len(chosen):
            turned = set((chosen[len(chosen) // 3 :] + chosen[: len(chosen) // 3])[:hits])
            others = bad if outcome == HOLDS else good
            plant = placed(claim.selection, lambda i, turned=turned: good(i) if i in turned else bad(i), others)
            yield Planted(f"{hits} of {len(chosen)}", outcome, plant)


def _value(claim: Value, world: World) -> Iterator[Planted]:
    chosen = members(claim.selection, world)[0]
    target = claim.value
    if claim.reference is not None:
        world.same.add(claim.reference)
        target = world.line(claim.reference, 0)
    low, high = claim.at_least, claim.at_most
    if target is not None:
        width = claim.absolute if claim.tolerance is None else claim.tolerance * abs(target)
        assert width is not None
        low, high = target - width, target + width
    inside = (
        [less(high)] if low is None and high is not None else [more(low)] if high is None and low is not None else []
    )
    inside = inside or [
        (low + high) / 2,
        less(high) if less(high) > low else high,
        more(low) if more(low) < high else low,
    ]
    outside = [
        *([("above", more(high))] if high is not None else []),
        *([("below", less(low))] if low is not None else []),
    ]
    if claim.inside is not None:  # a share, of ones and zeros
        assert high is None
        inside, outside = [1.0], [("below", 0.0)]
    (good, *_) = inside
    for name, number in [("inside", value) for value in inside] + outside:
        outcome, other = (HOLDS, outside[0][1]) if name == "inside" else (FAILS, good)
        if claim.statistic == "best":
            yield Planted(f"the best {name}", outcome, _best(claim, chosen[len(chosen) // 2], number, other))
        elif (claim.statistic, name) in (("max", "above"), ("min", "below")):
            one = chosen[len(chosen) // 2]
            values = lambda i, one=one, number=number: number if i == one else good  # noqa: E731
            yield Planted(f"one of all {name}", outcome, placed(claim.selection, values, _cycle([good])))
        else:
            yield Planted(f"all {name}", outcome, placed(claim.selection, _cycle([number]), _cycle([other])))


def _best(claim: Value, best: int, value: float, other: float) -> Callable[[World], None]:
    of_loss = claim.measure == "loss" and not claim.layers
    away = 3 * max(value, other) if of_loss else other

    def plant(world: World) -> None:
        placed(claim.selection, lambda i: value if i == best else away, _cycle([3 * away if of_loss else other]))(world)
        if not of_loss:
            loss = claim.selection.model_copy(update={"measure": "loss", "layers": (), "stage": None, "given": None})
            plain = {
                "reduce_layers": None,
                "relative_to": None,
                "relative_to_first": False,
                "index": None,
                "step": "last",
            }
            everyone = range(len(world.replicas))
            world.plant(loss.model_copy(update=plain), {i: 0.1 if i == best else 0.2 for i in everyone})

    return plant


def _ordering(claim: Ordering, world: World) -> Iterator[Planted]:
    small, large = claim.smaller, claim.larger
    if claim.at_least is None:
        yield from _groups(claim, world)
        return
    one, two = _cycle([1.0]), _cycle([1.02])

    def mixed(hits: set[int]) -> Callable[[World], None]:
        def plant(of: World) -> None:
            placed(small, lambda i: 1.0 if i in hits else 1.02, two if hits else one)(of)
            placed(large, lambda i: 1.02 if i in hits else 1.0, one if hits else two)(of)

        return plant

    def equal(of: World) -> None:
        placed(small, one, one)(of)
        placed(large, one, two)(of)

    yield from _shares(claim, world, members(small, world)[0], mixed)
    if not (small.relative_to or large.relative_to or "mean" in (small.reduce_layers, large.reduce_layers)):
        yield Planted("equal", FAILS, equal)


def _groups(claim: Ordering, world: World) -> Iterator[Planted]:
    """Groups by `where`, or by a condition: then every second replica is in one of them."""
    sides = [world.chosen(side.where) for side in (claim.smaller, claim.larger)]
    if set(sides[0]) & set(sides[1]):
        sides = [ids[place::2] for place, ids in enumerate(sides)]
    for name, outcome, numbers in (
        ("in order", HOLDS, (1.0, 1.02)),
        ("swapped", FAILS, (1.02, 1.0)),
        ("equal", FAILS, (1.0, 1.0)),
    ):

        def plant(of: World, numbers: tuple[float, float] = numbers) -> None:
            for side, ids, number in zip((claim.smaller, claim.larger), sides, numbers, strict=True):
                if side.given is not None:
                    of.meet(side.given, ids, met=True)
                of.plant(side, dict.fromkeys(ids, number))

        yield Planted(name, outcome, plant)


_RECORDS: dict[type[Claim], Callable[[Any, World], Iterator[Planted]]] = {
    ShareBelow: _beyond,
    ShareAbove: _beyond,
    ShareBetween: _between,
    EqualRanks: _equal_ranks,
    Count: _count,
    Value: _value,
    Monotone: monotone,
    Slope: slope,
    Boundary: boundary,
    Crossing: crossing,
    ShareAtLevels: _at_levels,
    Ordering: _ordering,
}
