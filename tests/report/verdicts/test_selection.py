"""Selections with source layers, divided by their first values, and of the replicas that meet a condition."""

import json
import math

import pytest
import yaml

from ncbench.report.__main__ import main
from ncbench.report.verdicts import judge as claims
from ncbench.report.verdicts import selection
from ncbench.report.verdicts.judge import judge
from tests.helpers.ensemble_folders import grid, line, pair_values, write_ensemble
from tests.helpers.run_folders import write_values
from tests.helpers.stated_claims import claim, named, verdict

NAN = math.nan
BOUND = {"measure": "rank_bound", "layers": "all", "stage": "weight", "reduce_layers": "max"}


def estimate(tmp_path, values, **keys):
    return verdict(tmp_path, claim("value", at_most=1e9, by="estimate", **keys), values).evidence.get("estimate")


def test_reduce_layers_joins_the_source_layers_too_and_source_keeps_one(tmp_path, mutant):
    """Bounds 10 (l - j) 10^-l: 1 and 0.2, 0.1 from the inputs, 0.1 from head.1."""
    values = pair_values(1, 2)
    assert estimate(tmp_path, values, **BOUND) == pytest.approx(1.0)
    assert estimate(tmp_path, values, **BOUND | {"reduce_layers": "min"}) == pytest.approx(0.1)
    assert estimate(tmp_path, values, **BOUND | {"reduce_layers": "mean"}) == pytest.approx((1.0 + 0.2 + 0.1) / 3)
    assert estimate(tmp_path, values, **BOUND, source_layer="head.1") == pytest.approx(0.1)
    one = {**BOUND, "layers": ["head.2"]}
    del one["reduce_layers"]
    assert estimate(tmp_path, values, **one, source_layer="features") == pytest.approx(0.2)
    found = verdict(tmp_path, claim("value", at_most=1, by="estimate", **one), values)
    assert found.evidence["reason"] == "several layers, stages or source layers are recorded where one was chosen"
    found = verdict(tmp_path, claim("value", at_most=1, by="estimate", **one, source_layer="head.9"), values)
    assert found.evidence["reason"] == "rank_bound (head.2, weight, from head.9) is not recorded in run run"
    hidden = {**BOUND, "layers": "intermediate"}
    assert estimate(tmp_path, pair_values(1, 3), **hidden, source_layer="head.1") == pytest.approx(
        0.1
    )  # head.2 of 1, 2
    inner = {**BOUND, "layers": "inner"}  # head.2 of 1, 2, 3
    assert estimate(tmp_path, pair_values(1, 3), **inner, source_layer="features") == pytest.approx(0.2)
    deaf = mutant(
        selection,
        "in_layers(frame, selection,",
        'in_layers(frame, selection.model_copy(update={"source_layer": None}),',
    )
    stated = claim("value", at_most=1, by="estimate", **BOUND, source_layer="head.1")
    found = verdict(tmp_path, stated, values)
    sample = deaf.Sample([tmp_path / "run"])
    assert sample.values(found.claim.selection)["value"].tolist() == pytest.approx([1.0])


