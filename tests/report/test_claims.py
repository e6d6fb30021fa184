"""Verdicts on records made by hand: each check holds, breaks on data that break it, and says when data are too few."""

import json
import math

import pytest
from runfolders import write_records, write_run, write_values

from ncbench.report import checks, claims, findings, selection, trends
from ncbench.report.__main__ import main
from ncbench.report.claims import judge, write_claims
from ncbench.report.runs import BadRecordsError

NAN, INF = math.nan, math.inf


def claim(check, expect="reproduced", **keys):
    return {"says": f"{check} of the paper", "check": check, "expect": expect, **keys}


def verdict(tmp_path, stated, values, **record):
    """The verdict on one claim of one run."""
    write_values(tmp_path / "run", values, [stated], **record)
    ((found,),) = (judgement.verdicts for judgement in judge(tmp_path))
    return found


BELOW = claim("share_below", reference="dnc", at_least=0.9)


@pytest.mark.parametrize(
    ("losses", "expected", "low"),
    [
        ([0.1] * 64, "reproduced", 0.9434),
        ([0.1] * 61 + [0.3] * 3, "not enough data", 0.8710),  # 0.9 lies inside 0.8710 ... 0.9839
        ([0.1] * 32 + [0.3] * 32, "not reproduced", 0.3810),
        ([0.2] * 64, "not reproduced", 0.0),  # on the line is not below it
        ([0.1] * 50 + [NAN] * 10 + [-INF] * 4, "not reproduced", 0.6657),
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
    assert found.measured == f"{text}: the interval reaches both sides of the threshold, more replicas decide"
    assert found.evidence["failing"] == [
        {"run": "run", "replica": 61, "value": 0.3},
        {"run": "run", "replica": 62, "value": 0.4},
        {"run": "run", "replica": 63, "value": "nan"},
    ]
    by_estimate = verdict(tmp_path, BELOW | {"by": "estimate"}, {"loss": [0.1] * 61 + [0.3] * 3}, lines={"dnc": 0.2})
    assert by_estimate.verdict == "reproduced"
    assert by_estimate.agrees


def test_each_replica_is_compared_with_its_own_line(tmp_path):
    lines = {"dnc": [0.1] * 20 + [0.4] * 20}
    values = {"loss": [0.2] * 20 + [0.3] * 20}
    assert verdict(tmp_path, BELOW, values, lines=lines).evidence["hits"] == 20
    relative = claim("share_below", relative_to="dnc", below=1, at_least=0.4, by="estimate")
    assert verdict(tmp_path, relative, values, lines=lines).verdict == "reproduced"
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
    ranks = {"measure": "rank", "layers": "intermediate", "stage": "pre", "over_layers": "max"}
    found = verdict(tmp_path, claim(check, at_least=0.4, by="estimate", **ranks, **keys), values)
    assert found.evidence["hits"] == hits
    assert found.verdict == "reproduced"
    tighter = claim(check, at_least=0.7, by="estimate", **ranks, **keys)
    assert verdict(tmp_path, tighter, values).verdict == "not reproduced"


def test_a_planted_bug_in_shares_is_seen(tmp_path, mutant):
    write_values(tmp_path / "run", {"loss": [0.1, NAN]}, [])
    sample = selection.Sample([tmp_path / "run"])
    table = sample.values(selection.Selection())
    assert selection.within(table["value"], below=1).tolist() == [True, False]
    lenient = mutant(selection, "(values >= between[0]) & (values <= between[1])", "(values > between[0])")
    assert not lenient.within(table["value"], between=(0.1, 0.1)).any()
    assert selection.within(table["value"], between=(0.1, 0.1)).tolist() == [True, False]
    swapped = mutant(
        checks, '(line, None) if claim.check == "share_below"', '(None, line) if claim.check == "share_below"'
    )
    write_values(tmp_path / "run", {"loss": [0.1] * 4}, [BELOW], lines={"dnc": 0.2})
    ((found,),) = (one.verdicts for one in judge(tmp_path))
    assert (found.evidence["hits"], swapped.share(found.claim, selection.Sample([tmp_path / "run"])).holds) == (
        4,
        False,
    )


SEVEN = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98]  # median 1, mean 1


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (SEVEN, {"value": 1, "tolerance": 0.1}, "reproduced"),
        (SEVEN, {"value": 2, "tolerance": 0.1}, "not reproduced"),
        (SEVEN, {"value": 1, "tolerance": 0.01}, "not enough data"),  # the interval is wider than the tolerance
        (SEVEN, {"value": 1, "tolerance": 0.01, "by": "estimate"}, "reproduced"),
        (SEVEN, {"value": 0.5, "absolute": 0.6}, "reproduced"),
        (SEVEN, {"at_most": 1.2, "at_least": 0.8}, "reproduced"),
        (SEVEN, {"at_most": 0.8}, "not reproduced"),
        (SEVEN[:3], {"value": 1, "tolerance": 0.5}, "not enough data"),
        (SEVEN[:3], {"value": 1, "tolerance": 0.5, "by": "estimate"}, "reproduced"),
        (SEVEN, {"statistic": "max", "at_most": 1.1}, "reproduced"),
        (SEVEN, {"statistic": "max", "at_most": 1.09}, "not reproduced"),
        (SEVEN, {"statistic": "min", "value": 0.9, "tolerance": 0.001}, "reproduced"),
        ([*SEVEN, NAN], {"statistic": "max", "at_most": 2}, "not enough data"),
        ([*SEVEN, NAN], {"value": 1, "tolerance": 0.1}, "reproduced"),
        ([*SEVEN, INF], {"statistic": "mean", "value": 1, "tolerance": 0.1}, "not enough data"),
        ([NAN] * 7, {"value": 1, "tolerance": 0.1}, "not enough data"),
        (SEVEN, {"value": 1, "tolerance": 0.1, "min_replicas": 8}, "not enough data"),
    ],
)
def test_value(tmp_path, values, keys, expected):
    assert verdict(tmp_path, claim("value", **keys), {"loss": values}).verdict == expected


