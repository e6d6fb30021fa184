"""Whole runs of perceptrons, tiny ones: how replicas end, and the same numbers as autograd and plain loops."""

import json
import math
from functools import cache

import pytest
import torch

from ncbench.report import load_measures, load_sample_grams
from ncbench.run import execute as run_execute
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs
from ncbench.training import PerceptronModule, blocks, perceptron
from tests.helpers.ensemble_runs import column, states, weights

BASE = ["dataset=mixture", "dataset.num_samples=15", "dataset.dimension=3", "dataset.noise=0.3", "model=perceptron"]
BASE += ["model.depth=2", "model.width=4", "objective=squared", "objective.weight_decay=0.02"]
BASE += [
    "trainer.precision=64",
    "trainer.threads=1",
    "trainer.progress=false",
    "trainer.checkpoint_seconds=0",
    "measure.points=4",
]
STATIONARY = ["optimizer=lbfgs", "schedule=stationary", "schedule.steps=400", "schedule.stationary=1e-6"]
COSINE = ["optimizer=adam", "schedule=full_batch_cosine", "schedule.steps=60", "optimizer.lr=0.01"]
SEEDS = ["+replicate.seed=3"]
NOTHING = {"converged": [], "diverged": [], "dead": [], "stalled": []}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 20)


@cache
def composed(*overrides):
    return compose_jobs([*BASE, *overrides], multirun=False)[0]


def execute(overrides, folder):
    assert run_execute.execute(composed(*overrides).config, folder, command="test") == 0
    return folder


def built(overrides):
    one = composed(*STATIONARY, *overrides)
    return build(one.config)


def objective(parameters, points, replica, lam, delta=1.0):
    """F of one replica with tanh between its layers, written out from the paper."""
    of = lambda rows: rows[replica if len(rows) > 1 else 0]  # noqa: E731
    z = of(points.inputs)
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    for l, (W, b) in enumerate(pairs, 1):
        z = z @ W.T + b
        z = torch.tanh(z) if l < len(pairs) else z
    fit_ = (z - of(points.targets)).square().sum(1).mean()
    penalties = [sum(p.square().sum() for p in pair) * lam * (delta if l == 0 else 1.0) for l, pair in enumerate(pairs)]
    return fit_, sum(penalties)


def leaves(state, replica):
    """W_1, b_1, W_2, b_2 ... of one replica."""
    return [value[replica].clone().requires_grad_() for value in state.values()]


def test_how_replicas_end_stands_in_run_json(tmp_path):
    # 1e-12 is already stationary, the products of 1e200 overflow: no step from there is acceptable.
    axes = ["+replicate.init_scale=[1.0,1e-12,1e200]", "model.biases=false"]
    folder = execute([*axes, *STATIONARY, "schedule.steps=30"], tmp_path / "short")
    assert states(folder) == {
        **NOTHING,
        "converged": [{"replica": 1, "step": 1}],
        "stalled": [{"replica": 2, "step": 20}],
    }
    # The others go on, and end where the gradient is small.
    folder = execute([*axes, *STATIONARY], tmp_path / "long")
    found = states(folder)
    assert [entry["replica"] for entry in found["converged"]] == [0, 1]
    assert 30 < found["converged"][0]["step"] < 400
    assert [entry["replica"] for entry in found["stalled"]] == [2]
    assert max(column(folder, "grad_max", 400)[:2]) <= 1e-6


def test_a_diverging_replica_stops_and_the_others_do_not_notice(tmp_path):
    rest = ["optimizer=gd", "schedule=full_batch", "schedule.steps=70", "optimizer.lr=0.1"]
    folder = execute([*rest, "+replicate.weight_decay=[0.02,50.0,0.1]"], tmp_path / "mixed")
    good = execute([*rest, "+replicate.weight_decay=[0.02,0.1]"], tmp_path / "good")
    assert states(folder) == {**NOTHING, "diverged": [{"replica": 1, "step": 8}]}  # lr 2 lam = 10: times -9 a step
    assert states(good) == NOTHING
    mixed, expected = weights(folder), weights(good)
    for name, value in mixed.items():
        assert torch.equal(value[[0, 2]], expected[name])
        assert value.isfinite().all()


def test_a_converged_replica_of_a_torch_optimiser_stands_still(tmp_path):
    rest = ["optimizer=gd", "schedule=stationary", "optimizer.lr=0.1", "+replicate.weight_decay=[1.0,0.02]"]
    early = execute([*rest, "schedule.steps=200", "schedule.stationary=1e-4"], tmp_path / "early")
    rest += ["schedule.stationary=null"]
    (entry,) = states(early)["converged"]
    assert entry["replica"] == 0
    assert entry["step"] % 20 == 0
    at = execute([*rest, f"schedule.steps={entry['step']}"], tmp_path / "at")
    whole = execute([*rest, "schedule.steps=200"], tmp_path / "whole")
    for name, value in weights(early).items():
        assert torch.equal(value[0], weights(at)[name][0])
        assert torch.equal(value[1], weights(whole)[name][1])
    assert column(early, "grad_max", 200)[0] <= 1e-4 < column(early, "grad_max", 200)[1]


