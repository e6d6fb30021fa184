"""Every check holds, breaks on data that break it, and says when data are too few; planted bugs are seen."""

import math

import pytest

from ncbench.report.verdicts import checks, layers, selection, trends
from ncbench.report.verdicts import decide as findings
from ncbench.report.verdicts.judge import judge
from tests.helpers.run_folders import write_values
from tests.helpers.stated_claims import BELOW, EQUAL, MONOTONE, claim, named, verdict

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "expected", "low"),
    [
        ([0.1] * 64, "holds", 0.9434),
        ([0.1] * 61 + [0.3] * 3, "undecided", 0.8710),  # 0.9 lies inside 0.8710 ... 0.9839
        ([0.1] * 32 + [0.3] * 32, "fails", 0.3810),
        ([0.2] * 64, "fails", 0.0),  # on the line is not below it
        ([0.1] * 50 + [NAN] * 10 + [-INF] * 4, "fails", 0.6657),
    ],
)
def test_share_below_a_theory_line(tmp_path, losses, expected, low):
    found = verdict(tmp_path, BELOW, {"loss": losses}, lines={"dnc": 0.2})
    assert found.verdict == expected
    assert found.sample_size == 64
    assert found.evidence["low"] == pytest.approx(low, abs=5e-5)
    assert found.evidence["not_finite"] == sum(not math.isfinite(loss) for loss in losses)


def test_a_share_is_said_in_one_line_with_those_that_fail(tmp_path):
    found = verdict(tmp_path, BELOW, {"loss": [0.1] * 61 + [0.3, 0.4, NAN]}, lines={"dnc": 0.2})
    text = "61 of 64 replicas (95.3 %; 95 % interval 87.1 to 98.4 %), 1 not finite"
    more = "the interval reaches both sides of 90 %, about 123 replicas decide if the share stays"
    assert found.measured == f"asked loss < dnc in at least 90 %: {text}; {more}"
    assert found.evidence["failing"] == [
        {"run": "run", "replica": 61, "value": 0.3},
        {"run": "run", "replica": 62, "value": 0.4},
        {"run": "run", "replica": 63, "value": "nan"},
    ]
    by_estimate = verdict(tmp_path, BELOW | {"by": "estimate"}, {"loss": [0.1] * 61 + [0.3] * 3}, lines={"dnc": 0.2})
    assert by_estimate.verdict == "holds"
    assert by_estimate.agrees


def test_of_one_network_the_number_is_said(tmp_path):
    found = verdict(tmp_path, BELOW | {"expect": "undecided"}, {"loss": [0.1765]}, lines={"dnc": 0.16998})
    text = "0.1765 against 0.16998; 0 of 1 replica (0 %; 95 % interval 0 to 79.3 %)"
    assert found.measured == f"asked loss < dnc in at least 90 %: {text}"


def test_each_replica_is_compared_with_its_own_line(tmp_path):
    lines = {"dnc": [0.1] * 20 + [0.4] * 20}
    values = {"loss": [0.2] * 20 + [0.3] * 20}
    assert verdict(tmp_path, BELOW, values, lines=lines).evidence["hits"] == 20
    relative = claim("share_below", relative_to="dnc", below=1, at_least=0.4, by="estimate")
    assert verdict(tmp_path, relative, values, lines=lines).verdict == "holds"
    median = claim("value", reference="dnc", tolerance=0.1)
    assert "dnc differs between replicas" in verdict(tmp_path, median, values, lines=lines).evidence["reason"]


@pytest.mark.parametrize(
    ("check", "keys", "hits"),
    [
        ("share_above", {"above": 5}, 2),
        ("share_between", {"between": [5, 6]}, 3),  # both ends included
        ("share_below", {"below": 6}, 2),
    ],
)
def test_shares_of_the_extreme_of_layers(tmp_path, check, keys, hits):
    values = {"head.1.pre.rank": [5, 4, 6, 5, NAN], "head.2.pre.rank": [5, 5, 5, 7, 5], "head.2.post.rank": [10] * 5}
    values["head.3.pre.rank"] = [10] * 5
    ranks = {"measure": "rank", "layers": "intermediate", "stage": "pre", "reduce_layers": "max"}
    found = verdict(tmp_path, claim(check, at_least=0.4, by="estimate", **ranks, **keys), values)
    assert found.evidence["hits"] == hits
    assert found.verdict == "holds"
    tighter = claim(check, at_least=0.7, by="estimate", **ranks, **keys)
    assert verdict(tmp_path, tighter, values).verdict == "fails"