def test_value_of_the_best_replica(tmp_path):
    values = {"loss": [0.3, 0.1, NAN], "head.1.pre.dnc1": [1.0, 2.0, 0.0]}
    spectra = {"head.1.pre": [[4.0, 1.0, 1.0], [4.0, 2.0, 1.0], [0.0, 0.0, 0.0]]}
    best = {"statistic": "best", "layers": ["head.1"], "stage": "pre"}
    found = verdict(tmp_path, claim("value", measure="dnc1", value=2, tolerance=0.01, **best), values)
    assert (found.verdict, found.evidence["replica"]) == ("reproduced", 1)
    sigma = claim("value", measure="sigma", index=2, value=0.5, tolerance=0.01, **best)
    assert verdict(tmp_path, sigma, values, spectra=spectra).verdict == "reproduced"
    third = claim("value", measure="sigma", index=3, value=0.5, tolerance=0.01, **best)
    found = verdict(tmp_path, third, values, spectra=spectra)
    assert (found.verdict, found.evidence["estimate"]) == ("not reproduced", 0.25)
    fifth = claim("value", measure="sigma", index=5, value=0.5, tolerance=0.01, **best)
    assert verdict(tmp_path, fifth, values, spectra=spectra).verdict == "not enough data"


def test_planted_bugs_in_value_are_seen(tmp_path, mutant):
    stated = claim("value", statistic="best", reference="srg", tolerance=0.02)
    found = verdict(tmp_path, stated, {"loss": [0.5, 0.1]}, lines={"srg": 0.1})
    assert found.verdict == "reproduced"
    sample = selection.Sample([tmp_path / "run"])
    assert mutant(checks, ".argmin()", ".argmax()").value(found.claim, sample).holds is False
    wrong = verdict(tmp_path, stated, {"loss": [0.5, 0.11]}, lines={"srg": 0.1})
    assert wrong.verdict == "not reproduced"
    sample = selection.Sample([tmp_path / "run"])
    absolute = mutant(checks, "abs(target) * claim.tolerance", "claim.tolerance")
    assert absolute.value(wrong.claim, sample).holds is True


