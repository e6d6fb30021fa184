"""Free features to stationarity by L-BFGS: known minima, how replicas end, and the same after a stop or alone."""

from functools import cache

import pytest
import torch

from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.theory import dufm_ce
from ncbench.training import blocks, full_batch
from tests.helpers.ensemble_runs import checkpoint, column, states, weights

BASE = ["dataset=labels", "dataset.classes=6", "dataset.per_class=1", "model=dufm", "model.depth=2", "model.width=12"]
BASE += ["model.activation=linear", "objective=dufm", "objective.loss=ce", "objective.weight_decay=0.01"]
BASE += ["objective.feature_decay=0.01", "optimizer=lbfgs", "schedule=stationary", "schedule.stationary=1e-9"]
BASE += ["measure.points=3", "trainer.precision=64", "trainer.threads=1", "trainer.progress=false"]
BASE += ["trainer.checkpoint_seconds=0"]
UNIT = f"model.init_scale={12**0.5}"


@cache
def composed(*overrides):
    return compose_jobs([*BASE, *overrides], multirun=False)[0]


def status_of(overrides, folder):
    return run_execute.execute(composed(*overrides).config, folder, command="test")


def execute(overrides, folder):
    assert status_of(overrides, folder) == 0
    return folder


def test_every_end_is_between_the_best_known_loss_and_dnc(tmp_path):
    folder = execute(["+replicate.seed=12", UNIT, "schedule.steps=4000"], tmp_path / "run")
    losses, gradients = column(folder, "loss", 4000), column(folder, "grad_max", 4000)
    assert [entry["replica"] for entry in states(folder)["converged"]] == list(range(12))
    assert max(gradients) <= 1.001e-9
    # All end on critical points; pairs (rank 3, .23546343) are the best known one, DNC .25223867.
    assert min(losses) == pytest.approx(0.23546343, abs=5e-9)
    assert max(losses) <= 0.25223868
    known = [state.loss for state in dufm_ce.stable_end_states(6, 2, 0.01)]
    assert all(min(abs(loss - level) for level in known) < 1e-9 for loss in losses)


def test_dnc_stays_and_noise_is_forgotten(tmp_path):
    given = ["dataset.classes=4", "model.width=8", "+model.start=dnc", "+replicate={start_noise: [0, 0.02], seed: 2}"]
    folder = execute([*given, "schedule.steps=2000"], tmp_path / "run")
    first, last = column(folder, "loss", 0), column(folder, "loss", 2000)
    assert first[:2] == pytest.approx([0.15144569] * 2, abs=5e-9)
    assert last == pytest.approx([first[0]] * 4, abs=1e-10)
    assert min(first[2:]) > first[0] + 5e-5
    assert states(folder)["converged"][0]["step"] <= 1000


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("precision", [64, 32])
def test_it_comes_to_rest_at_the_decays_of_each_replica(loss, activation, precision, tmp_path):
    given = [f"objective.loss={loss}", f"model.activation={activation}", f"trainer.precision={precision}"]
    given += ["dataset.classes=3", "dataset.per_class=2", "model.width=5"]
    given += ["+replicate={weight_decay: [2e-3, 1e-2], seed: 2}"]
    given += ["objective.feature_decay=5e-3", f"schedule.stationary={1e-8 if precision == 64 else 1e-5}"]
    folder = execute([*given, "schedule.steps=3000", "model.init_scale=1.0"], tmp_path / "run")
    ended = states(folder)
    assert len(ended["converged"]) + len(ended["dead"]) >= 3
    gradients = column(folder, "grad_max", 3000)
    stopped = [entry["replica"] for name in ("converged", "dead") for entry in ended[name]]
    assert max(gradients[replica] for replica in stopped) <= (1.001e-8 if precision == 64 else 1.2e-5)
    assert all(a < b for a, b in zip(column(folder, "loss", 3000), column(folder, "loss", 0), strict=True))


