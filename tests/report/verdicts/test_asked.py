"""What a claim asks in one phrase for every check, and how many replicas decide: by hand, and by Wilson's interval."""

import math

import pytest

from ncbench.claims.parse import parse_claims
from ncbench.claims.types import CHECKS
from ncbench.report.statistics import wilson
from ncbench.report.verdicts import needed
from ncbench.report.verdicts.bounds import asked
from tests.helpers.stated_claims import claim, named

RANK = {"measure": "rank", "layers": ["head.3"], "stage": "pre"}
MANY = RANK | {"layers": "intermediate", "reduce_layers": "max"}
NOISE = {"axis": "noise", "threshold": 0.5}


@pytest.mark.parametrize(
    ("check", "keys", "phrase"),
    [
        ("share_below", RANK | {"below": 2.5, "at_least": 0.5}, "rank (head.3, pre) < 2.5 in at least 50 %"),
        ("share_below", {"reference": "dnc", "at_least": 0.9}, "loss < dnc in at least 90 %"),
        ("share_above", MANY | {"above": 5, "at_least": 0.9}, "max rank (intermediate, pre) > 5 in at least 90 %"),
        ("share_between", RANK | {"between": [5, 5], "at_least": 0.6}, "rank (head.3, pre) = 5 in at least 60 %"),
        (
            "share_below",
            {"below": 1, "at_least": 0.9, "where": {"width": 32}, "given": {"measure": "grad_max", "below": 1e-3}},
            "loss < 1 in at least 90 % with width=32, given grad_max < 0.001",
        ),
        (
            "share_at_levels",
            {"levels": ["dnc", "srg"], "absolute": 0.01, "stationary": 1e-6, "at_least": 0.9},
            "loss within 0.01 of dnc or srg and grad_max <= 1e-06 in at least 90 %",
        ),
        ("count", RANK | {"above": 5, "at_most": 3}, "rank (head.3, pre) > 5 in at most 3"),
        ("count", {"between": [1, 2], "at_least": 1, "at_most": 3}, "loss in 1 to 2 in at least 1 and at most 3"),
        ("value", {"statistic": "best", "relative_to": "dnc", "at_most": 0.95}, "best loss/dnc at most 0.95"),
        ("value", {"reference": "srg", "tolerance": 0.02}, "median loss within 2 % of srg"),
        ("value", {"value": 3, "absolute": 0.5}, "median loss within 0.5 of 3"),
        (
            "monotone",
            {"axis": "width", "direction": "decreasing", "at_least": 0.7},
            "rank correlation of loss along width at most -0.7",
        ),
        (
            "slope",
            {"axis": "width", "scale": "loglog", "slope": -1, "absolute": 0.2},
            "loglog slope of loss along width within 0.2 of -1",
        ),
        ("crossing", NOISE | {"value": 4, "tolerance": 0.05}, "loss crossing 0.5 along noise once, at 4 within 5 %"),
        (
            "boundary",
            NOISE | {"against": "decay", "slope": 0.5, "absolute": 0.1},
            "slope of where loss crosses 0.5 along noise against decay within 0.1 of 0.5",
        ),
        (
            "equal_ranks",
            {"layers": "intermediate", "stage": "pre", "at_least": 0.8},
            "equal rank (intermediate, pre) in at least 80 %",
        ),
        ("ordering", {"smaller": RANK, "larger": {}, "at_least": 0.9}, "rank (head.3, pre) < loss in at least 90 %"),
        (
            "ordering",
            {"smaller": {"where": {"width": 8}}, "larger": {"where": {"width": 4}}},
            "median loss with width=8, below median loss with width=4",
        ),
    ],
)
def test_every_check_is_said_with_measure_place_bound_and_share(check, keys, phrase):
    (parsed,) = parse_claims(named(claim(check, **keys))).values()
    assert asked(parsed) == phrase


def test_no_check_is_without_a_phrase():
    rows = test_every_check_is_said_with_measure_place_bound_and_share.pytestmark[0].args[1]
    assert {check for check, *_ in rows} == set(CHECKS)


@pytest.mark.parametrize(("at_least", "number"), [(0.5, 4), (0.6, 6), (0.75, 12), (0.8, 16), (0.9, 35), (0.95, 73)])
def test_so_many_replicas_of_which_none_fails_decide_and_one_less_does_not(at_least, number):
    """z^2 a / (1 - a) = 3.8415 x 9 = 34.57 at a = 0.9."""
    assert needed.replicas_for_share(1.0, at_least) == number
    assert wilson(number, number)[0] >= at_least > wilson(number - 1, number - 1)[0]


def test_the_number_for_a_share_is_where_wilsons_interval_leaves_the_threshold(mutant):
    assert needed.replicas_for_share(0.375, 0.5) == 62  # 3.8415 x 0.25 / 0.125^2 = 61.46
    assert wilson(24, 64)[1] < 0.5 < wilson(21, 56)[1]
    assert needed.replicas_for_share(0.9, 0.9) is None
    assert needed.across_share(9, 24, 0.5) == (
        "the interval reaches both sides of 50 %, about 62 replicas decide if the share stays"
    )
    assert needed.across_share(9, 10, 0.9).endswith(
        "90 %, no number of replicas decides while the share is exactly that"
    )
    wald = mutant(needed, "at_least * (1 - at_least) / (share", "share * (1 - share) / (share")
    assert wald.replicas_for_share(0.375, 0.5) != 62


@pytest.mark.parametrize(
    ("estimate", "interval", "allowed", "size", "said"),
    [
        # the end at distance 2 has to come within 1: four times as many
        (3.0, (1.0, 5.0), (2.0, None), 10, "2, about 40 replicas decide if the estimate stays"),
        (1.0, (0.0, 4.0), (2.0, None), 10, "2, about 90 replicas decide if the estimate stays"),
        # both bounds inside the interval: the nearer one decides how many
        (3.0, (1.0, 7.0), (2.0, 5.0), 10, "2 and 5, about 40 replicas decide if the estimate stays"),
        (-0.1, (-0.3, 0.1), (None, math.nextafter(0, -1)), 10, "0, about 40 replicas decide if the estimate stays"),
        (0.0, (-0.3, 0.1), (None, math.nextafter(0, -1)), 10, "0, no number of replicas decides while the estimate is"),
        (3.0, (1.0, 5.0), (2.0, None), None, "2, more places decide"),
    ],
)
def test_the_number_for_an_estimate_by_hand(estimate, interval, allowed, size, said):
    found = needed.across(estimate, interval, allowed, size)
    assert found.startswith(f"the interval reaches both sides of {said}")