def sweep(decays, seeds):
    return [{"weight_decay": decay} for decay in decays for _ in range(seeds)]


MONOTONE = claim("monotone", axis="weight_decay", direction="increasing", at_least=0.7)


@pytest.mark.parametrize(
    ("losses", "keys", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], {}, "reproduced"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], {"direction": "decreasing"}, "not reproduced"),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], {"direction": "decreasing"}, "reproduced"),
        ([7, 8, 9, 1, 2, 3, 4, 5, 6], {"at_least": 0.95}, "not reproduced"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], {}, "not reproduced"),
        ([1, 2, 3, 4, 9, 6, 7, 8, 5], {}, "not enough data"),
        ([1, 2, 3, 4, 5, 6, NAN, NAN, NAN], {}, "not enough data"),  # two places are left
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
    assert found.verdict == "reproduced"
    assert found.evidence["places"][-1] == {"axis": 11.0, "median": pytest.approx(1.35e-11), "replicas": 8}
    rising = falling | {f"head.{l}.post.dnc1": [10.0**l] * 8 for l in range(6, 12)}
    assert verdict(tmp_path, stated, rising).verdict == "not reproduced"
    one = {key: values[:1] for key, values in falling.items()}
    assert verdict(tmp_path, stated, one).verdict == "not enough data"
    assert verdict(tmp_path, stated | {"by": "estimate"}, one).verdict == "reproduced"
    step = claim("monotone", axis="step", direction="decreasing", at_least=0.9)
    series = {"loss": {s: [1 / (1 + s)] * 6 for s in (0, 10, 100, 1000)}}
    assert verdict(tmp_path, step, series).verdict == "reproduced"
    assert verdict(tmp_path, step, {"loss": series["loss"] | {1000: [2.0] * 6}}).verdict == "not reproduced"


def test_a_planted_bug_in_monotone_is_seen(tmp_path, mutant):
    found = verdict(tmp_path, MONOTONE, {"loss": range(1, 10)}, swept=sweep([1e-3, 2e-3, 4e-3], 3))
    backwards = mutant(trends, 'claim.direction == "increasing"', 'claim.direction != "increasing"')
    assert backwards.monotone(found.claim, selection.Sample([tmp_path / "run"])).holds is False