def test_evidence_of_pairs_where_a_layer_has_several_sources(tmp_path, mutant):
    """Five replicas with tightness 0.1, ..., 0.5 of (2, 1): quantiles by hand are 0.12, 0.3, 0.48."""
    ratios = [0.3, 0.1, 0.5, 0.2, 0.4]
    values = {"head.1.weight.tightness@features": [0.1] * 5, "head.2.weight.tightness@features": [0.2] * 4 + [NAN]}
    values["head.2.weight.tightness@head.1"] = ratios
    tight = {"measure": "tightness", "layers": "all", "stage": "weight", "reduce_layers": "max"}
    stated = claim("share_below", below=1, at_least=0.1, by="estimate", **tight)
    found = verdict(tmp_path, stated, values)
    assert (found.verdict, found.evidence["hits"], found.evidence["not_finite"]) == ("holds", 4, 1)
    assert found.evidence["pairs"] == [
        {"layer": "head.1", "source": "features", **dict.fromkeys(("q05", "median", "q95"), pytest.approx(0.1))},
        {"layer": "head.2", "source": "features", **dict.fromkeys(("q05", "median", "q95"), pytest.approx(0.2))},
        {
            "layer": "head.2",
            "source": "head.1",
            "q05": pytest.approx(0.12),
            "median": pytest.approx(0.3),
            "q95": pytest.approx(0.48),
        },
    ]
    assert main([str(tmp_path)]) == 0
    (judged,) = json.loads((tmp_path / "claims.json").read_text())["experiments"][0]["claims"]
    assert [pair["source"] for pair in judged["evidence"]["pairs"]] == ["features", "features", "head.1"]
    assert "<dt>pairs</dt>" in (tmp_path / "report.html").read_text()
    mute = mutant(selection, ".nunique() > 1).any()", ".nunique() > 9).any()")
    assert mute.Sample([tmp_path / "run"]).pairs(found.claim.selection) == []
    single = {"head.1.weight.tail@head.1": [0.1] * 5, "head.2.weight.tail@head.2": [0.1] * 5}
    plain = verdict(tmp_path, stated | {"measure": "tail"}, single)
    assert "pairs" not in plain.evidence
    where = {"given": {**tight, "measure": "tightness", "below": 0.35}}
    kept = verdict(tmp_path, stated | where, values)
    assert kept.evidence["pairs"][2]["median"] == pytest.approx(0.2)  # of 0.3, 0.1, 0.2


FALLING = {
    "head.1.post.tcv": {0: [1.0, 2.0], 1000: [0.5, 0.5]},
    "head.2.post.tcv": {0: [4.0, 1.0], 1000: [0.4, 0.9]},
}
RATIO = {"measure": "tcv", "layers": ["head.*"], "stage": "post", "relative_to_first": True}


@pytest.mark.parametrize(("how", "expected"), [("max", [0.5, 0.9]), ("min", [0.1, 0.25]), ("mean", [0.3, 0.575])])
def test_values_are_divided_by_their_first_before_layers_are_joined(tmp_path, how, expected):
    write_values(tmp_path / "run", FALLING, {})
    sample = selection.Sample([tmp_path / "run"])
    chosen = selection.Selection(
        measure="tcv", layers=("head.*",), stage="post", reduce_layers=how, relative_to_first=True
    )
    assert sample.values(chosen)["value"].tolist() == pytest.approx(expected)


def test_a_ratio_of_final_to_first_decides_a_claim(tmp_path, mutant):
    stated = claim("share_below", below=0.95, at_least=0.9, by="estimate", reduce_layers="max", **RATIO)
    found = verdict(tmp_path, stated, FALLING)
    assert (found.verdict, found.evidence["hits"]) == ("holds", 2)
    rising = FALLING | {"head.1.post.tcv": {0: [0.1, 2.0], 1000: [0.5, 0.5]}}
    assert verdict(tmp_path, stated, rising).verdict == "fails"
    unasked = mutant(selection, "if selection.relative_to_first else frame", "if False else frame")
    sample = unasked.Sample([tmp_path / "run"])
    assert unasked.within(sample.values(found.claim.selection)["value"], below=0.95).all()
    from_zero = FALLING | {"head.1.post.tcv": {0: [0.0, 2.0], 1000: [0.0, 0.5]}}
    assert verdict(tmp_path, stated, from_zero).evidence["not_finite"] == 1
    late = FALLING | {"head.3.post.tcv": [0.1, 0.1]}
    reason = "max tcv/first (head.*, post): no value at the first step of run run"
    assert verdict(tmp_path, stated, late).evidence["reason"] == reason


def test_a_ratio_to_the_first_along_the_steps_and_of_singular_values(tmp_path):
    stated = claim(
        "monotone", measure="loss", relative_to_first=True, axis="step", direction="decreasing", at_least=0.9
    )
    series = {"loss": {step: [2.0**-i * (1 + r) for r in range(6)] for i, step in enumerate((0, 10, 100))}}
    found = verdict(tmp_path, stated, series)
    assert found.verdict == "holds"
    assert [place["median"] for place in found.evidence["places"]] == [1.0, 0.5, 0.25]
    spectra = {"head.1.weight": {0: [[4.0, 2.0]], 1000: [[4.0, 1.0]]}}
    sigma = {"measure": "sigma", "index": 2, "layers": ["head.1"], "stage": "weight", "relative_to_first": True}
    write_ensemble(
        tmp_path / "run",
        grid(1),
        {"loss": [0.1]},
        named(claim("value", at_most=1, by="estimate", **sigma)),
        spectra=spectra,
    )
    assert judge(tmp_path)[0].verdicts[0].evidence["estimate"] == pytest.approx(0.5)


