"""What lies just at the edge of a claim: one replica too few, a value that is infinite."""

import math

import pytest

from tests.helpers.stated_claims import claim, verdict


@pytest.mark.parametrize(
    ("losses", "outcome", "reason"),
    [([0.1] * 4, "holds", None), ([0.1] * 3, "undecided", "min_replicas=4, and there are 3")],
)
def test_as_many_replicas_as_are_asked_for_decide_and_one_fewer_does_not(tmp_path, losses, outcome, reason):
    found = verdict(tmp_path, claim("count", below=0.2, at_least=1, min_replicas=4), {"loss": losses})
    assert found.outcome == outcome
    assert found.evidence.get("reason") == reason


@pytest.mark.parametrize("bound", [{"above": 0.25}, {"below": 0.25}, {"between": [-1e300, 1e300]}])
def test_a_value_that_is_not_finite_is_neither_large_nor_small(tmp_path, bound):
    lost = [math.inf, -math.inf, math.nan]
    found = verdict(tmp_path, claim("count", expect="fails", at_least=1, **bound), {"loss": lost})
    assert (found.outcome, found.evidence["estimate"], found.evidence["not_finite"]) == ("fails", 0, 3)


@pytest.mark.parametrize("how", ["max", "min", "mean"])
def test_a_replica_of_which_one_layer_is_not_finite_meets_nothing(tmp_path, how):
    values = {"head.1.pre.rank": [1.0, math.nan, 1.0], "head.2.pre.rank": [1.0, 1.0, math.inf]}
    places = {"measure": "rank", "layers": ["head.1", "head.2"], "stage": "pre", "reduce_layers": how}
    found = verdict(tmp_path, claim("count", below=2.0, at_least=1, **places), values)
    assert (found.outcome, found.evidence["estimate"], found.evidence["not_finite"]) == ("holds", 1, 2)


@pytest.mark.parametrize(("losses", "outcome"), [([0.1, math.inf], "undecided"), ([0.1, 0.2], "holds")])
def test_none_beyond_a_bound_is_not_said_of_values_that_are_unknown(tmp_path, losses, outcome):
    found = verdict(tmp_path, claim("count", above=0.5, at_most=0), {"loss": losses})
    assert found.outcome == outcome
    reason = "with those that are not finite there could be more than 0" if outcome == "undecided" else None
    assert found.evidence.get("reason") == reason
    assert verdict(tmp_path, claim("count", above=0.5, at_most=1), {"loss": losses}).outcome == "holds"