SLOPE = claim("slope", axis="weight_decay", scale="loglog", slope=0.5, absolute=0.05)
PLACES = [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(
    ("power", "scale", "expected"),
    [
        (lambda w: w**0.5, "loglog", "reproduced"),
        (lambda w: w**0.7, "loglog", "not reproduced"),
        (lambda w: 2 + 0.5 * math.log(w), "semilogx", "reproduced"),
        (lambda w: 2 - 0.5 * math.log(w), "semilogx", "not reproduced"),
        (lambda w: 3 + 0.5 * w, "linear", "reproduced"),
        (lambda w: 3 + 0.7 * w, "linear", "not reproduced"),
        (lambda w: w - 0.05, "loglog", "not enough data"),
    ],
)
def test_slope(tmp_path, power, scale, expected):
    losses = [power(w) for w in PLACES for _ in range(4)]
    assert verdict(tmp_path, SLOPE | {"scale": scale}, {"loss": losses}, swept=sweep(PLACES, 4)).verdict == expected


def test_slope_is_through_the_medians_and_needs_two_places(tmp_path, mutant):
    losses = [w**0.5 * factor for w in PLACES for factor in [1] * 14 + [1000]]
    found = verdict(tmp_path, SLOPE, {"loss": losses}, swept=sweep(PLACES, 15))
    assert found.verdict == "reproduced"
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
    assert (found.verdict, found.evidence["hits"]) == ("reproduced", 30)
    lenient = mutant(checks, 'both["value"] < both["value_larger"]', 'both["value"] <= both["value_larger"]')
    equal = verdict(tmp_path, stated, values | {"head.1.pre.dnc1": [1.0] * 30})
    assert equal.verdict == "not reproduced"
    assert lenient.ordering(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    lost = verdict(tmp_path, stated, values | {"head.1.post.dnc1": [1.0] * 15 + [NAN] * 15})
    assert (lost.verdict, lost.evidence["hits"]) == ("not reproduced", 15)
    assert verdict(tmp_path, stated, {"head.1.pre.dnc1": [1.0]}).verdict == "not enough data"


def test_ordering_of_medians_of_different_replicas(tmp_path):
    stated = claim("ordering", smaller={"where": {"depth": 3}}, larger={"where": {"depth": [4, 5]}})
    depths = [{"depth": 3}] * 8 + [{"depth": 4}] * 4 + [{"depth": 5}] * 4

    def judged(losses, swept=depths, **keys):
        return verdict(tmp_path, stated | keys, {"loss": losses}, swept=swept)

    assert judged([*range(8), *range(10, 18)]).verdict == "reproduced"
    assert judged([*range(10, 18), *range(8)]).verdict == "not reproduced"
    assert judged([1.0] * 16).verdict == "not reproduced"  # equal is not smaller
    assert judged([0, 20] * 4 + [1, 19] * 4).verdict == "not enough data"
    few = [{"depth": 3}] * 2 + [{"depth": 4}] * 2
    assert judged([0, 1, 2, 3], few).verdict == "not enough data"
    assert judged([0, 1, 2, 3], few, by="estimate").verdict == "reproduced"
    overlap = judged([*range(16)], larger={"where": {"depth": [3, 4]}})
    assert overlap.evidence["reason"] == "8 replicas are in smaller and in larger"
    none = judged([*range(16)], larger={"where": {"depth": 9}})
    assert none.evidence["reason"] == "no replica with depth=9"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"below": 0.2, "at_least": 2}, "reproduced"),
        ({"below": 0.2, "at_least": 3}, "not reproduced"),
        ({"between": [0.1, 0.3], "at_most": 3}, "reproduced"),
        ({"between": [0.1, 0.3], "at_most": 2}, "not reproduced"),
        ({"above": 0.25, "at_least": 1, "at_most": 1}, "reproduced"),
        ({"above": 0.25, "at_least": 1, "min_replicas": 5}, "not enough data"),
    ],
)
def test_count(tmp_path, keys, expected):
    found = verdict(tmp_path, claim("count", **keys), {"loss": [0.1, 0.15, 0.3, NAN]})
    assert found.verdict == expected
    assert "of 4 replicas, 1 not finite" in found.measured