def test_a_planted_bug_in_shares_is_seen(tmp_path, mutant):
    write_values(tmp_path / "run", {"loss": [0.1, NAN]}, {})
    sample = selection.Sample([tmp_path / "run"])
    table = sample.values(selection.Selection())
    assert layers.within(table["value"], below=1).tolist() == [True, False]
    lenient = mutant(layers, "(values >= between[0]) & (values <= between[1])", "(values > between[0])")
    assert not lenient.within(table["value"], between=(0.1, 0.1)).any()
    assert layers.within(table["value"], between=(0.1, 0.1)).tolist() == [True, False]
    swapped = mutant(
        checks, 'within(table["value"], below=bound) if below', 'within(table["value"], above=bound) if below'
    )
    write_values(tmp_path / "run", {"loss": [0.1] * 4}, named(BELOW), lines={"dnc": 0.2})
    ((found,),) = (one.verdicts for one in judge(tmp_path))
    assert (found.evidence["hits"], swapped.share_beyond(found.claim, selection.Sample([tmp_path / "run"])).holds) == (
        4,
        False,
    )


SEVEN = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98]  # median 1, mean 1


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (SEVEN, {"value": 1, "tolerance": 0.1}, "holds"),
        (SEVEN, {"value": 2, "tolerance": 0.1}, "fails"),
        (SEVEN, {"value": 1, "tolerance": 0.01}, "undecided"),  # the interval is wider than the tolerance
        (SEVEN, {"value": 1, "tolerance": 0.01, "by": "estimate"}, "holds"),
        (SEVEN, {"value": 0.5, "absolute": 0.6}, "holds"),
        (SEVEN, {"at_most": 1.2, "at_least": 0.8}, "holds"),
        (SEVEN, {"at_most": 0.8}, "fails"),
        (SEVEN[:3], {"value": 1, "tolerance": 0.5}, "undecided"),
        (SEVEN[:3], {"value": 1, "tolerance": 0.5, "by": "estimate"}, "holds"),
        (SEVEN, {"statistic": "max", "at_most": 1.1}, "holds"),
        (SEVEN, {"statistic": "max", "at_most": 1.09}, "fails"),
        (SEVEN, {"statistic": "min", "value": 0.9, "tolerance": 0.001}, "holds"),
        ([*SEVEN, NAN], {"statistic": "max", "at_most": 2}, "undecided"),
        ([*SEVEN, NAN], {"value": 1, "tolerance": 0.1}, "holds"),
        ([*SEVEN, INF], {"statistic": "mean", "value": 1, "tolerance": 0.1}, "undecided"),
        ([NAN] * 7, {"value": 1, "tolerance": 0.1}, "undecided"),
        (SEVEN, {"value": 1, "tolerance": 0.1, "min_replicas": 8}, "undecided"),
        ([*SEVEN, NAN], {"value": 1, "tolerance": 0.1, "min_replicas": 8}, "undecided"),  # seven decide it
        (SEVEN, {"statistic": "mean", "inside": [0, 2], "at_least": 0.6}, "holds"),  # 7 of 7: Wilson's low end is 0.646
        (SEVEN, {"statistic": "mean", "inside": [0, 2], "at_least": 0.7}, "undecided"),
        (SEVEN, {"statistic": "mean", "inside": [2, 3], "at_most": 0.3}, "undecided"),  # 0 of 7: up to 0.354
        (SEVEN, {"statistic": "mean", "inside": [2, 3], "at_most": 0.4}, "holds"),
        (SEVEN, {"statistic": "mean", "inside": [0, 2], "at_least": 0.7, "by": "estimate"}, "holds"),
    ],
)
def test_value(tmp_path, values, keys, expected):
    assert verdict(tmp_path, claim("value", **keys), {"loss": values}).verdict == expected


def test_a_share_says_how_many_replicas_would_decide_it_as_the_checks_of_shares_do(tmp_path):
    keys = {"inside": [0, 2], "at_least": 0.9}
    mean = verdict(tmp_path, claim("value", statistic="mean", **keys), {"loss": SEVEN})
    share = verdict(tmp_path, claim("share_between", between=[0, 2], at_least=0.9), {"loss": SEVEN})
    ends = [[found.evidence[name] for name in ("estimate", "low", "high", "reason")] for found in (mean, share)]
    assert ends[0] == ends[1]
    assert ends[0][3].endswith("about 35 replicas decide if the share stays")


