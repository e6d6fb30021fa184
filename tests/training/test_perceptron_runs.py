"""Runs of perceptrons: the warm decay, after a stop as if nothing had happened, and the axes."""

import json
from functools import cache, partial

import pandas as pd
import pytest
import torch

from ncbench.data import GaussianMixture
from ncbench.models.replica import LBFGS, EnsembleLBFGS, Layout, LBFGSState, Perceptron, SquaredError
from ncbench.report import load_measures, load_sample_grams, load_spectra
from ncbench.run import execute as run_execute
from ncbench.run import session
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from ncbench.training import blocks, perceptron
from tests.helpers.ensemble_runs import checkpoint, column, states, weights

BASE = ["dataset=mixture", "dataset.num_samples=15", "dataset.dimension=3", "dataset.noise=0.3", "model=perceptron"]
BASE += ["model.depth=2", "model.width=4", "objective=squared", "objective.weight_decay=0.02", "objective.delta=0.1"]
BASE += [
    "trainer.precision=64",
    "trainer.threads=1",
    "trainer.progress=false",
    "trainer.checkpoint_seconds=0",
    "measure.points=9",
]
STATIONARY = ["optimizer=lbfgs", "schedule=stationary", "schedule.steps=150", "schedule.stationary=1e-3"]
SEEDS = ["+replicate.seed=3"]
WARM = [*SEEDS, *STATIONARY, "schedule.warm_steps=30", "objective.warm_decay=0.5"]
COSINE = [*SEEDS, "optimizer=adam", "schedule=full_batch_cosine", "schedule.steps=60", "optimizer.lr=0.01"]
COSINE += ["+schedule.warm_steps=30", "objective.warm_decay=0.5"]
NOTHING = {"converged": [], "diverged": [], "dead": [], "stalled": []}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 20)


@cache
def composed(*overrides):
    return compose_jobs([*BASE, *overrides], multirun=False)[0]


def status_of(overrides, folder):
    return run_execute.execute(composed(*overrides).config, folder, command="test")


def execute(overrides, folder):
    assert status_of(overrides, folder) == 0
    return folder


def built(overrides):
    one = composed(*STATIONARY, *overrides)
    return build(one.config)


def test_warm_decay_then_weight_decay_with_lbfgs_started_anew(tmp_path):
    folder = execute(WARM, tmp_path / "run")
    data, rest = built(SEEDS).data, dict(depth=2, width=4, activation="tanh", num_outputs=3)
    network = Perceptron(**rest, inputs=data.inputs, seeds=[0, 1, 2])
    layout = Layout(network)
    state = LBFGSState(3, layout.size, 20, torch.float64)
    x = layout.gather(network)
    for lam, rounds in ((0.5, 30), (0.02, 120)):
        decays = torch.tensor([[0.1 * lam, lam]] * 3, dtype=torch.float64)
        state.restart(x)
        problem_of = partial(SquaredError, network, layout, data.inputs, data.targets, decays)
        EnsembleLBFGS(problem_of, 15, state, LBFGS(), 1e-3).advance(rounds)
        x = state.x.clone()
    layout.scatter(x, network)
    for name, value in weights(folder).items():
        assert torch.equal(value, network.state_dict()[name])
    assert state.count.min() > 1
    assert len(states(folder)["converged"]) == 3
    assert max(column(folder, "grad_max", 150)) <= 1e-3  # of the objective with weight_decay


def test_replicas_that_stood_still_during_the_warm_steps_run_again(tmp_path):
    # Under so large a decay all converge at once, close to zero; that is no end.
    warm = [*WARM, "objective.warm_decay=1000"]
    watched = built(warm).module
    watched.on_train_start()
    watched.train_block(0, 30)
    assert [entry["replica"] for entry in watched.states.summary()["converged"]] == [0, 1, 2]
    folder = execute([*warm, "schedule.steps=31"], tmp_path / "run")
    assert states(folder) == NOTHING


def flattened(tree, path=""):
    """Every tensor of a checkpoint under its path."""
    if isinstance(tree, torch.Tensor):
        return {path: tree}
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    return {name: value for key, entry in entries for name, value in flattened(entry, f"{path}/{key}").items()}


def assert_same_run(a, b):
    one, two = (flattened({key: checkpoint(run)[key] for key in ("state_dict", "optimizer_states")}) for run in (a, b))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert states(a) == states(b)
    for load in (load_measures, load_spectra, load_sample_grams):
        tables = [load(folder).drop(columns="run") for folder in (a, b)]
        keys = [c for c in tables[0].columns if c not in ("value", "singular_value", "gram")]
        tables = [t.sort_values(keys, ignore_index=True) for t in tables]
        assert not tables[1].duplicated(keys).any()
        assert len(tables[0])
        pd.testing.assert_frame_equal(*tables, check_exact=True, check_categorical=False)


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


