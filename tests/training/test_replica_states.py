"""Replicas that diverge, die or converge: found, frozen, written down, and of no consequence for the others."""

import pytest
import torch

from ncbench.records.folder import RunFolder
from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.compose import compose_jobs
from ncbench.training import blocks
from ncbench.training.replica_states import ReplicaStates

BASE = ["+experiment=dufm_k10", "schedule.steps=60", "measure.points=6", "trainer.progress=false"]
BASE += ["trainer.checkpoint_seconds=0"]
MIDDLE = 22  # the last step measured before the end
NOTHING = {"converged": [], "diverged": [], "dead": [], "stalled": []}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 10)


def execute(overrides, folder):
    (composed,) = compose_jobs([*BASE, *overrides], multirun=False)
    return run_execute.execute(composed.config, folder, command="test")


def network(folder):
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("network.")}


def states(folder):
    return RunFolder(folder).info()["replica_states"]


@pytest.mark.parametrize("rest", [[], ["optimizer=gd"]], ids=["heavy_ball", "gd"])
def test_diverging_replicas_stop_and_the_others_do_not_notice(rest, tmp_path):
    axes = ["replicate.seed=2", *rest]
    assert execute([*axes, "+replicate.lr=[0.5,3000]"], tmp_path / "mixed") == 0
    assert execute([*axes, "optimizer.lr=0.5"], tmp_path / "good") == 0
    found = states(tmp_path / "mixed")
    assert [entry["replica"] for entry in found["diverged"]] == [1, 3]
    assert states(tmp_path / "good") == NOTHING
    mixed, good = network(tmp_path / "mixed"), network(tmp_path / "good")
    for name, value in mixed.items():
        assert torch.equal(value[[0, 2]], good[name]), name
        assert value.isfinite().all()
    losses = load_measures(tmp_path / "mixed", measures=["loss"]).set_index(["replica", "step"]).value
    stopped = found["diverged"][0]["step"]
    assert losses[1, 60] == losses[1, MIDDLE]
    assert losses[0, 60] < losses[0, MIDDLE]
    assert 0 < stopped <= MIDDLE
    assert RunFolder(tmp_path / "mixed").info()["status"] == "done"


def test_a_diverging_replica_under_an_optimiser_of_torchs_own(tmp_path):
    adam = ["replicate.seed=2", "optimizer=adam", "references=[]", "optimizer.lr=1e4", "schedule.steps=300"]
    assert execute(adam, tmp_path / "run") == 1  # as nothing is left
    assert [entry["replica"] for entry in states(tmp_path / "run")["diverged"]] == [0, 1]
    assert all(value.isfinite().all() for value in network(tmp_path / "run").values())


def test_a_converged_replica_stops_before_the_others(tmp_path):
    base = ["replicate.seed=2", "+replicate.lr=[0.5,1e-5]", "schedule.steps=300"]
    assert execute(base, tmp_path / "whole") == 0
    assert execute([*base, "+schedule.tolerance=4e-3"], tmp_path / "early") == 0
    found = states(tmp_path / "early")["converged"]
    assert {entry["replica"] for entry in found} == {0, 2}
    assert all(entry["step"] % 10 == 0 and 10 < entry["step"] < 300 for entry in found)
    whole, early = network(tmp_path / "whole"), network(tmp_path / "early")
    for name in whole:
        assert torch.equal(whole[name][[1, 3]], early[name][[1, 3]])
        assert not torch.equal(whole[name][[0, 2]], early[name][[0, 2]])


def test_a_dead_replica_is_told_from_one_that_starts_small(tmp_path):
    overrides = ["replicate.seed=1", "+replicate.init_scale=[0.7,1e-4]", "schedule.steps=200"]
    assert execute(overrides, tmp_path / "run") == 0
    assert [entry["replica"] for entry in states(tmp_path / "run")["dead"]] == [1]
    # Without decay nothing pulls a small start to zero, so it is not dead.
    assert execute([*overrides, "objective.weight_decay=0", "objective.feature_decay=0"], tmp_path / "free") == 0
    assert states(tmp_path / "free") == NOTHING