def test_what_arrives_at_zero_is_dead(tmp_path):
    """Beyond the decay at which DNC exists, .1296 for K = 6 and L = 2, zero is the only critical point here."""
    folder = execute(["+replicate.decay=[0.5,0.01]", UNIT, "schedule.steps=2000"], tmp_path / "run")
    found = states(folder)
    assert [entry["replica"] for entry in found["dead"]] == [0]
    assert [entry["replica"] for entry in found["converged"]] == [1]
    assert column(folder, "loss", 2000)[0] == pytest.approx(1.791759469228055, rel=1e-12)  # log 6


def test_a_network_that_is_not_finite_stalls_and_the_others_do_not_notice(tmp_path):
    axes = ["schedule.steps=1500", "measure.layers=[head.2]"]
    folder = execute([*axes, "+replicate.init_scale=[3.0,1e200,2.0]"], tmp_path / "mixed")
    good = execute([*axes, "+replicate.init_scale=[3.0,2.0]"], tmp_path / "good")
    assert [entry["replica"] for entry in states(folder)["stalled"]] == [1]
    mixed, expected = weights(folder), weights(good)
    assert all(torch.equal(mixed[name][[0, 2]], expected[name]) for name in expected)


def test_a_replica_alone_is_the_one_of_the_ensemble(tmp_path):
    together = execute(["+replicate.seed=3", UNIT, "schedule.steps=300"], tmp_path / "together")
    alone = execute(["seed=1", UNIT, "schedule.steps=300"], tmp_path / "alone")
    for name, value in weights(alone).items():
        assert torch.equal(value[0], weights(together)[name][1])


def test_gradient_descent_stops_at_the_same_threshold(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 50)
    given = ["optimizer=gd", "optimizer.lr=0.5", "+model.start=dnc", "+replicate.start_noise=[0,0.5]"]
    folder = execute([*given, "schedule.steps=200", "schedule.stationary=1e-7"], tmp_path / "run")
    assert states(folder)["converged"] == [{"replica": 0, "step": 50}]
    assert column(folder, "grad_max", 200)[0] <= 1e-7 < column(folder, "grad_max", 200)[1]


RESUMED = ["+replicate.seed=3", UNIT, "schedule.steps=300", "measure.points=9", "schedule.stationary=1e-12"]


def stopped(overrides, folder, monkeypatch, at):
    """A run that is killed once it has recorded the step `at`, before its checkpoint, and goes on after that."""
    real = session.RunSession._record

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)
        if step == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert status_of(overrides, folder) == 1
    return execute(overrides, folder)


def same_tables(one, two):
    """Whether two runs have recorded the same values, bit for bit."""
    tables = [load_measures(folder).drop(columns="run") for folder in (one, two)]
    keys = [name for name in tables[0] if name != "value"]
    first, second = (table.sort_values(keys, ignore_index=True) for table in tables)
    return first["value"].equals(second["value"])


@pytest.mark.parametrize("at", [26, 59, 133, 300])
@pytest.mark.parametrize("precision", [64, 32])
def test_after_a_stop_as_if_nothing_had_happened(at, precision, tmp_path, monkeypatch):
    """Measured at 0, 1, 2, 5, 12, 26, 59, 133, 300, with blocks of 20 steps: it goes on from the block before."""
    monkeypatch.setattr(blocks, "BLOCK", 20)
    given = [*RESUMED, f"trainer.precision={precision}"]
    whole = execute(given, tmp_path / "whole")
    again = stopped(given, tmp_path / "stopped", monkeypatch, at)
    one, two = (checkpoint(folder)["state_dict"] for folder in (whole, again))
    assert one.keys() == two.keys()
    assert {"lbfgs.S", "lbfgs.x", "states.code"} <= set(one)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert states(whole) == states(again)
    assert same_tables(whole, again)


def test_a_state_that_is_not_resumed_is_found(mutant, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 20)
    whole = execute(RESUMED, tmp_path / "whole")
    bad = mutant(full_batch, "if int(self.gd_step) == 0:", "if True:").FullBatchModule
    monkeypatch.setattr(full_batch.FullBatchModule, "on_train_start", vars(bad)["on_train_start"])
    assert not same_tables(whole, stopped(RESUMED, tmp_path / "stopped", monkeypatch, 59))
