"""Starting at a solution: the matrices are the theory's, replica by replica; noise is that of the seed."""

import pytest
import torch

from ncbench.models.replica import DUFM, start_at
from ncbench.report import load_means, load_measures, load_replicas
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.theory import dufm_mse


def ensemble(seeds=(0, 1), **given):
    settings = dict(depth=4, width=12, activation="relu", init_scale=0.7, num_classes=10, num_samples=20)
    return DUFM(**{**settings, **given}, seeds=list(seeds), dtype=torch.float64)


LABELS = torch.arange(10).repeat_interleave(2)


@pytest.mark.parametrize("solution", ["srg", "dnc"])
def test_every_replica_has_the_closed_forms_loss_at_its_own_decays(solution):
    network = ensemble()
    decays = [([2e-3] * 4, 2e-3), ([1e-3, 2e-3, 1e-3, 4e-3], 5e-4)]
    weights, features = [w for w, _ in decays], [f for _, f in decays]
    start_at(network, solution, LABELS, weight_decays=weights, feature_decays=features, noise=0.0)
    line = {"srg": dufm_mse.srg_loss, "dnc": dufm_mse.dnc_loss}[solution]
    for replica, (lams, lam_H) in enumerate(decays):
        H = network.features.value.detach()[replica].T
        Ws = [W.detach()[replica] for W in network.weights]
        assert float(dufm_mse.loss(H, Ws, 2, lam_H, lams)) == pytest.approx(line(10, 4, 2, lam_H, lams), rel=1e-12)


def test_noise_is_a_part_of_the_random_start():
    random, network = ensemble(), ensemble()
    start_at(network, "dnc", LABELS, weight_decays=[[2e-3] * 4] * 2, feature_decays=[2e-3] * 2, noise=0.01)
    exact = ensemble()
    start_at(exact, "dnc", LABELS, weight_decays=[[2e-3] * 4] * 2, feature_decays=[2e-3] * 2, noise=0.0)
    for noisy, plain, drawn in zip(network.parameters(), exact.parameters(), random.parameters(), strict=True):
        torch.testing.assert_close(noisy - plain, 0.01 * drawn, rtol=0, atol=1e-15)
    assert torch.equal(exact.weights[0][0], exact.weights[0][1])


def test_widths_must_be_equal_and_wide_enough():
    with pytest.raises(ValueError, match=r"^start=srg needs a network whose widths are all equal"):
        start_at(
            ensemble(seeds=[0], width=[10, 12, 12, 12]),
            "srg",
            LABELS,
            weight_decays=[[2e-3] * 4],
            feature_decays=[2e-3],
            noise=0.0,
        )


def test_a_run_that_starts_at_a_solution_and_one_axis_for_all_decays(tmp_path):
    given = ["+experiment=dufm_k10", "+model.start=srg", "+replicate.decay=[1e-3,2e-3]", "schedule.steps=10"]
    given += ["replicate.seed=1", "measure.points=2", "trainer.progress=false", "trainer.dtype=float64"]
    (composed,) = compose_jobs(given, multirun=False)
    assert run_execute.execute(composed.config, tmp_path / "run", command="test") == 0
    table = load_replicas(tmp_path / "run")
    assert list(table["decay"]) == [1e-3, 2e-3]
    assert not {"weight_decay", "feature_decay"} & set(table.columns)
    first = load_measures(tmp_path / "run", measures=["loss"], steps="first").set_index("replica")["value"]
    for replica, lam in enumerate((1e-3, 2e-3)):
        assert first[replica] == pytest.approx(dufm_mse.srg_loss(10, 4, 5, lam, lam), rel=1e-9)
    means = load_means(tmp_path / "run", steps="first")
    (M,) = means[(means["replica"] == 1) & (means["layer"] == "head.2") & (means["stage"] == "pre")]["mean"]
    assert M.shape == (10, 20)
    assert ((M > 1e-3).sum(axis=1) == 2).all()  # a class is an edge: its mean has two equal entries