def test_value_of_the_best_replica(tmp_path):
    values = {"loss": [0.3, 0.1, NAN], "head.1.pre.dnc1": [1.0, 2.0, 0.0]}
    spectra = {"head.1.pre": [[4.0, 1.0, 1.0], [4.0, 2.0, 1.0], [0.0, 0.0, 0.0]]}
    best = {"statistic": "best", "layers": ["head.1"], "stage": "pre"}
    found = verdict(tmp_path, claim("value", measure="dnc1", value=2, tolerance=0.01, **best), values)
    assert (found.verdict, found.evidence["replica"]) == ("holds", 1)
    sigma = claim("value", measure="sigma", index=2, value=0.5, tolerance=0.01, **best)
    assert verdict(tmp_path, sigma, values, spectra=spectra).verdict == "holds"
    third = claim("value", measure="sigma", index=3, value=0.5, tolerance=0.01, **best)
    found = verdict(tmp_path, third, values, spectra=spectra)
    assert (found.verdict, found.evidence["estimate"]) == ("fails", 0.25)
    values["head.1.pre.dnc1"][1] = NAN  # another replica's is not that of the lowest loss
    found = verdict(tmp_path, claim("value", measure="dnc1", value=1, tolerance=0.01, **best), values)
    assert found.evidence["reason"] == "replica 1 of run run has the lowest loss and no finite value"
    fifth = claim("value", measure="sigma", index=5, value=0.5, tolerance=0.01, **best)
    assert verdict(tmp_path, fifth, values, spectra=spectra).verdict == "undecided"


def test_planted_bugs_in_value_are_seen(tmp_path, mutant):
    stated = claim("value", statistic="best", reference="srg", tolerance=0.02)
    found = verdict(tmp_path, stated, {"loss": [0.5, 0.1]}, lines={"srg": 0.1})
    assert found.verdict == "holds"
    sample = selection.Sample([tmp_path / "run"])
    assert mutant(checks, ".argmin()", ".argmax()").value(found.claim, sample).holds is False
    wrong = verdict(tmp_path, stated, {"loss": [0.5, 0.11]}, lines={"srg": 0.1})
    assert wrong.verdict == "fails"
    sample = selection.Sample([tmp_path / "run"])
    absolute = mutant(checks, "abs(target) * claim.tolerance", "claim.tolerance")
    assert absolute.value(wrong.claim, sample).holds is True


def sweep(decays, seeds):
    return [{"weight_decay": decay} for decay in decays for _ in range(seeds)]


@pytest.mark.parametrize(
    ("losses", "keys", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], {}, "holds"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], {"direction": "decreasing"}, "fails"),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], {"direction": "decreasing"}, "holds"),
        ([7, 8, 9, 1, 2, 3, 4, 5, 6], {"at_least": 0.95}, "fails"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], {}, "fails"),
        ([1, 2, 3, 4, 9, 6, 7, 8, 5], {}, "undecided"),
        ([1, 2, 3, 4, 5, 6, NAN, NAN, NAN], {}, "undecided"),  # two places are left
    ],
)
def test_monotone_along_a_swept_value(tmp_path, losses, keys, expected):
    decays = sweep([1e-3, 2e-3, 4e-3], 3)
    assert verdict(tmp_path, MONOTONE | keys, {"loss": losses}, swept=decays).verdict == expected