def test_values_are_those_of_autograd(tmp_path):
    axes = ["+replicate.weight_decay=[0.02,0.3]", "+replicate.delta=[1.0,0.1]", "+replicate.noise=[0.1,0.5]"]
    folder = execute([*axes, *STATIONARY, "schedule.steps=5", "model.depth=3"], tmp_path / "run")
    state, points = weights(folder), built(axes).data
    rows = json.loads((folder / "replicas.json").read_text())
    for replica, row in enumerate(rows):
        parameters = leaves(state, replica)
        parts = objective(parameters, points, replica, row["weight_decay"], row["delta"])
        gradients = torch.autograd.grad(sum(parts), parameters)
        expected = {"loss": sum(parts), "fit": parts[0], "regulariser": parts[1]}
        expected["grad_max"] = max(g.abs().max() for g in gradients)
        for measure, value in expected.items():
            assert column(folder, measure, 5)[replica] == pytest.approx(float(value.detach()), rel=1e-11), measure


def by_torch(start, points, replica, make, steps, rate=lambda step: 1.0, lam=0.02):
    """The parameters of one replica after so many steps of a torch optimiser on autograd's gradients."""
    parameters = leaves(start, replica)
    optimizer = make(parameters)
    base = optimizer.param_groups[0]["lr"]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = base * rate(step)
        optimizer.zero_grad()
        sum(objective(parameters, points, replica, lam)).backward()
        optimizer.step()
    return [p.detach() for p in parameters]


def cosine(step):
    return (1 + math.cos(math.pi * step / 60)) / 2


GD = ["optimizer=gd", "schedule=full_batch", "schedule.steps=60", "optimizer.lr=0.05"]
STEPPED = {
    "adam": (COSINE, lambda p: torch.optim.Adam(p, lr=0.01), cosine),
    "gd": (GD, lambda p: torch.optim.SGD(p, lr=0.05), lambda step: 1.0),
}


def largest_distance(folder, name):
    start, points = built(SEEDS).network.state_dict(), built(SEEDS).data
    state, (_, make, rate) = weights(folder), STEPPED[name]
    worst = 0.0
    for replica in range(3):
        expected = by_torch(start, points, replica, make, 60, rate)
        worst = max(
            worst, *(float((a[replica] - b).norm() / b.norm()) for a, b in zip(state.values(), expected, strict=True))
        )
    return worst


@pytest.mark.parametrize("name", STEPPED)
def test_steps_are_those_of_autograd_and_torch_optim(name, tmp_path):
    folder = execute([*SEEDS, *STEPPED[name][0]], tmp_path / "run")
    assert largest_distance(folder, name) <= 1e-11
    assert states(folder) == NOTHING


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1 + math.cos(math.pi * step / self.steps)) / 2", "(1 + math.cos(math.pi * step / self.steps))"),
        ("math.pi * step / self.steps", "math.pi * (step - done) / self.steps"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant, tmp_path, monkeypatch):
    bad = mutant(perceptron, old, new).PerceptronModule
    for name in ("train_block", "_gradient_block", "on_train_start"):
        monkeypatch.setattr(PerceptronModule, name, vars(bad)[name])
    folder = execute([*SEEDS, *COSINE], tmp_path / "run")
    assert not largest_distance(folder, "adam") <= 1e-6


def test_what_is_recorded_of_linear_autoencoders(tmp_path):
    linear = ["model.activation=linear", "model.biases=false", "+replicate.weight_decay=[0.01,0.0]"]
    folder = execute([*linear, "+replicate.centroids=[false,true]", *STATIONARY], tmp_path / "run")
    state = weights(folder)
    P = [
        value @ other for value, other in zip(state["head.2.linear.weight"], state["head.1.linear.weight"], strict=True)
    ]
    distance = column(folder, "centroid_distance", 400)
    assert distance[0] == pytest.approx(float((P[0] - P[1]).norm()), rel=1e-9)
    assert [math.isnan(value) for value in distance] == [False, True, False, True]
    assert [math.isnan(value) for value in column(folder, "mode_error", 400)] == [False, False, True, True]
    tightness = load_measures(folder, measures=["tightness"], steps=[400])
    pairs = set(zip(tightness.layer, tightness.source_layer, strict=True))
    assert pairs == {("head.1", "features"), ("head.2", "features"), ("head.2", "head.1")}
    assert set(load_measures(folder, measures=["tightness"]).step) == {0, 400}
    grams = load_sample_grams(folder, steps="last")
    (gram,) = grams[(grams.layer == "head.2") & (grams.replica == 1)].gram
    x = built([*linear, "+replicate.centroids=[false,true]"]).data.inputs[1] @ P[1].T
    assert gram == pytest.approx((x @ x.T).numpy(), rel=1e-5, abs=1e-5)


def test_only_the_squared_loss():
    with pytest.raises(ValueError, match="^loss=mse must be squared for a perceptron"):
        PerceptronModule(loss="mse", weight_decays=[0], deltas=[1], network=None, points=None, optimizer=None, steps=1)
