"""The made-up records by which claims are tried: selections of every kind turned round, and checks that cannot fail."""

from types import SimpleNamespace

import pytest

from ncbench.claims.parse import parse_claims
from ncbench.report import statistics
from ncbench.report.verdicts import judge as judging
from ncbench.report.verdicts.decide import Decision
from tests.helpers.planted import FAILS, HOLDS
from tests.helpers.planted_trial import complaints, tried
from tests.helpers.stated_claims import claim


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    """What is planted has no doubt: the bootstrap needs no 2000 draws."""
    monkeypatch.setattr(statistics, "RESAMPLES", 100)


def experiment(replicate, depth=4):
    """As much of a configuration as made-up records need; a key with a dot is one of its grid."""
    reproduces = {"paper": "p", "figure": "1"}
    model = SimpleNamespace(depth=depth)
    grid = {key: values for key, values in replicate.items() if "." in key}
    replicate = {key: values for key, values in replicate.items() if key not in grid}
    return SimpleNamespace(name="fig1", replicate=replicate, grid=grid, model=model, reproduces=reproduces)


SEEDS, DECAYS = {"seed": 24}, {"seed": 2, "weight_decay": [1e-3, 2e-3, 4e-3, 8e-3]}
TCV = {"measure": "tcv", "layers": ["head.2"], "stage": "post"}
HALVES = [TCV | {"relative_to_first": True, "below": 0.5}, TCV | {"relative_to_first": True, "above": 0.5}]
FEATURES = [
    (claim("share_below", measure="sigma", index=2, layers="head", stage="pre", reduce_layers="max", below=0.5), SEEDS),
    (claim("share_above", measure="tightness", layers="all", stage="weight", reduce_layers="min", above=0.5), SEEDS),
    (claim("share_between", measure="line:dnc", between=[1, 2]), SEEDS),
    (
        claim("share_below", measure="rank", layers="inner", stage="pre", reduce_layers="max", below=5),
        SEEDS | {"model.depth": [4, 5]},
    ),
    (claim("share_below", step="first", below=5), SEEDS),
    (
        claim("equal_ranks", layers="intermediate", stage="pre", where={"weight_decay": 1e-3}),
        SEEDS | {"weight_decay": [1e-3, 2e-3]},
    ),
    (claim("count", above=0.5, at_least=2, at_most=4, given=TCV | {"below": 1}), SEEDS),
    (claim("value", statistic="max", at_most=1.5), SEEDS),
    (claim("value", statistic="min", at_least=0.5, at_most=1.5), SEEDS),
    (claim("value", value=2, absolute=0.5, relative_to="dnc"), SEEDS),
    (claim("value", statistic="best", **TCV, at_most=0.1), SEEDS),
    (claim("monotone", axis="layer", direction="decreasing", measure="tcv", layers="head", stage="post"), {"seed": 8}),
    (claim("monotone", axis="step", direction="increasing", **TCV, relative_to_first=True), {"seed": 8}),
    (claim("monotone", axis="weight_decay", direction="increasing"), DECAYS),
    (claim("monotone", axis="weight_decay", direction="either"), DECAYS),
    (claim("slope", axis="weight_decay", scale="semilogx", slope=2, absolute=0.5), DECAYS),
    (
        claim("slope", axis="layer", scale="linear", slope=1, absolute=0.5, measure="rank", layers="head", stage="pre"),
        {"seed": 8},
    ),
    (claim("monotone", axis="weight_decay", direction="decreasing", relative_to="dnc", inside=[0.99, 1.01]), DECAYS),
    (claim("value", statistic="mean", at_least=0.5, relative_to="dnc", inside=[0.99, 1.01]), SEEDS),
    (claim("share_at_levels", levels=["dnc", "pairs"], absolute=1e-4, stationary=1e-6, by="estimate"), SEEDS),
    (claim("crossing", relative_to="dnc", axis="weight_decay", threshold=1.0, value=3e-3, tolerance=0.02), DECAYS),
    (claim("ordering", smaller=TCV, larger=TCV | {"step": "first"}), SEEDS),
    (claim("ordering", smaller={"given": HALVES[0]}, larger={"given": HALVES[1]}), SEEDS),
    (
        claim("ordering", smaller={"where": {"weight_decay": 1e-3}}, larger={"where": {"weight_decay": 8e-3}}),
        DECAYS | {"seed": 8},
    ),
]
SHARES = ("share_below", "share_above", "share_between", "share_at_levels", "equal_ranks", "monotone")


@pytest.mark.parametrize(("stated", "replicate"), FEATURES, ids=lambda value: value.get("check", ""))
def test_records_turn_every_kind_of_selection_round(stated, replicate, tmp_path):
    """Whatever the papers' claims use today: what is planted has the outcome that was worked out for it."""
    groups = stated["check"] == "ordering" and stated["smaller"].keys() & {"where", "given"}
    keys = stated | (
        {"at_least": 0.6} if stated["check"] in SHARES or (stated["check"] == "ordering" and not groups) else {}
    )
    (parsed,) = parse_claims({"planted": keys}).values()
    assert complaints(tried(tmp_path, parsed, keys, experiment(replicate))) == []


@pytest.mark.parametrize(
    ("stated", "replicate", "said"),
    [
        (claim("share_below", below=1, at_least=0.9), {"seed": 3}, "no record holds"),
        (claim("share_below", below=1, at_least=0.0), {"seed": 3}, "no record fails"),
        (claim("count", below=1, at_most=9), {"seed": 3}, "no record fails"),
        (claim("count", below=1, at_least=9), {"seed": 3}, "no record holds"),
        (
            claim("slope", axis="weight_decay", scale="loglog", slope=1, absolute=1),
            {"weight_decay": [1e-3, 2e-3]},
            "slope",
        ),
    ],
)
def test_a_claim_that_can_only_have_one_outcome_is_found(stated, replicate, said, tmp_path):
    (parsed,) = parse_claims({"planted": stated}).values()
    assert said in str(complaints(tried(tmp_path, parsed, stated, experiment(replicate))))


def test_a_check_that_cannot_fail_is_found(tmp_path, monkeypatch):
    """Each check in turn replaced by one that says that the claim holds."""
    for stated, replicate in FEATURES[:6]:
        keys = stated | {"at_least": 0.6}
        (parsed,) = parse_claims({"planted": keys}).values()
        with monkeypatch.context() as patch:
            patch.setitem(judging.CHECKS, type(parsed), lambda claim, sample: Decision(True, "", 24))
            found = complaints(tried(tmp_path, parsed, keys, experiment(replicate)))
        assert [wished for _, wished, outcome, _ in found[:-1] if outcome == HOLDS].count(FAILS) >= 1
        assert found[-1] == "no record fails"
