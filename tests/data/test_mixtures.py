"""Drawn points: one draw for every noise, the variation that Proposition 4.1 expects, orthonormal inputs, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ncbench.data import GaussianMixture, RandomPoints, mixtures
from ncbench.theory.mixture import cluster_variation_std, expected_cluster_variation

CONF = Path(__file__).parents[2] / "conf" / "dataset"


def mixture(module=mixtures, **options):
    given = {"classes": 5, "num_samples": 200, "dimension": 20, "noise": 0.05} | options
    return module.GaussianMixture(**given)


def cluster_variation(x, labels):
    """(1/N) sum of squared distances to the empirical mean of the class, in numpy."""
    x, labels = x.numpy(), labels.numpy()
    return sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in set(labels.tolist())) / len(x)


def test_shapes_and_attributes():
    data = mixture()
    data.prepare_data()
    data.setup()
    assert (data.num_classes, data.per_class, data.dimension) == (5, 40, 20)
    assert torch.equal(data.labels, torch.arange(5).repeat_interleave(40))
    own, several = data.points(), data.points([0.0, 0.1, 0.7])
    assert own.inputs.shape == (1, 200, 20)
    assert several.inputs.shape == several.targets.shape == (3, 200, 20)
    assert own.autoencoder
    assert several.autoencoder
    assert several.inputs.dtype == torch.float64
    assert torch.equal(own.inputs, data.points([0.05]).inputs)


def test_one_hot_targets():
    data = mixture(targets="labels")
    found = data.points([0.1, 0.2])
    assert found.targets.shape == (1, 200, 5)
    assert torch.equal(found.targets[0].argmax(1), data.labels)
    assert (found.targets.sum(2) == 1).all()
    assert not found.autoencoder
    assert torch.equal(found.inputs, mixture().points([0.1, 0.2]).inputs)


def test_the_same_means_and_the_same_eps_at_every_noise():
    data, noises = mixture(radius=3.0), [0.0, 1e-3, 0.1, 2.0]
    x = data.points(noises).inputs
    means = x[0]  # without noise
    assert len(means.unique(dim=0)) == 5
    torch.testing.assert_close(means.norm(dim=1), torch.full((200,), 3.0).double(), rtol=1e-14, atol=0)
    for r, sigma in enumerate(noises[1:], 1):
        torch.testing.assert_close((x[r] - means) / sigma, data.eps, rtol=0, atol=1e-12)
        torch.testing.assert_close(x[r], mixture(radius=3.0, noise=sigma).points().inputs[0], rtol=0, atol=0)


def test_the_radius_scales_and_the_number_of_samples_does_not_move_the_means():
    assert torch.equal(mixture(radius=8.0).means, 4 * mixture(radius=2.0).means)
    assert torch.equal(mixture(num_samples=10).means, mixture().means)


@pytest.mark.parametrize("seed", range(3))
def test_cluster_variation_is_that_of_proposition_4_1(seed):
    data, noises = mixture(num_samples=500, seed=seed), [0.01, 0.3]
    for sigma, x in zip(noises, data.points(noises).inputs, strict=True):
        expected = expected_cluster_variation([100] * 5, [20 * sigma**2] * 5)
        deviation = cluster_variation(x, data.labels) - expected
        assert abs(deviation) < 4 * cluster_variation_std(sigma, 20, 500, 5)
    assert torch.equal(data.means.norm(dim=1).round(decimals=12), torch.full((5,), 2.0).double())


def test_means_are_uniform_on_the_sphere():
    means = mixture(classes=4000, num_samples=4000, dimension=3, radius=1.0).means
    # E m = 0 and E m m^T = I/3; a coordinate is uniform on [-1, 1], its square has variance 4/45.
    assert means.mean(0).abs().max() < 5 * (1 / 3 / 4000) ** 0.5
    assert ((means.T @ means / 4000).diagonal() - 1 / 3).abs().max() < 5 * (4 / 45 / 4000) ** 0.5
    assert np.abs(np.histogram(means[:, 0], 4, (-1, 1))[0] - 1000).max() < 5 * 750**0.5


def planted_is_seen(bad):
    data, x = mixture(bad, seed=1), mixture(bad, seed=1).points([0.0, 0.3]).inputs
    expected = expected_cluster_variation([40] * 5, [20 * 0.09] * 5)
    return (
        abs(cluster_variation(x[1], data.labels) - expected) > 4 * cluster_variation_std(0.3, 20, 200, 5)
        or not torch.allclose(x[0].norm(dim=1), torch.tensor(2.0).double())
        or len(x[0].unique(dim=0)) != 5
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sigma * self.eps", "sigma**2 * self.eps"),
        ("sigma * self.eps", "sigma * torch.rand_like(self.eps)"),
        ("sigma * self.eps", "sigma * self.eps[0]"),
        ("/ directions.norm(dim=1, keepdim=True)", "/ directions.norm()"),
        ("self.means[labels]", "self.means[labels * 0]"),
    ],
)
def test_a_planted_bug_in_the_mixture_is_caught(mutant, old, new):
    assert not planted_is_seen(mixtures)
    assert planted_is_seen(mutant(mixtures, old, new))


@pytest.mark.parametrize(("classes", "per_class", "dimension"), [(4, 5, 24), (4, 6, 24), (2, 1, 3)])
def test_orthonormal_inputs(classes, per_class, dimension):
    data = RandomPoints(classes=classes, per_class=per_class, dimension=dimension)
    found, N = data.points(), classes * per_class
    assert found.inputs.shape == (1, N, dimension)
    gram = found.inputs[0] @ found.inputs[0].T
    torch.testing.assert_close(gram, torch.eye(N, dtype=torch.float64), rtol=0, atol=1e-12)
    assert found.targets.shape == (1, N, classes)
    assert torch.equal(found.targets[0], torch.eye(classes, dtype=torch.float64)[data.labels])
    assert (found.per_class, data.dimension, found.autoencoder) == (per_class, dimension, False)


def test_orthonormal_inputs_are_gram_schmidt_of_the_gaussian_ones():
    shape = {"classes": 4, "per_class": 5, "dimension": 24, "seed": 3}
    gaussian = RandomPoints(orthonormal=False, **shape).points().inputs[0].numpy()
    basis = []
    for row in gaussian:
        rest = row - sum((row @ b) * b for b in basis)
        basis.append(rest / np.linalg.norm(rest))
    found = RandomPoints(**shape).points().inputs[0].numpy()
    np.testing.assert_allclose(found, np.array(basis), rtol=0, atol=1e-12)


def test_gaussian_inputs_have_entries_of_variance_one_over_d():
    x = RandomPoints(classes=4, per_class=100, dimension=50, orthonormal=False).points().inputs[0]
    assert abs(float(x.square().mean()) * 50 - 1) < 5 * (2 / x.numel()) ** 0.5
    assert abs(float(x.mean())) < 5 * (1 / 50 / x.numel()) ** 0.5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(Q * upper.diagonal().sign()).mT.contiguous()", "Q.mT.contiguous()"),
        ("(Q * upper.diagonal().sign()).mT.contiguous()", "G.mT.contiguous() / dimension**0.5"),
        ("/ dimension**0.5", "/ dimension"),
    ],
)
def test_a_planted_bug_in_the_random_points_is_caught(mutant, old, new):
    bad, shape = mutant(mixtures, old, new), {"classes": 4, "per_class": 5, "dimension": 24}
    rows = [kind.RandomPoints(orthonormal=flag, **shape).inputs for kind in (mixtures, bad) for flag in (True, False)]
    gram = rows[2] @ rows[2].T
    # The first orthonormal input is the first Gaussian one at length 1, sign included.
    first = torch.allclose(rows[2][0], rows[1][0] / rows[1][0].norm())
    variance = float(rows[3].square().mean()) * 24
    assert not first or not torch.allclose(gram, torch.eye(20).double()) or abs(variance - 1) > 0.3


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: mixture(seed=seed).points().inputs,
        lambda seed: RandomPoints(classes=4, per_class=5, dimension=24, seed=seed).points().inputs,
        lambda seed: RandomPoints(classes=4, per_class=5, dimension=24, seed=seed, orthonormal=False).points().inputs,
    ],
)
def test_the_seed_alone_decides(make):
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), make(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(make(0), first)
    assert not torch.allclose(make(1), first)


def test_the_means_are_not_parallel_to_the_start_of_a_network_with_the_same_seed(mutant):
    weights = torch.randn(16, 20, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def largest_cosine(module):
        means = mixture(module, seed=7).means
        return torch.nn.functional.cosine_similarity(weights[:, None], means, dim=2).abs().max()

    assert largest_cosine(mixtures) < 0.8
    assert largest_cosine(mutant(mixtures, "int(hash64(seed, POINTS))", "seed")) > 0.99


@pytest.mark.parametrize(("name", "shape"), [("mixture", (1, 200, 20)), ("random_points", (1, 20, 24))])
def test_the_configuration_groups_make_them(name, shape):
    group = OmegaConf.load(CONF / f"{name}.yaml")
    assert group.pop("kind") == name
    data = instantiate(group)
    assert data.points().inputs.shape == shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixture(num_samples=201), r"^num_samples=201 must be a multiple of the number of classes \(5\)"),
        (lambda: mixture(num_samples=0), r"^num_samples=0 must be an integer, at least 1"),
        (lambda: mixture(classes=1), r"^classes=1 must be an integer, at least 2"),
        (lambda: mixture(classes=None), r"^classes=None must be an integer, at least 2"),
        (lambda: mixture(classes=[0, 1]), r"^classes=\[0, 1\] must be an integer, at least 2"),
        (lambda: mixture(dimension=0), r"^dimension=0 must be an integer, at least 1"),
        (lambda: mixture(noise=-0.1), r"^noise=-0.1 must be finite and at least 0"),
        (lambda: mixture(noise=float("nan")), r"^noise=nan must be finite and at least 0"),
        (lambda: mixture(radius=0.0), r"^radius=0.0 must be positive"),
        (lambda: mixture(targets="outputs"), r"^targets=outputs must be inputs or labels"),
        (lambda: mixture().points([]), r"^noises=\[\] must hold at least one noise level"),
        (lambda: mixture().points([0.1, float("inf")]), r"^noises=inf must be finite"),
        (lambda: RandomPoints(classes=1, per_class=5, dimension=9), r"^classes=1 must be an integer, at least 2"),
        (lambda: RandomPoints(classes=2, per_class=0, dimension=9), r"^per_class=0 must be an integer, at least 1"),
        (
            lambda: RandomPoints(classes=4, per_class=5, dimension=19),
            r"^dimension=19 must be at least 20, as 20 inputs are to be orthonormal",
        ),
        (
            lambda: RandomPoints(classes=2, per_class=2, dimension=4).points([0.5]),
            r"^noises=\[0.5\] must be None, as this dataset has no noise level$",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_more_gaussian_inputs_than_dimensions():
    assert RandomPoints(classes=4, per_class=5, dimension=3, orthonormal=False).points().inputs.shape == (1, 20, 3)


def test_noise_free_mixture_is_its_means():
    data = GaussianMixture(classes=3, num_samples=3, dimension=2, noise=0.0)
    assert torch.equal(data.points().inputs[0], data.means)
