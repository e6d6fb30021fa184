"""The claim of a boundary: crossings by hand and by a plain twin, data that break it, places without a crossing."""

import math

import numpy as np
import pytest

from ncbench.report.statistics import crossing
from ncbench.report.verdicts import boundary as boundaries
from ncbench.report.verdicts import selection
from ncbench.report.verdicts.judge import judge
from tests.helpers.ensemble_folders import grid, write_ensemble
from tests.helpers.stated_claims import claim, named

NAN = math.nan
LAMBDAS = [1e-4, 1e-3, 1e-2, 1e-1]
RATIOS = [0.5, 1.0, 2.0, 4.0]
BOUNDARY = claim("boundary", measure="tail", layers="all", stage="weight", reduce_layers="max", by="estimate")
BOUNDARY |= {"axis": "noise", "against": "weight_decay", "threshold": 0.01, "slope": 0.5, "absolute": 0.1}


def tail(point):
    """(noise / sqrt(lam))^4 1e-2: crosses 1e-2 where noise = sqrt(lam)."""
    return 1e-2 * (point["noise"] / point["weight_decay"] ** 0.5) ** 4


def judged(tmp_path, points, tails, stated=BOUNDARY):
    """The verdict where the largest tail of the layers is that of head.2."""
    values = {"head.1.weight.tail": [value / 2 for value in tails], "head.2.weight.tail": tails}
    write_ensemble(tmp_path / "run", points, values, named(stated))
    ((found,),) = (judgement.verdicts for judgement in judge(tmp_path))
    return found


def test_crossings_by_hand():
    assert crossing([1, 10], [1e-4, 1.0], 1e-2) == pytest.approx(math.sqrt(10))
    assert crossing([1, 2, 8], [5e-4, 1e-4, 1e-1], 1e-3) == pytest.approx(2 * 4 ** (1 / 3))
    assert crossing([1, 10, 100, 1000], [1.0, 1e-4, 1.0, 1e-4], 1e-2) == pytest.approx(math.sqrt(10))  # the first
    assert crossing([1, 2, 4], [1e-3, 1e-2, 1.0], 1e-2) == pytest.approx(2)
    assert crossing([1, 10], [0.0, 1e-2 * 1e14], 1e-2) == pytest.approx(math.sqrt(10))  # a zero counts as 1e-16
    assert math.isnan(crossing([1, 10], [0.02, 1.0], 1e-2))
    assert math.isnan(crossing([1.0], [0.02], 1e-2))
    assert math.isnan(crossing([], [], 1e-2))


def test_crossings_equal_a_fine_search():
    generator = np.random.default_rng(0)
    x = np.sort(generator.uniform(0.1, 10, 8))
    for _ in range(20):
        y = 10 ** generator.uniform(-6, 0, 8)
        fine = np.linspace(np.log(x[0]), np.log(x[-1]), 200_001)
        below = np.interp(fine, np.log(x), np.log(y)) < math.log(1e-3)
        changes = np.flatnonzero(below[1:] != below[:-1])
        found = crossing(list(x), list(y), 1e-3)
        if len(changes):
            assert found == pytest.approx(np.exp(fine[changes[0]]), rel=1e-4)
        else:
            assert math.isnan(found)


def test_a_boundary_of_slope_one_half(tmp_path):
    points = grid(3, weight_decay=LAMBDAS, noise_ratio=RATIOS)
    found = judged(tmp_path, points, list(map(tail, points)))
    assert (found.verdict, found.sample_size) == ("holds", 48)
    assert found.evidence["estimate"] == pytest.approx(0.5)
    assert found.evidence["decades"] == pytest.approx(3)
    assert found.evidence["places"] == [
        {"against": lam, "crossing": pytest.approx(lam**0.5), "replicas": 12} for lam in LAMBDAS
    ]
    assert found.evidence["left_out"] == []
    assert found.measured == (
        "asked slope of where max tail (all, weight) crosses 0.01 along noise against weight_decay within 0.1 of 0.5: "
        "slope of the crossing of 0.01 along noise against weight_decay 0.5; 48 replicas, 4 places over 3 decades"
    )


def test_a_boundary_of_another_slope_is_not_reproduced(tmp_path, mutant):
    points = grid(1, weight_decay=LAMBDAS, noise=[0.01 * 2**i for i in range(8)])
    found = judged(tmp_path, points, [1e-2 * (p["noise"] / 0.1) ** 4 for p in points])  # at 0.1 for every decay
    assert found.verdict == "fails"
    assert found.evidence["estimate"] == pytest.approx(0, abs=1e-12)
    points = grid(1, weight_decay=LAMBDAS, noise_ratio=RATIOS)
    found = judged(tmp_path, points, list(map(tail, points)))
    unlogged = mutant(boundaries, "(np.log(np.array([entry[name]", "((np.array([entry[name]")
    assert unlogged.boundary(found.claim, selection.Sample([tmp_path / "run"])).holds is False