def test_a_planted_bug_in_count_is_seen(tmp_path, mutant):
    found = verdict(tmp_path, claim("count", below=0.2, at_most=1), {"loss": [0.1, 0.15, 0.3]})
    assert found.verdict == "not reproduced"
    bound = "(claim.at_least, claim.at_most), evidence, exact=True"
    unbounded = mutant(checks, bound, bound.replace("claim.at_most", "None"))
    assert unbounded.count(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    loose = mutant(findings, "False if high < least or low > most", "False if high < least and low > most")
    assert loose._inside(3, 3, (None, 2)) is None
    assert findings._inside(3, 3, (None, 2)) is False


EQUAL = claim("equal_ranks", layers="intermediate", stage="pre", at_least=0.8)


def test_equal_ranks(tmp_path, mutant):
    values = {f"head.{l}.pre.rank": [5] * 30 for l in (1, 2, 3)} | {"head.4.pre.rank": [10] * 30}
    found = verdict(tmp_path, EQUAL, values, depth=4)
    assert (found.verdict, found.evidence["hits"]) == ("reproduced", 30)
    differing = values | {"head.2.pre.rank": [5] * 10 + [6] * 19 + [NAN]}
    found = verdict(tmp_path, EQUAL, differing, depth=4)
    assert (found.verdict, found.evidence["hits"]) == ("not reproduced", 10)
    assert len(found.evidence["failing"]) == 10
    blind = mutant(checks, 'for how in ("min", "max")', 'for how in ("max", "max")')
    assert blind.equal_ranks(found.claim, selection.Sample([tmp_path / "run"])).holds is True
    alone = verdict(tmp_path, EQUAL | {"layers": ["head.2"]}, values)
    assert alone.evidence["reason"].startswith("one layer cannot differ from itself")
    shallow = verdict(tmp_path, EQUAL, values, depth=1)
    assert shallow.evidence["reason"] == "run run has no intermediate layer (model.depth=1)"
    absent = verdict(tmp_path, EQUAL, {"head.1.pre.rank": [5] * 30}, depth=4)
    assert absent.evidence["reason"] == "min rank (intermediate, pre) is not recorded in head.2 of run run"


PROVIDED = {"measure": "rank", "layers": ["head.1"], "stage": "pre", "between": [5, 5]}


def test_conditional_is_for_those_that_meet_the_condition(tmp_path, mutant):
    stated = BELOW | {"provided": PROVIDED, "expect": "conditional"}
    values = {"loss": [0.1] * 40 + [0.3] * 24, "head.1.pre.rank": [5] * 40 + [6] * 24}
    found = verdict(tmp_path, stated, values, lines={"dnc": 0.2})
    assert found.verdict == "conditional"
    assert found.agrees
    assert (found.sample_size, found.evidence["provided"]["sample_size"]) == (64, 40)
    assert found.measured.endswith(
        "; provided rank (head.1, pre) = 5: 40 of 40 replicas (100 %; 95 % interval 91.2 to 100 %)"
    )

    def with_ranks(ranks, **keys):
        return verdict(tmp_path, stated | keys, values | {"head.1.pre.rank": ranks}, lines={"dnc": 0.2})

    assert with_ranks([6] * 40 + [5] * 24).verdict == "not reproduced"  # it fails just there
    assert with_ranks([6] * 64).evidence["provided"]["measured"] == "no replica meets it"
    assert with_ranks([6] * 64).verdict == "not reproduced"
    assert with_ranks([5] * 40 + [6] * 24, min_replicas=41).verdict == "not reproduced"
    assert with_ranks([5] * 39 + [NAN] * 25).evidence["provided"]["sample_size"] == 39
    unknown = verdict(tmp_path, stated, {"loss": values["loss"]}, lines={"dnc": 0.2})
    assert unknown.verdict == "not enough data"
    assert unknown.evidence["reason"] == "provided: rank (head.1, pre) is not recorded in run run"
    everywhere = verdict(tmp_path, stated, values | {"loss": [0.1] * 64}, lines={"dnc": 0.2})
    assert everywhere.verdict == "reproduced"
    assert not everywhere.agrees
    careless = mutant(claims, "        if part.holds:\n", "        if True:\n")
    with_ranks([6] * 64)
    assert careless.judge(tmp_path)[0].verdicts[0].verdict == "conditional"


@pytest.mark.parametrize(
    ("stated", "record", "reason"),
    [
        (BELOW, {}, "the theory line dnc has no value for replicas of run run"),
        (BELOW, {"lines": {"dnc": None}}, "the theory line dnc has no value for replicas of run run"),
        (BELOW | {"measure": "nc9"}, {"lines": {"dnc": 1}}, "nc9 is not recorded in run run"),
        (BELOW | {"split": "test"}, {"lines": {"dnc": 1}}, "loss (test) is not recorded in run run"),
        (BELOW | {"at": 7}, {"lines": {"dnc": 1}}, "loss (step 7) is not recorded in run run"),
        (BELOW | {"where": {"depth": 3}}, {}, "depth is neither replicated nor swept in these runs (they have: seed)"),
        (BELOW, {"status": "failed", "lines": {"dnc": 1}}, "run run is failed, not done"),
        (
            claim("value", at_most=1, measure="rank", layers=["head.9"], stage="pre"),
            {},
            "rank (head.9, pre) is not recorded in run run",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, stated, record, reason):
    found = verdict(tmp_path, stated, {"loss": [0.1] * 64}, **record)
    assert (found.verdict, found.evidence["reason"], found.measured) == ("not enough data", reason, reason)


def test_first_step_and_where(tmp_path):
    values = {"loss": {0: [3.0, 4.0], 1000: [1.0, 2.0]}}
    swept = [{"depth": 3}, {"depth": 4}]
    for keys, estimate in (({}, 1.5), ({"at": "first"}, 3.5), ({"at": 0, "where": {"depth": 4}}, 4.0)):
        found = verdict(tmp_path, claim("value", at_most=9, by="estimate", **keys), values, swept=swept)
        assert found.evidence["estimate"] == estimate


def test_runs_of_one_name_are_judged_together_by_the_claims_of_the_latest(tmp_path):
    for job, (decay, started) in enumerate([(1e-3, "2026-01-01"), (2e-3, "2026-01-03"), (4e-3, "2026-01-02")]):
        stated = [MONOTONE | {"by": "estimate"}] if job == 1 else []
        overrides = ("+experiment=fig1", f"objective.weight_decay={decay}", "logger=wandb", "hydra.run.dir=x", "seed=1")
        record = {"swept": [{"weight_decay": decay}] * 2, "config_hash": f"{job}", "started": started}
        write_values(tmp_path / str(job), {"loss": [job, job]}, stated, overrides=overrides, **record)
    write_values(tmp_path / "other", {"loss": [1.0]}, [], name="a_figure")
    other, found = judge(tmp_path)
    assert (other.experiment, other.verdicts) == ("a_figure", [])
    assert (found.experiment, found.hashes, found.reproduces) == (
        "fig1",
        ["0", "1", "2"],
        {"paper": "p", "figure": "1"},
    )
    assert found.overrides == [*(f"objective.weight_decay={decay}" for decay in (0.001, 0.002, 0.004)), "seed=1"]
    assert (found.verdicts[0].verdict, found.verdicts[0].sample_size) == ("reproduced", 6)


def test_claims_json_is_deterministic_and_strict(tmp_path):
    write_values(tmp_path / "run", {"loss": [0.1, NAN]}, [BELOW], lines={"dnc": 0.2})
    write_claims(judge(tmp_path), tmp_path / "a.json")
    write_claims(judge(tmp_path), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    (experiment,) = content["experiments"]
    assert (content["schema_version"], experiment["experiment"], experiment["overrides"]) == (1, "fig1", [])
    (stated,) = experiment["claims"]
    assert {key: stated[key] for key in BELOW} == BELOW
    assert (stated["verdict"], stated["agrees"], stated["sample_size"]) == ("not enough data", False, 2)
    assert stated["evidence"]["failing"] == [{"run": "run", "replica": 1, "value": "nan"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: [{check: os.system, says: a, expect: reproduced}]", "claims[0].check=os.system: unknown check"),
        ("claims: [{check: {a: 1}}]", "claims[0].check={'a': 1}: unknown check"),
        ("claims: {a: 1}", "claims={'a': 1}: must be a list"),
        ("claims: [", "not valid YAML"),
        ("claims: [!!python/object/apply:os.system [ls]]", "not valid YAML"),
        ("3", "has to hold a mapping"),
    ],
)
def test_a_run_folder_cannot_name_code(tmp_path, capsys, text, message):
    run = write_values(tmp_path / "run", {"loss": [0.1]}, [])
    (run / "config.yaml").write_text(text)
    with pytest.raises(BadRecordsError) as caught:
        judge(tmp_path)
    assert message in str(caught.value)
    assert "config.yaml" in str(caught.value)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_foreign_folder_lacks_is_no_traceback(tmp_path, capsys):
    values = {"loss": [0.1], "head.1.pre.rank": [5], "head.2.pre.rank": [5]}
    run = write_values(tmp_path / "run", values, [])
    (run / "config.yaml").write_text(json.dumps({"claims": [EQUAL | {"by": "estimate"}]}) + "\n")
    assert judge(tmp_path)[0].verdicts[0].evidence["reason"] == "the config.yaml of run run says no model.depth"
    (run / "config.yaml").write_text("reproduces: 2024-05-23\n")
    write_claims(judge(tmp_path), tmp_path / "claims.json")
    assert '"reproduces": "2024-05-23"' in (tmp_path / "claims.json").read_text()
    (run / ".hydra" / "overrides.yaml").write_text("3")
    assert main([str(tmp_path)]) == 2
    assert "overrides.yaml: has to hold a list" in capsys.readouterr().err


def test_check_exits_1_when_a_verdict_is_not_the_expected_one(tmp_path, capsys):
    write_values(tmp_path / "run", {"loss": [0.1] * 64}, [BELOW], lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 0
    line = (
        "fig1: reproduced (expected reproduced): share_below of the paper -- 64 of 64 replicas (100 %; 95 % interval 94"
    )
    assert capsys.readouterr().out.splitlines()[1].startswith(line)
    write_values(tmp_path / "run", {"loss": [0.3] * 64}, [BELOW], lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 1
    assert "fig1: not reproduced (expected reproduced)" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 0
    content = json.loads((tmp_path / "claims.json").read_text())
    assert content["experiments"][0]["claims"][0]["agrees"] is False
    write_values(tmp_path / "run", {"loss": [0.3] * 64}, [BELOW | {"expect": "not reproduced"}], lines={"dnc": 0.2})
    assert main([str(tmp_path), "--check"]) == 0


def test_check_without_claims(tmp_path, capsys):
    write_run(tmp_path / "run", [0, 1])
    assert main([str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["no claims"]
    assert json.loads((tmp_path / "claims.json").read_text())["experiments"][0]["claims"] == []


def test_a_directory_of_many_kinds_of_runs_is_judged(tmp_path):
    records = write_records(tmp_path / "records")
    assert [judgement.experiment for judgement in judge(records)] == ["dufm_k4"]


def test_a_theory_line_can_be_claimed_about_and_spectra_of_the_same_name_are_no_line(tmp_path):
    """0.1 x 4 seeds at K = 6, 10, 15: SRG over DNC falls from 0.9 to 0.7."""
    for K, srg in ((6, 0.09), (10, 0.08), (15, 0.07)):
        claim = {
            "says": "the ratio of the closed forms falls with K",
            "check": "monotone",
            "measure": "line:srg",
            "relative_to": "dnc",
            "axis": "classes",
            "direction": "decreasing",
            "at_least": 0.99,
            "by": "estimate",
            "expect": "reproduced",
        }
        run = tmp_path / str(K)
        swept = [{"classes": K}] * 4
        write_values(run, {"loss": [0.2] * 4}, [claim], lines={"srg": srg, "dnc": 0.1}, swept=swept)
        references = json.loads((run / "references.json").read_text())
        extra = {**references[0], "measure": "spectra", "value": None, "values": {"head.1.pre": [1.0]}}
        (run / "references.json").write_text(json.dumps([*references, extra]))
    (judgement,) = judge(tmp_path)
    (found,) = judgement.verdicts
    assert found.verdict == "reproduced"
    assert found.measured.startswith("rank correlation along classes -1")