def test_monotone_says_its_places(tmp_path):
    found = verdict(tmp_path, MONOTONE, {"loss": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, swept=sweep([1e-3, 2e-3, 4e-3], 3))
    assert found.evidence["places"] == [
        {"axis": 0.001, "median": 2.0, "replicas": 3},
        {"axis": 0.002, "median": 5.0, "replicas": 3},
        {"axis": 0.004, "median": 8.0, "replicas": 3},
    ]
    assert found.evidence["estimate"] == pytest.approx(math.sqrt(8 / 9), abs=0.02)
    missing = verdict(tmp_path, MONOTONE, {"loss": [1, 2, 3]})
    assert missing.evidence["reason"] == "weight_decay is neither replicated nor swept in these runs (they have: seed)"
    names = verdict(tmp_path, MONOTONE, {"loss": [1, 2, 3]}, swept=[{"weight_decay": w} for w in "abc"])
    assert names.evidence["reason"] == "axis=weight_decay is not a number for every replica"


def test_monotone_through_the_layers_and_in_time(tmp_path):
    falling = {f"head.{l}.post.dnc1": [10.0**-l * (1 + r / 10) for r in range(8)] for l in range(1, 12)}
    layers = {"measure": "dnc1", "layers": "head", "stage": "post", "axis": "layer", "at_least": 0.9}
    stated = claim("monotone", direction="decreasing", **layers)
    found = verdict(tmp_path, stated, falling)
    assert found.verdict == "holds"
    assert found.evidence["places"][-1] == {"axis": 11.0, "median": pytest.approx(1.35e-11), "replicas": 8}
    rising = falling | {f"head.{l}.post.dnc1": [10.0**l] * 8 for l in range(6, 12)}
    assert verdict(tmp_path, stated, rising).verdict == "fails"
    one = {key: values[:1] for key, values in falling.items()}
    assert verdict(tmp_path, stated, one).verdict == "undecided"
    assert verdict(tmp_path, stated | {"by": "estimate"}, one).verdict == "holds"
    step = claim("monotone", axis="step", direction="decreasing", at_least=0.9)
    series = {"loss": {s: [1 / (1 + s)] * 6 for s in (0, 10, 100, 1000)}}
    assert verdict(tmp_path, step, series).verdict == "holds"
    assert verdict(tmp_path, step, {"loss": series["loss"] | {1000: [2.0] * 6}}).verdict == "fails"


def test_a_planted_bug_in_monotone_is_seen(tmp_path, mutant):
    found = verdict(tmp_path, MONOTONE, {"loss": range(1, 10)}, swept=sweep([1e-3, 2e-3, 4e-3], 3))
    backwards = mutant(trends, 'claim.direction == "increasing"', 'claim.direction != "increasing"')
    assert backwards.monotone(found.claim, selection.Sample([tmp_path / "run"])).holds is False


SLOPE = claim("slope", axis="weight_decay", scale="loglog", slope=0.5, absolute=0.05)
PLACES = [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(
    ("power", "scale", "expected"),
    [
        (lambda w: w**0.5, "loglog", "holds"),
        (lambda w: w**0.7, "loglog", "fails"),
        (lambda w: 2 + 0.5 * math.log(w), "semilogx", "holds"),
        (lambda w: 2 - 0.5 * math.log(w), "semilogx", "fails"),
        (lambda w: 3 + 0.5 * w, "linear", "holds"),
        (lambda w: 3 + 0.7 * w, "linear", "fails"),
        (lambda w: w - 0.05, "loglog", "undecided"),
    ],
)
def test_slope(tmp_path, power, scale, expected):
    losses = [power(w) for w in PLACES for _ in range(4)]
    assert verdict(tmp_path, SLOPE | {"scale": scale}, {"loss": losses}, swept=sweep(PLACES, 4)).verdict == expected


def test_slope_is_through_the_medians_and_needs_two_places(tmp_path, mutant):
    losses = [w**0.5 * factor for w in PLACES for factor in [1] * 14 + [1000]]
    found = verdict(tmp_path, SLOPE, {"loss": losses}, swept=sweep(PLACES, 15))
    assert found.verdict == "holds"
    assert found.evidence["estimate"] == pytest.approx(0.5)
    unlogged = mutant(trends, "np.log(medians)", "medians")
    assert unlogged.slope(found.claim, selection.Sample([tmp_path / "run"])).holds is False
    one = verdict(tmp_path, SLOPE, {"loss": [1.0] * 7}, swept=sweep([1e-3], 7))
    assert one.evidence["reason"] == "axis=weight_decay has 1 places with finite values, 2 are needed"
    few = verdict(tmp_path, SLOPE, {"loss": [0.01, 0.1]}, swept=sweep([1e-4, 1e-2], 1))
    assert few.evidence["reason"] == "no interval from fewer than 6 replicas"


def test_ordering_within_replicas(tmp_path, mutant):
    stages = [{"measure": "dnc1", "layers": ["head.1"], "stage": stage} for stage in ("post", "pre")]
    stated = claim("ordering", smaller=stages[0], larger=stages[1], at_least=0.8)
    values = {"head.1.post.dnc1": [1.0] * 30, "head.1.pre.dnc1": [2.0] * 30}
    found = verdict(tmp_path, stated, values)
    assert (found.verdict, found.evidence["hits"]) == ("holds", 30)
    equal = verdict(tmp_path, stated, values | {"head.1.pre.dnc1": [1.0] * 30})
    assert equal.verdict == "fails"
    lenient = mutant(checks, 'both["value"] < both["value_larger"]', 'both["value"] <= both["value_larger"]')
    assert lenient.ordering(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    lost = verdict(tmp_path, stated, values | {"head.1.post.dnc1": [1.0] * 15 + [NAN] * 15})
    assert (lost.verdict, lost.evidence["hits"]) == ("fails", 15)
    assert verdict(tmp_path, stated, {"head.1.pre.dnc1": [1.0]}).verdict == "undecided"


def test_ordering_of_medians_of_different_replicas(tmp_path):
    stated = claim("ordering", smaller={"where": {"depth": 3}}, larger={"where": {"depth": [4, 5]}})
    depths = [{"depth": 3}] * 8 + [{"depth": 4}] * 4 + [{"depth": 5}] * 4

    def judged(losses, swept=depths, **keys):
        return verdict(tmp_path, stated | keys, {"loss": losses}, swept=swept)

    assert judged([*range(8), *range(10, 18)]).verdict == "holds"
    assert judged([*range(10, 18), *range(8)]).verdict == "fails"
    assert judged([1.0] * 16).verdict == "fails"  # equal is not smaller
    assert judged([0, 20] * 4 + [1, 19] * 4).verdict == "undecided"
    few = [{"depth": 3}] * 2 + [{"depth": 4}] * 2
    assert judged([0, 1, 2, 3], few).verdict == "undecided"
    assert judged([0, 1, 2, 3], few, by="estimate").verdict == "holds"
    overlap = judged([*range(16)], larger={"where": {"depth": [3, 4]}})
    assert overlap.evidence["reason"] == "8 replicas are in both groups, smaller and larger, which must not overlap"
    none = judged([*range(16)], larger={"where": {"depth": 9}})
    assert none.evidence["reason"] == "no replica with depth=9"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"below": 0.2, "at_least": 2}, "holds"),
        ({"below": 0.2, "at_least": 3}, "fails"),
        ({"between": [0.1, 0.3], "at_most": 4}, "holds"),
        ({"between": [0.1, 0.3], "at_most": 3}, "undecided"),  # the fourth is not known
        ({"between": [0.1, 0.3], "at_most": 2}, "fails"),
        ({"above": 0.25, "at_least": 1, "at_most": 2}, "holds"),
        ({"above": 0.25, "at_least": 1, "min_replicas": 5}, "undecided"),
    ],
)
def test_count(tmp_path, keys, expected):
    found = verdict(tmp_path, claim("count", **keys), {"loss": [0.1, 0.15, 0.3, NAN]})
    assert found.verdict == expected
    assert "of 4 replicas, 1 not finite" in found.measured


