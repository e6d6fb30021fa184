"""Cluster variation of Gaussian mixtures: a hand-worked value, a simulation, the chi-square tail, refusals."""

import math

import numpy as np
import pytest
import scipy.stats

from ncbench.theory import mixture
from ncbench.theory.mixture import cluster_variation_std, cluster_variation_tail_bound, expected_cluster_variation


def simulate(counts, scales, draws, d=6):
    """Within-cluster sums of squares over N of `draws` mixtures, with empirical centroids."""
    rng = np.random.default_rng(0)
    total = np.zeros(draws)
    for count, scale in zip(counts, scales, strict=True):
        x = scale * rng.standard_normal((draws, count, d)) + 5
        total += ((x - x.mean(1, keepdims=True)) ** 2).sum((1, 2))
    return total / sum(counts)


def test_worked_by_hand():
    # Two samples of unit variance on a line have E (x1 - x2)^2 / 2 = 1 around their mean; a singleton has none.
    assert expected_cluster_variation([2, 1], [1.0, 7.0]) == pytest.approx(1 / 3, rel=1e-15)
    assert expected_cluster_variation([20] * 10, [0.09 * 20] * 10) == pytest.approx(1.71, rel=1e-14)
    # chi^2 of 2 has variance 4: N = 3, K = 1, d = 1, sigma = 3: 9 * 2 / 3.
    assert cluster_variation_std(3.0, 1, 3, 1) == pytest.approx(6.0, rel=1e-15)
    assert cluster_variation_std(0.3, 20, 200, 10) == pytest.approx(0.03923, abs=1e-5)
    assert cluster_variation_tail_bound(1.0, 2, 3, 1, 4.0) == pytest.approx((4 + 2 * 4 + 8) / 3, rel=1e-15)


def test_a_simulation_with_unequal_counts_and_variances():
    counts, scales = [3, 9, 20], [1.0, 0.5, 2.0]
    draws = simulate(counts, scales, 20000)
    expected = expected_cluster_variation(counts, [6 * s**2 for s in scales])
    assert draws.mean() == pytest.approx(expected, abs=4 * draws.std() / math.sqrt(len(draws)))
    draws = simulate([8] * 4, [0.7] * 4, 20000)
    assert draws.std() == pytest.approx(cluster_variation_std(0.7, 6, 32, 4), rel=0.03)
    for t in (1.0, 2.0, 4.0):
        assert (draws > cluster_variation_tail_bound(0.7, 6, 32, 4, t)).mean() <= math.exp(-t)


@pytest.mark.parametrize("freedom", [1, 6, 200, 4000])
def test_tail_bound_against_the_exact_chi_square_tail(freedom):
    for t in (0.0, 0.1, 1.0, 5.0, 30.0):
        value = cluster_variation_tail_bound(1.0, freedom, 2, 1, t) * 2
        assert scipy.stats.chi2.sf(value, freedom) <= math.exp(-t)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(count - 1) * trace", "count * trace"),
        ("math.sqrt(2 * freedom)", "math.sqrt(freedom)"),
        ("+ 2 * math.sqrt(freedom * t) + 2 * t", "+ t"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(mixture, old, new)
    assert (
        bad.expected_cluster_variation([2, 1], [1.0, 7.0]) != pytest.approx(1 / 3)
        or bad.cluster_variation_std(3.0, 1, 3, 1) != pytest.approx(6.0)
        or scipy.stats.chi2.sf(2 * bad.cluster_variation_tail_bound(1.0, 200, 2, 1, 5.0), 200) > math.exp(-5)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_cluster_variation([1, 2], [1.0]), r"traces must hold one value for each of .* \(2\), got 1"),
        (lambda: expected_cluster_variation([0], [1.0]), "counts must be an integer of at least 1.*, got 0"),
        (lambda: expected_cluster_variation([1], [-1.0]), "traces must be non-negative and finite, got -1.0"),
        (lambda: cluster_variation_std(0.0, 2, 3, 1), "sigma must be positive.*, got 0.0"),
        (lambda: cluster_variation_std(1.0, 2, 3, 4), "num_samples must be an integer of at least 4.*, got 3"),
        (lambda: cluster_variation_tail_bound(1.0, 2, 3, 1, -1.0), "t must be non-negative and finite, got -1.0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