# Measured at 0, 1, 2, 4, 9, 18, 36, 73, 150 and at 0, 1, 2, 3, 6, 10, 19, 33, 60; the run goes on from the end of the
# block before: in the warm steps, right at their end, behind them.
@pytest.mark.parametrize(("overrides", "at"), [(WARM, 18), (WARM, 36), (WARM, 73), (COSINE, 19)])
def test_a_stopped_run_continues_as_if_nothing_had_happened(overrides, at, tmp_path, monkeypatch):
    overrides = [*overrides, "schedule.stationary=1e-12"]
    whole = execute(overrides, tmp_path / "whole")
    assert_same_run(whole, stopped(overrides, tmp_path / "stopped", monkeypatch, at))


@pytest.mark.parametrize(
    ("old", "new", "overrides"),
    [
        ("self.flat[0].data.copy_(start)", "self.flat[0].data.mul_(1.1)", COSINE),
        ("elif int(self.gd_step) == 0:", "else:", WARM),
    ],
)
def test_planted_bugs_are_found_after_a_stop(old, new, overrides, mutant, tmp_path, monkeypatch):
    whole = execute(overrides, tmp_path / "whole")
    start = vars(mutant(perceptron, old, new).PerceptronModule)["on_train_start"]
    monkeypatch.setattr(perceptron.PerceptronModule, "on_train_start", start)
    again = stopped(overrides, tmp_path / "stopped", monkeypatch, 19 if overrides is COSINE else 18)
    assert not all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


def test_measuring_does_not_change_training(tmp_path):
    often, seldom = (execute([*WARM, f"measure.points={n}"], tmp_path / str(n)) for n in (9, 2))
    assert len(set(load_measures(often).step)) == 9
    assert set(load_measures(seldom).step) == {0, 150}
    for name, value in weights(often).items():
        assert torch.equal(value, weights(seldom)[name])


AXES = ["+replicate.seed=2", "+replicate.weight_decay=[0.01,0.04]", "+replicate.delta=[1.0,0.5]"]
AXES += ["+replicate.noise_ratio=[0.5,3.0]", "+replicate.centroids=[false,true]"]


def test_the_axes_are_columns_and_every_replica_has_its_own_problem(tmp_path):
    folder = execute([*AXES, *STATIONARY, "schedule.steps=2"], tmp_path / "run")
    rows = json.loads((folder / "replicas.json").read_text())
    one = built(AXES)
    assert len(rows) == len(one.replicas) == 32
    assert list(rows[0]) == ["replica", "seed", "weight_decay", "delta", "noise_ratio", "centroids", "noise"]
    assert [row["seed"] for row in rows] == [0] * 16 + [1] * 16
    assert [row["centroids"] for row in rows] == [False, True] * 16
    mixture = GaussianMixture(classes=5, num_samples=15, dimension=3, noise=0.0, radius=2.0)
    for i, row in enumerate(rows):
        lam, delta, sigma = row["weight_decay"], row["delta"], row["noise"]
        assert sigma == pytest.approx(row["noise_ratio"] * lam**0.5, rel=1e-15)
        assert one.module.decays[i].tolist() == pytest.approx([lam * delta, lam], rel=1e-15)
        x = mixture.means[mixture.labels] + sigma * mixture.eps
        if row["centroids"]:
            x = torch.stack([x[label == mixture.labels].mean(0) for label in mixture.labels])
        for of_module in (one.module.points.inputs, one.module.points.targets, one.network.features.value):
            assert torch.allclose(of_module[i], x, rtol=1e-13, atol=1e-14)
    assert one.module.measures.matched_pairs == [(i, i + 1) for i in range(0, 32, 2)]
    decayed = {entry.name: entry.decay for entry in one.module.objective.decayed}
    assert set(decayed) == {f"head.{l}.linear.{kind}" for l in (1, 2) for kind in ("weight", "bias")}
    for name, decay in decayed.items():
        assert torch.equal(decay, one.module.decays[:, int(name[5]) - 1])


def test_a_replica_of_a_grid_equals_its_own_run(tmp_path):
    whole = execute([*AXES, *STATIONARY, "schedule.steps=60"], tmp_path / "ensemble")
    rows = json.loads((whole / "replicas.json").read_text())
    for replica in (5, 26):
        row = rows[replica]
        alone = [
            f"seed={row['seed']}",
            f"objective.weight_decay={row['weight_decay']}",
            f"dataset.noise={row['noise']}",
        ]
        alone += [f"objective.delta={row['delta']}", f"+replicate.centroids=[{str(row['centroids']).lower()}]"]
        own = weights(execute([*alone, *STATIONARY, "schedule.steps=60"], tmp_path / str(replica)))
        for name, value in weights(whole).items():
            assert torch.equal(value[replica], own[name][0]), name
