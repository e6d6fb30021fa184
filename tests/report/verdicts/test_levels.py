"""Shares of replicas at the theory's levels, and crossings of a number, on records with values worked by hand."""

import math

import pytest

from ncbench.claims.parse import parse_claims
from ncbench.report.verdicts import levels, selection
from tests.helpers.run_folders import write_values
from tests.helpers.stated_claims import claim, named, verdict

NAN = math.nan
AT_LEVELS = claim(
    "share_at_levels", levels=["dnc", "pairs"], absolute=1e-4, stationary=1e-6, at_least=0.6, by="estimate"
)
CROSSING = claim("crossing", axis="weight_decay", threshold=1.0, value=10.0, tolerance=0.02)


def test_a_replica_is_at_a_level_only_after_it_has_converged(tmp_path):
    """Of six: two at DNC, one at the pairs, one still falling past DNC, one at nothing, one diverged: 3 of 6."""
    values = {
        "loss": [0.09, 0.09005, 0.08, 0.09, 0.085, NAN],
        "grad_max": [1e-7, 1e-7, 1e-6, 2e-6, 1e-7, 1e-7],
    }
    found = verdict(tmp_path, AT_LEVELS, values, lines={"dnc": 0.09, "pairs": 0.08})
    assert found.evidence["states"] == {"dnc": 2, "pairs": 1, "no known level": 1, "not converged": 1, "diverged": 1}
    assert (found.outcome, found.evidence["hits"]) == ("fails", 3)
    states = [(row["replica"], row["state"]) for row in found.evidence["others"]]
    assert states == [(3, "not converged"), (4, "no known level"), (5, "diverged")]
    assert "dnc 2, pairs 1, no known level 1" in found.measured
    assert "0.085000 (gradient 1.0e-07)" in found.measured


def test_a_planted_bug_is_seen(tmp_path, mutant):
    values = {"loss": [0.09] * 8, "grad_max": [1e-3] * 8}
    write_values(tmp_path / "run", values, named(AT_LEVELS), lines={"dnc": 0.09, "pairs": 0.08})
    sample, parsed = selection.Sample([tmp_path / "run"]), parse_claims({"only": AT_LEVELS})["only"]
    assert levels.share_at_levels(parsed, sample).evidence["hits"] == 0
    hasty = mutant(levels, '"stationary": claim.stationary', '"stationary": 1.0')
    assert hasty.share_at_levels(parsed, sample).evidence["hits"] == 8


@pytest.mark.parametrize(
    ("losses", "outcome", "crossings"),
    [
        # log y is straight in log x between 5 and 20: 0.5 to 2 crosses 1 at 10.
        ([0.25, 0.5, 2.0, 4.0], "holds", [10.0]),
        ([4.0, 2.0, 0.5, 0.25], "holds", [10.0]),
        # 0.5 to 4 crosses 1 a third of the way: 5 * 4^(1/3) = 7.937.
        ([0.25, 0.5, 4.0, 8.0], "fails", [5 * 4 ** (1 / 3)]),
        ([0.5, 2.0, 0.5, 0.5], "fails", [2.5, 10.0]),
        ([0.5, 0.5, 0.5, 0.5], "fails", []),
    ],
)
def test_a_crossing_is_found_once_or_it_fails(tmp_path, losses, outcome, crossings):
    swept = [{"weight_decay": place} for place in (1.25, 5.0, 20.0, 80.0)]
    found = verdict(tmp_path, CROSSING, {"loss": losses}, swept=swept)
    assert (found.outcome, found.evidence["crossings"]) == (outcome, pytest.approx(crossings))


def test_an_axis_without_numbers_decides_nothing(tmp_path):
    found = verdict(tmp_path, CROSSING, {"loss": [0.5, 2.0]}, swept=[{"weight_decay": 0.0}, {"weight_decay": 1.0}])
    assert found.outcome == "undecided"
    assert "axis=weight_decay is not a positive number for every replica" in str(found.evidence)


def test_a_share_by_ones_and_zeros(tmp_path):
    """Three of four losses lie within 1 % of their line: the mean of ones and zeros is 3/4."""
    share = claim("value", statistic="mean", relative_to="dnc", inside=[0.99, 1.01], at_least=0.75, by="estimate")
    found = verdict(tmp_path, share, {"loss": [0.1, 0.1005, 0.2, 0.3]}, lines={"dnc": [0.1, 0.1, 0.2, 0.2]})
    assert (found.outcome, found.evidence["estimate"]) == ("holds", 0.75)


def test_a_level_that_no_run_knows_decides_nothing(tmp_path):
    misspelt = AT_LEVELS | {"levels": ["dnc", "pars"]}
    found = verdict(tmp_path, misspelt, {"loss": [0.09], "grad_max": [1e-7]}, lines={"dnc": 0.09})
    assert (found.outcome, found.evidence["reason"]) == ("undecided", "no theory line pars is recorded")


def test_a_level_that_does_not_exist_for_a_replica_is_none_of_it(tmp_path):
    found = verdict(tmp_path, AT_LEVELS, {"loss": [0.09], "grad_max": [1e-7]}, lines={"dnc": 0.09, "pairs": None})
    assert found.evidence["states"] == {"dnc": 1}
