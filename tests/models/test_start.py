"""Starting at a solution: the matrices are the theory's, replica by replica; noise is that of the seed."""

import math

import pytest
import torch

from ncbench.config.free_features import STRUCTURES
from ncbench.core import frames
from ncbench.models.replica import DUFM, start, start_at
from ncbench.records.settings import find_settings
from ncbench.report import load_means, load_measures, load_replicas
from ncbench.report.__main__ import make_report
from ncbench.run import execute as run_execute
from ncbench.run.compose import compose_jobs
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.dufm_ce.named import NAMES


def ensemble(seeds=(0, 1), **given):
    settings = dict(depth=4, width=12, activation="relu", init_scale=0.7, num_classes=10, num_samples=20)
    return DUFM(**{**settings, **given}, seeds=list(seeds), dtype=torch.float64)


LABELS = torch.arange(10).repeat_interleave(2)


def at(network, name, noise=0.0, decays=(([2e-3] * 4, 2e-3),) * 2):
    """The network, put at an MSE solution."""
    weights, features = [w for w, _ in decays], [f for _, f in decays]
    R = network.replicas
    given = dict(loss="mse", seeds=range(R), weight_decays=weights[:R], feature_decays=features[:R])
    start_at(network, [name] * R, LABELS, **given, noises=[noise] * R)
    return network


@pytest.mark.parametrize("solution", ["srg", "dnc"])
def test_every_replica_has_the_closed_forms_loss_at_its_own_decays(solution):
    decays = [([2e-3] * 4, 2e-3), ([1e-3, 2e-3, 1e-3, 4e-3], 5e-4)]
    network = at(ensemble(), solution, decays=decays)
    line = {"srg": dufm_mse.srg_loss, "dnc": dufm_mse.dnc_loss}[solution]
    for replica, (lams, lam_H) in enumerate(decays):
        H = network.features.value.detach()[replica].T
        Ws = [W.detach()[replica] for W in network.weights]
        assert float(dufm_mse.loss(H, Ws, 2, lam_H, lams)) == pytest.approx(line(10, 4, 2, lam_H, lams), rel=1e-12)


def test_noise_is_a_part_of_the_random_start():
    random, noisy, exact = ensemble(), at(ensemble(), "dnc", 0.01), at(ensemble(), "dnc")
    for one, plain, drawn in zip(noisy.parameters(), exact.parameters(), random.parameters(), strict=True):
        torch.testing.assert_close(one - plain, 0.01 * drawn, rtol=0, atol=1e-15)
    assert torch.equal(exact.weights[0][0], exact.weights[0][1])


def test_widths_must_be_equal_and_wide_enough():
    with pytest.raises(ValueError, match=r"^start=srg needs a network whose widths are all equal"):
        at(ensemble(seeds=[0], width=[10, 12, 12, 12]), "srg")
    with pytest.raises(ValueError, match=r"^start=pairs needs a network whose widths are all equal"):
        of_ce(["pairs"], width=[12, 10])