def test_the_median_over_replicas_crosses_and_values_that_are_not_finite_are_counted(tmp_path, mutant):
    points = grid(3, weight_decay=LAMBDAS, noise_ratio=RATIOS)
    factors = [1, 1, 1e6]
    tails = [tail(point) * factors[i % 3] for i, point in enumerate(points)]
    found = judged(tmp_path, points, tails)
    assert found.evidence["estimate"] == pytest.approx(0.5)
    assert found.evidence["places"][0]["crossing"] == pytest.approx(0.01)
    mean = mutant(boundaries, '["value"].median()', '["value"].mean()')
    sample = selection.Sample([tmp_path / "run"])
    with pytest.raises(Exception, match="crossed along noise at 0 places"):
        mean.boundary(found.claim, sample)
    tails[:3] = [NAN, NAN, NAN]
    found = judged(tmp_path, points, tails)
    assert found.evidence["not_finite"] == 3
    assert found.measured.endswith(", 3 values not finite")
    assert found.evidence["estimate"] == pytest.approx(0.5)
    assert found.sample_size == 45


def test_places_without_a_crossing_are_left_out_and_named(tmp_path):
    points = grid(1, weight_decay=[1e-5, *LAMBDAS, 1.0, 10.0], noise_ratio=RATIOS)
    tails = [
        {1e-5: NAN, 1.0: 0.5, 10.0: 1e-5}.get(point["weight_decay"], tail(point)) for point in points
    ]  # dead, above, below
    found = judged(tmp_path, points, tails)
    assert found.verdict == "holds"
    assert found.evidence["left_out"] == [
        {"against": 1e-5, "median": "not finite"},
        {"against": 1.0, "median": "above everywhere"},
        {"against": 10.0, "median": "below everywhere"},
    ]
    assert ", none at 1e-05, 1, 10, 4 values not finite" in found.measured


def test_three_places_are_needed_and_six_for_an_interval(tmp_path, mutant):
    points = grid(1, weight_decay=LAMBDAS[:2], noise_ratio=RATIOS)
    found = judged(tmp_path, points, list(map(tail, points)))
    reason = "0.01 is crossed along noise at 2 places of weight_decay, 3 are needed"
    assert (found.verdict, found.evidence["reason"]) == ("undecided", reason)
    by_interval = BOUNDARY | {"by": "interval"}
    points = grid(1, weight_decay=LAMBDAS, noise_ratio=RATIOS)
    found = judged(tmp_path, points, list(map(tail, points)), by_interval)
    assert (found.verdict, found.evidence["reason"]) == ("undecided", "no interval from fewer than 6 places")
    points = grid(1, weight_decay=[1e-6, 1e-5, *LAMBDAS], noise_ratio=RATIOS)
    found = judged(tmp_path, points, list(map(tail, points)), by_interval)
    assert (found.verdict, found.evidence["low"]) == ("holds", pytest.approx(0.5))
    # one place off by a factor of 30: the slope with it and without it differ
    wide = grid(1, weight_decay=[1e-6, 1e-5, *LAMBDAS], noise_ratio=[*RATIOS, 60.0])
    tails = [tail(p) / (30.0**4 if p["weight_decay"] == 1e-6 else 1) for p in wide]
    found = judged(tmp_path, wide, tails, by_interval)
    assert found.verdict == "undecided"
    assert found.evidence["reason"] == "the interval reaches both sides of 0.4, more places decide"
    assert found.evidence["low"] < 0.35 < 0.5 <= found.evidence["high"] + 1e-9
    certain = mutant(boundaries, "_slopes(x[draws], y[draws])", "_slopes(x[draws] * 0 + x, y[draws] * 0 + y)")
    assert (
        certain.boundary(found.claim, selection.Sample([tmp_path / "run"])).holds is False
    )  # as if there were no doubt


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"axis": "width"},
            "width is neither replicated nor swept in these runs (they have: seed, weight_decay, noise)",
        ),
        (
            {"against": "width"},
            "width is neither replicated nor swept in these runs (they have: seed, weight_decay, noise)",
        ),
        ({"where": {"noise": 0}}, "axis=noise: no place for values that are not positive"),
        ({"measure": "nothing"}, "max nothing (all, weight) is not recorded in run run"),
    ],
)
def test_what_is_missing_is_said(tmp_path, change, reason):
    points = grid(1, weight_decay=LAMBDAS, noise=[0.0, 0.1])
    found = judged(tmp_path, points, [0.1] * 8, BOUNDARY | change)
    assert (found.verdict, found.evidence["reason"]) == ("undecided", reason)
