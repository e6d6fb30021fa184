"""The path to total collapse: worked by hand, a twin that solves for the features, planted bugs, refusals."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.analysis import benign_path, level_set
from ncbench.theory.representation_cost import collapse_by_copy

LABELS = torch.tensor([0, 0])


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_one_linear_layer_by_hand():
    """W_2 = (1, 1), z = (1, 1) and (2, 0) with output 2: (2 - t, t) for the second, TCV (1-t)^2/2, X = I."""
    path = benign_path([matrix([1, 1])], matrix([1, 2], [1, 0]), LABELS, 5, inputs=torch.eye(2, dtype=torch.float64))
    t = path.times
    np.testing.assert_allclose(path.features[:, :, 1], torch.stack([2 - t, t], 1), atol=1e-15)
    np.testing.assert_allclose(path.features[:, :, 0], 1, atol=1e-15)
    np.testing.assert_allclose(path.variations[:, 0], (1 - t) ** 2 / 2, atol=1e-15)
    np.testing.assert_allclose(path.variations[:, 1], 0, atol=1e-15)
    np.testing.assert_allclose(path.first_costs, 2 + (2 - t) ** 2 + t**2, atol=1e-14)
    np.testing.assert_allclose(path.interpolation_errors, 0, atol=1e-15)
    assert path.upper_costs.tolist() == [2] * 5


def test_a_leaky_layer_by_hand():
    """Slope 1/2, output -1 from z^2 = act(W_2 z^1): W_2 z^1 = -2, so z^1 = (-1, -1) and (-2, 0) -> (t - 2, -t)."""
    path = benign_path([matrix([1, 1]), matrix([1])], matrix([-1, -2], [-1, 0]), LABELS, 3, slope=0.5)
    np.testing.assert_allclose(path.features[:, :, 1], [[-2, 0], [-1.5, -0.5], [-1, -1]], atol=1e-15)
    np.testing.assert_allclose(path.variations[:, 1:], 0, atol=1e-15)
    assert path.upper_costs.tolist() == [3] * 3
    assert path.first_costs.isnan().all()


def network(seed, slope=0.3, widths=(7, 5, 4, 2), classes=2, n=3):
    """Interpolating (W_2 .. W_L, z^1, labels, X): random matrices, random points of each class's level set."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weights = [normal(b, a) for a, b in itertools.pairwise(widths)]
    labels = torch.arange(classes).repeat(n)
    z = normal(widths[-1], classes)[:, labels]
    for l, W in reversed(list(enumerate(weights))):
        pre = z if l == len(weights) - 1 else torch.where(z > 0, z, z / slope)
        free = normal(W.shape[1], len(labels))
        z = torch.linalg.lstsq(W, pre).solution + free - torch.linalg.pinv(W) @ (W @ free)
    return weights, z, labels, normal(9, len(labels))


def twin(weights, features, labels, t, slope, sample):
    """The features of one sample at t, by a root finder on: output as at the start, null-space parts interpolated."""
    weights = [W.numpy() for W in weights]
    nulls = [np.linalg.svd(W)[2][len(W) :] for W in weights]

    def numbers(z):
        values = []
        for l, (W, N) in enumerate(zip(weights, nulls, strict=True)):
            values.append(N @ z)
            z = W @ z
            z = np.where((z > 0) | (l == len(weights) - 1), z, slope * z)
        return np.concatenate([*values, z])

    own = features[:, sample].numpy()
    other = features[:, int((labels == labels[sample]).int().argmax())].numpy()
    target = (1 - t) * numbers(own) + t * numbers(other)
    return scipy.optimize.root(lambda z: numbers(z) - target, own, method="lm", options={"xtol": 1e-14}).x


def worst(module, slope=0.3):
    errors = []
    for seed in range(3):
        weights, features, labels, _ = network(seed, slope)
        path = module.benign_path(weights, features, labels, 5, slope)
        errors.append(path.interpolation_errors.max())
        for step, sample in ((1, 2), (2, 5), (4, 3)):
            solved = twin(weights, features, labels, float(path.times[step]), slope, sample)
            errors.append(np.abs(path.features[step, :, sample].numpy() - solved).max())
    return float(max(errors))


def test_a_twin_that_solves_for_the_features_agrees():
    assert worst(level_set) < 1e-7
    assert worst(level_set, 1.0) < 1e-7


@pytest.mark.parametrize("slope", [0.1, 1.0])
def test_the_theorem_on_a_random_interpolating_network(slope):
    weights, features, labels, X = network(5, slope, (20, 16, 12, 8, 4), classes=4, n=5)
    X = torch.randn(24, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    path = benign_path(weights, features, labels, 21, slope, X)
    scale = benign_path(weights, features, labels, 2, slope).features.abs().max()
    assert path.interpolation_errors.max() < 1e-11 * scale
    assert path.upper_costs.unique().numel() == 1
    assert (path.variations[0, :-1] > 0.01).all()
    assert (path.variations[-1] < 1e-20 * scale**2).all()
    assert torch.equal(path.features[0].round(decimals=9), features.round(decimals=9))
    # The end is the collapse that costs the upper layers nothing: each sample has its representative's features.
    inverse = torch.where(features > 0, features, features / slope)
    W = inverse @ torch.linalg.pinv(X)
    copied = collapse_by_copy(W, X, labels)
    torch.testing.assert_close(path.first_costs[-1], copied.square().sum(), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1 - t) * null[l] + t * null[l][:, first]", "null[l]"),
        ("z if l == len(weights) - 1 else _inverse(z, slope)", "_inverse(z, slope)"),
        ("torch.where(z > 0, z, z / slope)", "torch.where(z > 0, z, z * slope)"),
        ("z - P @ (W @ z)", "z"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert worst(mutant(level_set, old, new)) > 1e-3


def test_a_straight_line_of_features_does_not_do():
    """The naive path, straight in z^1 from sample to representative, leaves the level set of a leaky network."""
    weights, features, labels, _ = network(1, 0.1)
    first = (labels[:, None] == labels).int().argmax(1)
    halfway = (features + features[:, first]) / 2
    outputs = [level_set._forward(weights, z, 0.1)[-1] for z in (features, halfway)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2


GOOD = network(0)[:3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: benign_path([], GOOD[1], GOOD[2]), "weights at least one"),
        (lambda: benign_path(GOOD[0], GOOD[1].float(), GOOD[2]), "must be float64 matrices"),
        (lambda: benign_path(GOOD[0][1:], GOOD[1], GOOD[2]), r"must be W_2 .. W_L of features \(n_1, N\)"),
        (lambda: benign_path(GOOD[0], GOOD[1], GOOD[2], 1), "times must be at least 2 .* got times=1"),
        (lambda: benign_path(GOOD[0], GOOD[1], GOOD[2], 3, 0.0), r"slope in \(0, 1\], got times=3, slope=0.0"),
        (
            lambda: benign_path([matrix([1, 1], [1, 1])], matrix([1, 2], [1, 0]), LABELS),
            r"W_2 \(2, 2\) must have full row rank",
        ),
        (
            lambda: benign_path([matrix([1, 1])], matrix([1, 2], [1, 1]), LABELS),
            r"must give samples of a class the same outputs \(to 1e-8\), got 3.3e-01",
        ),
        (
            lambda: benign_path([matrix([1, 1])], matrix([1, 2], [1, 0]), LABELS, inputs=matrix([1, 1], [1, 1])),
            "inputs must be .* of full column rank",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
