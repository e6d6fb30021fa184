"""Tries a claim on made-up records in which it is true and in which it is false, and says what is wrong with it."""

from ncbench.report.verdicts.judge import judge
from tests.helpers.planted import FAILS, HOLDS, NOT_HOLDS
from tests.helpers.planted_claims import records_of
from tests.helpers.planted_world import World

MOST_SEEDS, MOST_ALONG_STEPS, MOST_ALONG_REPLICAS = 64, 8, 3


def world_of(config, claim):
    """A world with as many seeds as the experiment has, up to 64; fewer for a trend, whose interval takes long."""
    if claim.check not in ("monotone", "slope", "boundary"):
        return World(config, MOST_SEEDS)
    return World(config, MOST_ALONG_STEPS if claim.axis in ("step", "layer") else MOST_ALONG_REPLICAS)


def tried(folder, claim, written, config):
    """(what was planted, outcome that it should have, outcome) of every record for a claim."""
    results = []
    world = world_of(config, claim)
    for number, planted in enumerate(records_of(claim, world)):
        world.clear()
        planted.plant(world)
        written_to = world.write(folder / str(number), {"planted": written})
        (judgement,) = judge(written_to)
        (verdict,) = judgement.verdicts
        results.append((planted.name, planted.outcome, verdict.outcome, verdict.measured))
    return results


def missed(results):
    """The records that were not judged as they should be."""
    return [result for result in results if (result[2] == HOLDS if result[1] == NOT_HOLDS else result[1] != result[2])]


def complaints(results):
    """What is wrong with a check: records misjudged, nothing that satisfies it, nothing that breaks it."""
    outcomes = {outcome for _, wished, outcome, _ in results if wished == outcome}
    lacking = [f"no record {outcome}" for outcome in (HOLDS, FAILS) if outcome not in outcomes]
    return [*missed(results), *lacking]