def test_a_planted_bug_in_count_is_seen(tmp_path, mutant):
    found = verdict(tmp_path, claim("count", below=0.2, at_most=1), {"loss": [0.1, 0.15, 0.3]})
    assert found.verdict == "fails"
    bound = "None, (claim.at_least, claim.at_most), evidence"
    unbounded = mutant(checks, bound, bound.replace("claim.at_most", "None"))
    assert unbounded.count(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    loose = mutant(findings, "False if high < least or low > most", "False if high < least and low > most")
    assert loose._inside(3, 3, (None, 2)) is None
    assert findings._inside(3, 3, (None, 2)) is False


def test_equal_ranks(tmp_path, mutant):
    values = {f"head.{l}.pre.rank": [5] * 30 for l in (1, 2, 3)} | {"head.4.pre.rank": [10] * 30}
    found = verdict(tmp_path, EQUAL, values, depth=4)
    assert (found.verdict, found.evidence["hits"]) == ("holds", 30)
    differing = values | {"head.2.pre.rank": [5] * 10 + [6] * 19 + [NAN]}
    found = verdict(tmp_path, EQUAL, differing, depth=4)
    assert (found.verdict, found.evidence["hits"]) == ("fails", 10)
    assert len(found.evidence["failing"]) == 10
    blind = mutant(checks, 'for how in ("min", "max")', 'for how in ("max", "max")')
    assert blind.equal_ranks(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    alone = verdict(tmp_path, EQUAL | {"layers": ["head.2"]}, values)
    assert alone.evidence["reason"].startswith("equal_ranks needs at least two layers")
    shallow = verdict(tmp_path, EQUAL, values, depth=1)
    assert shallow.evidence["reason"] == "run run has no intermediate layer (model.depth=1)"
    absent = verdict(tmp_path, EQUAL, {"head.1.pre.rank": [5] * 30}, depth=4)
    assert absent.evidence["reason"] == "min rank (intermediate, pre) is not recorded in head.2 of run run"