def of_ce(starts, seeds=None, noises=None, decay=2.0**-10, lams=None, kind=start, **given):
    """Linear networks of K = 10, n = 5, L = 2 at structures of the theory of cross-entropy."""
    settings = dict(depth=2, width=12, activation="linear", num_classes=10, num_samples=50, init_scale=1.0) | given
    seeds = list(range(len(starts))) if seeds is None else seeds
    R, (K, N, L) = len(seeds), (settings[name] for name in ("num_classes", "num_samples", "depth"))
    network = DUFM(**settings, seeds=seeds, dtype=torch.float64)
    kind.start_at(
        network,
        starts,
        torch.arange(K).repeat_interleave(N // K),
        loss="ce",
        seeds=seeds,
        weight_decays=[lams or [decay] * L] * R,
        feature_decays=[decay] * R,
        noises=noises or [0.0] * R,
    )
    return network.requires_grad_(False)


def loss_of(network, replica, decay=2.0**-10, lams=None):
    """The objective of one network, from the theory's own function."""
    H, Ws = network.features.value.detach()[replica].T, [W.detach()[replica] for W in network.weights]
    n = H.shape[1] // network.num_classes
    return float(dufm_ce.loss(H, Ws, n, decay, lams or decay))


def test_losses_of_cross_entropy_are_those_of_the_paper_s_structures():
    # K = 10, n = 5, L = 2, all decays 2^-10: DNC, pairs (closed forms) and polygon, each by its name and as blocks.
    network = of_ce(["dnc", "pairs", "polygon", "[10]", "[2, 2,2,2,2]"])
    losses = [loss_of(network, replica) for replica in range(5)]
    assert losses == pytest.approx([0.09066218, 0.08001266, 0.14195947, 0.09066218, 0.08001266], abs=5e-9)
    lams = [4e-3, 2.5e-4]  # geometric mean with lam_H = 1e-3 the same as before
    unequal = of_ce(["dnc"], decay=1e-3, lams=lams)
    assert loss_of(unequal, 0, 1e-3, lams) == pytest.approx(dufm_ce.dnc_loss(10, 2, 1e-3 * 5 ** (1 / 3)), rel=1e-12)
    assert float(unequal.weights[0].norm() / unequal.weights[1].norm()) == pytest.approx(0.25, rel=1e-12)


def test_every_name_is_its_frame():
    for name, K, expected in (
        ("dnc", 4, 4 / 3 * (torch.eye(4) - 0.25)),
        ("pairs", 5, frames.pair_blocks(5)),
        ("polygon", 4, torch.tensor([[1, 0, -1, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1]])),
        ("triangular", 10, frames.centred_triangular_gram(5)),
        ("[3, 2]", 5, torch.block_diag(1.5 * torch.eye(3) - 0.5, torch.tensor([[1.0, -1], [-1, 1]]))),
        ("antiprism", 10, frames.antiprism_blocks(10)),
        ("triangular", 6, frames.centred_triangular_gram(4)),
        ("[2,1]", 3, torch.block_diag(torch.tensor([[1.0, -1], [-1, 1]]), torch.eye(1))),
    ):
        torch.testing.assert_close(dufm_ce.named_structure(name, K), expected.double(), rtol=0, atol=1e-7)


def test_a_configuration_knows_the_same_names_as_the_theory():
    """A configuration is checked without torch, so it has a list of its own."""
    assert STRUCTURES == NAMES
    assert dufm_ce.check_structure([3, 2]) == "[3, 2]"  # as yaml has it


@pytest.mark.parametrize("width", [10, 13])
def test_frames_are_those_of_the_seed(width):
    """Not those of the place in the ensemble, nor those of the noise; the logits are the same for all."""
    network = of_ce(["pairs"] * 3, seeds=[7, 8, 7], noises=[0.0, 0.0, 0.5], width=width)
    alone = of_ce(["pairs"], seeds=[8], width=width)
    W, H = network.weights[0].detach(), network.features.value.detach()
    assert torch.equal(W[1], alone.weights[0][0])
    assert torch.equal(H[1], alone.features.value[0])
    assert (W[0] - W[1]).norm() > 0.3 * W[0].norm()
    outputs = network(torch.arange(50)).detach()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    # W_1 = Q_2 S Q_1^T with equal singular values s: W_1^T W_1 = s^2 Q_1 Q_1^T, a projection of rank 5 up to s^2.
    projection = W[0].T @ W[0] / torch.linalg.matrix_norm(W[0], 2) ** 2
    torch.testing.assert_close(projection @ projection, projection, rtol=0, atol=1e-12)
    assert float(projection.trace()) == pytest.approx(5)
    # The noisy one has the same frames: without its noise it is the first.
    assert (W[2] - W[0]).abs().max() < 5 * 0.5 * float(H[0].square().mean().sqrt())


def test_noise_has_the_size_of_the_features_in_every_matrix():
    """start_noise times the root mean square entry of H_1 (sigma_1 = ... are equal: rms^2 = 5 s^2 / (50 d))."""
    R = 12
    exact, noisy = of_ce(["pairs"] * R), of_ce(["pairs"] * R, noises=[0.5] * R)
    rms = float(exact.features.value[0].detach().square().mean().sqrt())
    # Five equal singular values (14.094 sqrt 5)^(1/3) of H_1, which is 12 x 50.
    assert rms == pytest.approx(math.sqrt(5 * (14.0943 * math.sqrt(5)) ** (2 / 3) / 600), rel=1e-4)
    for plain, moved in zip(exact.parameters(), noisy.parameters(), strict=True):
        noise = (moved - plain).detach()
        assert float(noise.square().mean().sqrt()) == pytest.approx(0.5 * rms, rel=0.06)
        assert abs(float(noise.mean())) < 0.06 * 0.5 * rms
        assert len(torch.unique(noise[:, 0, 0])) == R


def test_planted_bugs_are_found(mutant):
    for old, new in (
        ("torch.Generator().manual_seed(seed)", "torch.Generator().manual_seed(0)"),
        ("rms * torch.randn(", "torch.randn("),
        ("list(lams), generator)", "list(lams))"),
        ("list(lams), lam_H, n))", "list(lams), lam_H, 1))"),
    ):
        with pytest.raises(AssertionError):
            _check(mutant(start, old, new))
    _check(start)


def _check(kind):
    network = of_ce(["pairs"] * 2, kind=kind)
    assert loss_of(network, 0) == pytest.approx(0.08001266, abs=5e-9)
    assert (network.weights[0][0] - network.weights[0][1]).norm() > 0.1
    noise = of_ce(["pairs"] * 2, noises=[1.0] * 2, kind=kind).weights[0] - network.weights[0]
    assert 0.2 < float(noise.square().mean().sqrt()) < 0.4  # rms entry of H_1: 0.289


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(starts=["dnc"], decay=0.1), "start=dnc is at no scale better than zero at the effective decay 0.17"),
        (dict(starts=["[3, 2]"]), r"start=\[3, 2\]: the sizes of its blocks must add up to 10 classes"),
        (dict(starts=["triangular"], num_classes=4, num_samples=4), r"start=triangular needs s\(s - 1\)/2 classes"),
        (dict(starts=["polygon"], num_classes=2, num_samples=2), "start=polygon needs at least 3 classes, got 2"),
        (
            dict(starts=["ring"]),
            "start=ring: must be dnc, pairs, polygon, triangular, antiprism, or sizes of simplex blocks",
        ),
        (dict(starts=["dnc"], decay=0.0), "weight_decays must be positive and finite, got 0.0"),
    ],
)
def test_one_line_where_there_is_no_such_start(given, message):
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        of_ce(**given)
    assert "\n" not in str(caught.value)


