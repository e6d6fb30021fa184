"""The Hessian at the end of runs of free features: known minima, NaN where nothing has come to rest."""

import math

import pytest
import torch

from ncbench.analysis import landscape
from ncbench.models.replica import DUFM
from ncbench.report import load_measures
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.training import hessian_measures as measures
from tests.helpers.ensemble_runs import column

BASE = ["dataset=labels", "dataset.classes=6", "dataset.per_class=1", "model=dufm", "model.depth=2", "model.width=8"]
BASE += ["model.activation=linear", "objective=dufm", "objective.loss=ce", "objective.weight_decay=4e-3"]
BASE += ["objective.feature_decay=4e-3", "optimizer=lbfgs", "schedule=stationary", "schedule.stationary=1e-9"]
BASE += ["measure.points=3", "trainer.precision=64", "trainer.threads=1", "trainer.progress=false"]
BASE += ["measure.hessian=true", "schedule.steps=2000"]
NAMES = [f"hessian_{name}" for name in ("nullity", "negative", "logdet", "smallest")]


def executed(overrides, folder):
    config = compose_jobs([*BASE, *overrides], multirun=False)[0].config
    assert run_execute.execute(config, folder, command="test") == 0
    return folder


def test_dnc_and_pairs_after_training_from_near_them(tmp_path):
    """Table of the theory for d = 8: zeros 50 and 36, sum of log(e / lam) 86.04 and 73.35, the least e is lam."""
    axes = ["+replicate={start: [dnc, pairs], start_noise: [0, 0.05]}"]
    folder = executed(axes, tmp_path / "run")
    assert max(column(folder, "grad_max", 2000)) <= 1.001e-9
    assert column(folder, "loss", 2000) == pytest.approx([0.111306] * 2 + [0.104196] * 2, abs=1e-6)
    assert column(folder, "hessian_nullity", 2000) == [50, 50, 36, 36]
    assert column(folder, "hessian_negative", 2000) == [0] * 4
    assert column(folder, "hessian_logdet", 2000) == pytest.approx([86.04] * 2 + [73.35] * 2, abs=0.005)
    assert column(folder, "hessian_smallest", 2000) == pytest.approx([1] * 4, rel=1e-5)
    assert set(load_measures(folder, measures=NAMES).step) == {2000}


def test_what_has_not_come_to_rest_has_no_hessian_and_zero_has_one(tmp_path):
    """At zero, for L = 2, the Hessian is that of the decays: no zeros, e = lam."""
    axes = ["+replicate.decay=[0.5,1e-5]", "model.init_scale=2.5", "schedule.steps=30", "schedule.stationary=1e-12"]
    folder = executed(axes, tmp_path / "run")
    found = [column(folder, name, 30) for name in NAMES]
    assert [values[0] for values in found] == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert all(math.isnan(values[1]) for values in found)
    assert column(folder, "grad_max", 30)[1] > 1e-7


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_every_objective_has_its_own_hessian(loss, monkeypatch):
    """Against autograd's dense Hessian of the objective written out once more, unequal decays, at any point."""
    monkeypatch.setattr(measures, "STATIONARY", 10.0)
    seen = []
    real = landscape._dense_hessian
    monkeypatch.setattr(landscape, "_dense_hessian", lambda *given: seen.append(real(*given)) or seen[-1])
    shape = dict(depth=2, width=3, activation="relu", init_scale=1.0, num_classes=2, num_samples=4, seeds=[3, 4])
    network, labels = DUFM(**shape, dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    lam_H, lams = torch.tensor([0.1, 0.2]).double(), torch.tensor([[0.3, 0.4], [0.5, 0.6]]).double()

    def sample_losses(outputs):
        if loss == "ce":
            return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
        return (outputs - torch.eye(2, dtype=outputs.dtype)[labels]).square().sum(1) / 2

    found = measures.hessian_measures(network, sample_losses, lam_H, lams, torch.zeros(2))
    assert list(found) == NAMES
    for replica in range(2):
        H, W_1, W_2 = (p.detach()[replica] for p in (network.features.value, *network.weights))

        def objective(x, replica=replica):
            H, W_1, W_2 = x[:12].view(4, 3), x[12:21].view(3, 3), x[21:].view(2, 3)
            decays = lam_H[replica] * H.square().sum() + lams[replica, 0] * W_1.square().sum()
            decays = decays + lams[replica, 1] * W_2.square().sum()
            return sample_losses(torch.relu(H @ W_1.T) @ W_2.T).sum() / 4 + decays / 2

        expected = torch.autograd.functional.hessian(objective, torch.cat([p.flatten() for p in (H, W_1, W_2)]))
        torch.testing.assert_close(torch.from_numpy(seen[replica]), expected, rtol=0, atol=1e-13)


def test_units_are_the_geometric_mean_of_the_decays():
    """At zero with L = 2 the eigenvalues are the decays: 1, 2, 4 have the mean 2."""
    shape = dict(depth=2, width=2, activation="linear", init_scale=1.0, num_classes=2, num_samples=4, seeds=[0])
    network = DUFM(**shape, dtype=torch.float64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    given = (torch.tensor([1.0]), torch.tensor([[2.0, 4.0]]), torch.zeros(1))
    found = measures.hessian_measures(network, lambda f: f.square().sum(1), *given)
    # Eight eigenvalues 1 (H_1), four 2 (W_1), four 4 (W_2).
    expected = [0, 0, 8 * math.log(0.5) + 4 * math.log(2), 0.5]
    assert [float(value) for value in found.values()] == pytest.approx(expected)
    without = measures.hessian_measures(network, lambda f: f.square().sum(1), torch.zeros(1), *given[1:])
    assert [math.isnan(float(value)) for value in without.values()] == [False, False, True, True]