def test_momentum_may_revive_a_silent_replica():
    watched = ReplicaStates(2)
    silent, alive = [0.0, 1.0, 0.0, 1e-3, 1e-3], [1.0] * 5
    for step, (first, second) in enumerate([(silent, silent), (alive, silent), (silent, silent)], 1):
        watched.check(torch.tensor([first, second]).T, step)
    assert watched.summary() == {**NOTHING, "dead": [{"replica": 1, "step": 2}]}


def test_only_those_that_had_converged_or_stalled_wake_when_the_objective_changes():
    watched = ReplicaStates(5)
    for replica, name in enumerate(("converged", "diverged", "dead", "stalled")):
        watched.mark(torch.arange(5) == replica, name, 10 + replica)
    found = {
        name: [entry] for name, entry in zip(NOTHING, [{"replica": i, "step": 10 + i} for i in range(4)], strict=True)
    }
    assert watched.summary() == found
    assert watched.running.tolist() == [False] * 4 + [True]
    watched.wake()
    assert watched.summary() == {**found, "converged": [], "stalled": []}
    assert watched.running.tolist() == [True, False, False, True, True]
    assert watched.since.tolist() == [-1, 11, 12, -1, -1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2e6])
def test_what_counts_as_diverged(bad):
    watched = ReplicaStates(3)
    parameter = torch.ones(3, 4, 4)
    parameter[1, 2, 2] = bad
    assert watched.find_diverged([torch.ones(3, 2, 2), parameter], 7).tolist() == [False, True, False]
    assert watched.summary()["diverged"] == [{"replica": 1, "step": 7}]
    assert not watched.find_diverged([parameter], 8).any()  # said once


def test_frozen_replicas_and_momentum_survive_a_stop(tmp_path, monkeypatch):
    overrides = ["replicate.seed=2", "+replicate.lr=[0.5,3000]"]
    assert execute(overrides, tmp_path / "whole") == 0
    real, calls = session.RunSession._record, []

    def stops(self, step, epoch, found, network):
        real(self, step, epoch, found, network)
        calls.append(step)
        if step == MIDDLE:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.RunSession, "_record", stops)
        assert execute(overrides, tmp_path / "stopped") == 1
    assert execute(overrides, tmp_path / "stopped") == 0
    assert states(tmp_path / "stopped") == states(tmp_path / "whole")
    one, two = (torch.load(tmp_path / n / "checkpoints" / "last.ckpt", weights_only=True) for n in ("whole", "stopped"))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert all(torch.equal(one["state_dict"][name], two["state_dict"][name]) for name in one["state_dict"])
    momenta = [[s["momentum_buffer"] for s in c["optimizer_states"][0]["state"].values()] for c in (one, two)]
    assert len(momenta[0]) == 5
    assert all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))


def test_the_momentum_is_the_one_torch_would_keep(tmp_path):
    # After one step from rest the momentum is the gradient, so a step of gd at rate 1 goes exactly that far.
    assert execute(["replicate.seed=1", "schedule.steps=1", "trainer.precision=64"], tmp_path / "ball") == 0
    state = torch.load(tmp_path / "ball" / "checkpoints" / "last.ckpt", weights_only=True)
    gd = ["replicate.seed=1", "schedule.steps=1", "trainer.precision=64", "optimizer=gd", "optimizer.lr=1.5"]
    assert execute(gd, tmp_path / "gd") == 0
    (H, H_gd) = (network(tmp_path / n)["network.features.value"] for n in ("ball", "gd"))
    momentum = state["optimizer_states"][0]["state"][0]["momentum_buffer"]
    torch.testing.assert_close(H - H_gd, momentum, rtol=1e-9, atol=1e-15)