LOW = {"measure": "tcv", "layers": ["head.1"], "stage": "post", "relative_to_first": True}
COLLAPSED = {"given": {**LOW, "below": 0.01}}
OTHERS = {"given": {**LOW, "above": 0.01}}
ORDERING = claim("ordering", smaller=COLLAPSED, larger=OTHERS)


def groups(losses, collapsed):
    """The losses of replicas of which the first `collapsed` end at 1e-3 of their first variability."""
    count = len(losses)
    tcv = {0: [2.0] * count, 1000: [2e-3] * collapsed + [1.0] * (count - collapsed)}
    return {"loss": losses, "head.1.post.tcv": tcv}


def test_groups_that_meet_a_condition_are_compared_in_their_medians(tmp_path, mutant):
    low, high = [1.0 + i / 100 for i in range(7)], [2.0 + i / 100 for i in range(8)]
    found = verdict(tmp_path, ORDERING, groups(low + high, 7))
    assert (found.verdict, found.evidence["replicas"]) == ("holds", [7, 8])
    assert found.evidence["medians"] == pytest.approx([1.03, 2.035])
    assert verdict(tmp_path, ORDERING, groups(high + low, 8)).verdict == "fails"
    mixed = [1.0 + i % 2 for i in range(16)]
    assert verdict(tmp_path, ORDERING, groups(mixed, 8)).verdict == "undecided"
    everyone = verdict(tmp_path, ORDERING, groups(low + high, 15))
    reason = "no replica meets tcv/first (head.1, post) > 0.01"
    assert (everyone.verdict, everyone.evidence["reason"]) == ("undecided", reason)
    nobody = verdict(tmp_path, ORDERING, groups(low + high, 0))
    assert nobody.evidence["reason"] == "no replica meets tcv/first (head.1, post) < 0.01"
    found = verdict(tmp_path, ORDERING, groups(low + high, 7))
    blind = mutant(selection, "chosen = chosen[_index(chosen).isin(met.only)]", "pass")
    sample = blind.Sample([tmp_path / "run"])
    assert len(sample.values(found.claim.smaller)) == 15


def test_a_condition_in_any_selection_and_only_of_its_own_replicas(tmp_path):
    still = {"given": {"measure": "grad_max", "below": 1e-3}}
    values = {"loss": [1.0, 2.0, 9.0], "grad_max": [1e-6, 1e-5, NAN]}
    stated = claim("value", statistic="max", at_most=3, **still)
    found = verdict(tmp_path, stated, values)
    assert (found.verdict, found.sample_size, found.evidence["estimate"]) == ("holds", 2, 2.0)
    write_values(tmp_path / "other", {"loss": [7.0]}, {}, swept=[{"depth": 9}], started="2025-01-01")
    swept = [{"depth": 3}] * 3
    here = stated | {"where": {"depth": 3}}
    write_values(tmp_path / "run", values, named(stated, here), swept=swept)
    everywhere, narrowed = judge(tmp_path)[0].verdicts
    assert everywhere.evidence["reason"] == "grad_max is not recorded in run other"
    assert (narrowed.verdict, narrowed.sample_size) == ("holds", 2)
    assert narrowed.measured.startswith("asked max loss at most 3 with depth=3, given grad_max < 0.001: 2;")


