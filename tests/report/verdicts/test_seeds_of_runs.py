"""Claims are judged over the networks of runs that differ in the seed as over the replicas of one run."""

import pytest

from ncbench.report.verdicts import selection
from ncbench.report.verdicts.judge import judge
from tests.helpers.run_folders import write_values
from tests.helpers.seed_sweeps import write_seed
from tests.helpers.stated_claims import claim, named

BELOW = claim("share_below", measure="loss", below=3.0, at_least=0.5, by="estimate")
MEDIAN = claim("value", measure="loss", at_most=3.0, by="estimate")
LOSSES = (1.0, 2.0, 4.0)


def verdicts(dir):
    ((*found,),) = (judgement.verdicts for judgement in judge(dir))
    return found


def write_seeds(base):
    for seed, loss in enumerate(LOSSES):
        write_seed(base / f"run{seed}", seed, loss, claims=named(BELOW, MEDIAN))
    return base


def test_three_runs_of_one_network_are_judged_as_one_run_of_three(tmp_path):
    write_values(tmp_path / "one" / "run", {"loss": list(LOSSES)}, named(BELOW, MEDIAN))
    share, median = verdicts(write_seeds(tmp_path / "three"))
    assert [(each.outcome, each.measured) for each in (share, median)] == [
        (each.outcome, each.measured) for each in verdicts(tmp_path / "one")
    ]
    # Wilson's interval of 2 of 3 by hand: (2/3 + 0.64024 -+ 1.95996 sqrt(2/27 + 0.10671)) / 2.28049
    assert (share.evidence["hits"], share.sample_size) == (2, 3)
    assert (share.evidence["low"], share.evidence["high"]) == pytest.approx((0.20766, 0.93851), abs=1e-5)
    assert median.evidence["estimate"] == 2.0


def test_a_network_that_two_runs_hold_is_one_replica(tmp_path, mutant):
    base = write_seeds(tmp_path)
    write_seed(base / "copy", 2, 4.0, claims=named(BELOW, MEDIAN))
    write_seed(base / "lost", 2, 4.0, status="failed", claims=named(BELOW, MEDIAN))
    share, median = verdicts(base)
    assert (share.outcome, share.evidence["hits"], share.sample_size) == ("holds", 2, 3)
    assert median.evidence["estimate"] == 2.0
    twice = mutant(selection, "return frame[~_index(frame).isin(twice)]", "return frame")
    runs = sorted(path for path in base.iterdir() if path.name != "lost")
    assert len(twice.Sample(runs).replicas) == 4
    assert len(selection.Sample(runs).replicas) == 3


def test_the_best_replica_is_looked_for_where_the_claim_looks(tmp_path):
    best = claim("value", statistic="best", where={"seed": [0, 1]}, value=1.0, absolute=0.1)
    for seed, loss in enumerate(LOSSES):
        write_seed(tmp_path / f"run{seed}", seed, loss, claims=named(best), status="failed" if seed == 2 else "done")
    (found,) = verdicts(tmp_path)
    assert (found.outcome, found.evidence["run"]) == ("holds", "run0")
