"""Intervals against literals, scipy and one another."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from ncbench.report import statistics as intervals
from ncbench.report.statistics import percentiles, rank_correlation, resampled, wilson


@pytest.mark.parametrize(
    ("hits", "size", "low", "high"),
    [
        (64, 64, 0.9434, 1.0),
        (61, 64, 0.8710, 0.9839),
        (0, 10, 0.0, 0.2775),
        (1, 1, 0.2065, 1.0),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_wilson_literals(hits, size, low, high):
    assert wilson(hits, size) == pytest.approx((low, high), abs=5e-5)


def by_the_formula(hits, size):
    """(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z the 97.5 % point of the normal."""
    z, p = NormalDist().inv_cdf(0.975), hits / size
    half = z * np.sqrt(p * (1 - p) / size + z * z / (4 * size * size))
    return tuple((p + z * z / (2 * size) + sign * half) / (1 + z * z / size) for sign in (-1, 1))


def test_wilson_is_the_formula_and_ends_at_0_and_1():
    for size in (1, 2, 7, 64, 1000):
        for hits in {0, 1, size // 2, size - 1, size}:
            assert wilson(hits, size) == pytest.approx(by_the_formula(hits, size), abs=1e-12)
        assert wilson(0, size)[0] == 0.0
        assert wilson(size, size)[1] == 1.0


@pytest.mark.parametrize(("hits", "size"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_needs_hits_among_a_size(hits, size):
    with pytest.raises(ValueError, match=rf"hits={hits} must be in \[0, size\], and size={size} must be at least 1"):
        wilson(hits, size)


def test_a_planted_bug_in_wilson_is_seen(mutant):
    exact = mutant(intervals, 'method="wilson"', 'method="exact"')
    assert exact.wilson(61, 64) != pytest.approx((0.8710, 0.9839), abs=5e-4)


def test_bootstrap_is_scipys_percentile_interval_and_the_same_every_time():
    values = np.random.default_rng(3).normal(size=40) + 5
    own = percentiles(resampled(lambda draws: np.median(values[draws], axis=1), 40))
    known = bootstrap((values,), np.median, n_resamples=20000, method="percentile", rng=1).confidence_interval
    assert own == pytest.approx(tuple(known), abs=0.08)
    assert own == percentiles(resampled(lambda draws: np.median(values[draws], axis=1), 40))


def test_bootstrap_covers_a_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        values = generator.normal(size=30)
        low, high = percentiles(resampled(lambda draws, values=values: values[draws].mean(axis=1), 30))
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_percentiles_of_what_is_mostly_undefined_are_none():
    assert percentiles(np.array([1.0] * 8 + [np.nan] * 2)) is None
    assert percentiles(np.array([2.0] * 19 + [np.nan])) == (2.0, 2.0)


def test_rank_correlation_by_hand_and_by_scipy():
    # ranks 1 2 3 and 1 3 2: 1 - 6 (0 + 1 + 1) / (3 * 8) = 0.5
    assert rank_correlation(np.array([1.0, 10.0, 100.0]), np.array([5.0, 7.0, 6.0])) == pytest.approx(0.5)
    generator = np.random.default_rng(0)
    x, y = generator.integers(5, size=(2, 50)).astype(float)
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    both = rank_correlation(np.stack([x, y]), np.stack([y, y]))
    assert both == pytest.approx([spearmanr(x, y).statistic, 1.0])


def test_rank_correlation_of_constants_and_of_ties_within_the_axis():
    three = np.repeat([1.0, 2.0, 3.0], 4)
    assert rank_correlation(three, np.ones(12)) == 0
    assert np.isnan(rank_correlation(np.ones(12), three))
    distinct = np.arange(300.0)
    assert rank_correlation(np.repeat([1.0, 2.0, 3.0], 100), distinct) == pytest.approx(np.sqrt(1 - 1 / 9), abs=1e-4)