def test_a_line_of_any_measure_can_be_claimed_about(tmp_path, mutant):
    norms = {"head.2.weight.norm": [1.01, 0.49], "loss": [0.1, 0.1]}
    lines = [
        line("intermediate", "norm", value, [i], layers=["head.2"], stage="weight") for i, value in ((0, 1.0), (1, 0.5))
    ]
    lines += [{**line("intermediate", "spectra", None), "values": {"head.2.weight": [1.0]}}]
    near = claim("share_between", measure="norm", layers=["head.2"], stage="weight", relative_to="intermediate")
    near |= {"between": [0.97, 1.03], "at_least": 0.9, "by": "estimate"}
    fall = claim("value", measure="line:intermediate", value=0.75, tolerance=0.01, by="estimate")
    write_ensemble(tmp_path / "run", grid(2), norms, named(near, fall), lines=lines)
    first, second = judge(tmp_path)[0].verdicts
    assert (first.verdict, first.evidence["hits"]) == ("holds", 2)
    assert (second.verdict, second.evidence["estimate"]) == ("holds", 0.75)
    loss_only = mutant(selection, '~references["measure"].isin(NO_LINES)', 'references["measure"] == "loss"')
    with pytest.raises(selection.NotEnoughDataError, match="the theory line intermediate has no value"):
        loss_only.Sample([tmp_path / "run"]).values(first.claim.selection)


def test_planted_bugs_in_judging_are_seen(tmp_path, mutant):
    values = groups([1.0] * 3, 3)
    stated = claim("value", at_most=2, by="estimate", **COLLAPSED)
    found = verdict(tmp_path, stated, values)
    assert found.verdict == "holds"
    reckless = mutant(claims, 'return Decision(None, "", 0, reason=str(reason))', 'return Decision(True, "", 0)')
    verdict(tmp_path, ORDERING, values)
    assert reckless.judge(tmp_path)[0].verdicts[0].verdict == "holds"  # what has to be "undecided"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["intermediate", "features"], 9.0),
        (["features", "intermediate"], 9.0),
        (["inner", "head.1"], 3.0),
        (["intermediate"], 3.0),
        (["head", "features"], 9.0),
        (["head", "conv.*"], 5.0),
    ],
)
def test_every_entry_of_layers_counts(tmp_path, layers, expected):
    values = {"features.post.dnc1": [9.0], "conv.1.post.dnc1": [5.0]}
    values |= {f"head.{number}.post.dnc1": [float(number + 1)] for number in (1, 2)}
    chosen = {"measure": "dnc1", "layers": layers, "stage": "post", "reduce_layers": "max"}
    assert estimate(tmp_path, values, **chosen) == expected
    found = verdict(tmp_path, claim("value", at_most=1, by="estimate", **chosen | {"layers": ["head", "x"]}), values)
    assert found.evidence["reason"] == "max dnc1 (head, x, post) is not recorded in x of run run"


def test_a_run_in_which_nothing_was_swept_has_the_values_of_its_configuration(tmp_path):
    """Width 8 is said by the configuration of the first run and by replicas.json of the second: five networks."""
    at_width = claim("count", below=1, at_least=5, where={"width": 8})
    for run, swept, losses in (
        ("a", None, [0.1, 0.2]),
        ("b", [{"width": w} for w in (4, 8, 8, 8)], [2.0, 0.3, 0.4, 5.0]),
    ):
        folder = write_values(tmp_path / run, {"loss": losses}, named(at_width), swept=swept)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "model": {**config["model"], "width": 8}}))
    ((decided,),) = (judgement.verdicts for judgement in judge(tmp_path))
    assert (decided.verdict, decided.evidence["estimate"], decided.sample_size) == ("fails", 4, 5)


def test_replicas_with_a_decay_of_their_own_do_not_have_that_of_the_configuration(tmp_path):
    """replicate.decay replaces both decays; the other run sweeps one of them."""
    losses = {"a": [1.0, 2.0], "b": [3.0]}
    swept = {"a": [{"decay": 1e-3}, {"decay": 1e-2}], "b": [{"weight_decay": 1e-3}]}
    for run, values in losses.items():
        folder = write_values(tmp_path / run, {"loss": values}, {}, swept=swept[run])
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "objective": {"weight_decay": 5e-4}}))
    sample = selection.Sample([tmp_path / "a", tmp_path / "b"])
    assert sample.column("weight_decay", sample.replicas).tolist() == [1e-3, 1e-2, 1e-3]
    chosen = selection.Selection(measure="loss", where={"weight_decay": 1e-3})
    assert sample.values(chosen)["value"].tolist() == [1.0, 3.0]