def test_a_run_that_starts_at_a_solution_and_one_axis_for_all_decays(tmp_path):
    given = ["+experiment=dufm_k10", "+model.start=srg", "+replicate.decay=[1e-3,2e-3]", "schedule.steps=10"]
    given += ["replicate.seed=1", "measure.points=2", "trainer.progress=false", "trainer.precision=64"]
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


def test_an_axis_of_structures_goes_through_record_report_and_claims(tmp_path):
    given = ["dataset=labels", "dataset.classes=5", "dataset.per_class=2", "model=dufm", "model.depth=2"]
    given += ["model.width=6", "model.activation=linear", "objective=dufm", "objective.loss=ce", "optimizer=gd"]
    given += ["objective.weight_decay=1e-3", "objective.feature_decay=1e-3", "schedule=full_batch", "schedule.steps=4"]
    given += ["+replicate={start: [dnc, '[3, 2]'], start_noise: [0, 0.5], seed: 2}", "measure.points=2"]
    given += ["references=[{name: dnc, _target_: ncbench.theory.dufm_ce.dnc_line}]", "trainer.precision=64"]
    shared = (
        "statement: a start, source: ours, check: value, step: first, relative_to: dnc, min_replicas: 2, by: estimate"
    )
    given += [
        "trainer.progress=false",
        f"+claims.dnc={{{shared}, where: {{start: dnc, start_noise: 0}}, at_least: 0.9999, at_most: 1.0001}}",
        f"+claims.blocks={{{shared}, where: {{start: '[3, 2]', start_noise: 0}}, at_least: 1.0001}}",
    ]
    (composed,) = compose_jobs(given, multirun=False)
    assert run_execute.execute(composed.config, tmp_path / "run", command="test") == 0
    table = load_replicas(tmp_path / "run")
    assert list(table["start"]) == ["dnc"] * 4 + ["[3, 2]"] * 4
    assert list(table["start_noise"]) == [0, 0, 0.5, 0.5] * 2
    labels = {setting.label for setting in find_settings(tmp_path / "run")}
    assert labels == {f"start_noise={x}, start={name}" for x in ("0", "0.5") for name in ("dnc", "[3, 2]")}
    page, (judgement,), refused = make_report(tmp_path / "run", tmp_path / "run")
    assert refused is None
    assert page.exists()
    assert [verdict.outcome for verdict in judgement.verdicts] == ["holds", "holds"]
