"""k-means beside the labels' partition."""

# ruff: noqa: NPY002 - the global generator is what must stay as it was
import itertools
import logging

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from ncbench.core import ClassMoments, total_cluster_variation
from ncbench.measure import kmeans as cluster
from ncbench.measure import kmeans_cluster_variation


def by_labels(H, labels):
    return total_cluster_variation(ClassMoments.from_batch(H, labels, int(labels.max()) + 1)).item()


def naive_minimum(H, K):
    """Every partition of a few points."""
    best = np.inf
    for code in itertools.product(range(K), repeat=len(H)):
        parts = [H[np.array(code) == k] for k in range(K)]
        best = min(best, sum(((p - p.mean(0)) ** 2).sum() for p in parts if len(p)) / len(H))
    return best


def test_worked_by_hand():
    # {0, 2} and {10, 14}: (1 + 1 + 4 + 4) / 4, over the total variance 42.75 - 0.0 = mean of squares about 6.5.
    found = kmeans_cluster_variation(torch.tensor([[0.0], [2.0], [10.0], [14.0]]), 2)
    assert found.value == pytest.approx(2.5, rel=1e-14)
    assert found.relative == pytest.approx(2.5 / 32.75, rel=1e-14)
    assert found.partition.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    assert found.subset is None


@pytest.mark.parametrize("seed", range(3))
def test_against_every_partition(seed):
    H = torch.randn(8, 2, generator=torch.Generator().manual_seed(seed))
    found = kmeans_cluster_variation(H, 3, n_init=20)
    assert found.value == pytest.approx(naive_minimum(H.double().numpy(), 3), rel=1e-9)


def test_against_scikit_learn():
    H = torch.randn(200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = KMeans(4, n_init=10, random_state=0).fit(H.numpy())
    assert kmeans_cluster_variation(H, 4).value <= theirs.inertia_ / 200 * (1 + 1e-3)


@pytest.mark.parametrize("std", [1.0, 1e-3, 1e-7])
@pytest.mark.parametrize("num_clusters", [4, 6])
def test_never_above_the_labels_own_value(std, num_clusters):
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(80) % 4
    H = torch.randn(4, 6, generator=rng)[labels] + std * torch.randn(80, 6, generator=rng)
    for n_init in (0, 1, 10):
        found = kmeans_cluster_variation(H, num_clusters, labels=labels, n_init=n_init)
        assert found.value <= by_labels(H, labels)
        assert found.value == pytest.approx(by_labels(H, found.partition), rel=1e-12)


def test_targets_are_part_of_the_points():
    H, labels = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0, 1])
    onehot = 10 * torch.eye(2)[labels]
    assert kmeans_cluster_variation(H, 2).value == pytest.approx(0.25)
    found = kmeans_cluster_variation(H, 2, targets=onehot)  # far-apart targets force the labels' partition
    assert found.value == pytest.approx(1.0)
    # An autoencoder, targets = inputs: exactly twice the variation of the inputs.
    assert kmeans_cluster_variation(H, 2, targets=H).value == pytest.approx(0.5)


def test_a_capped_subset_is_stratified_logged_and_deterministic(caplog):
    labels = torch.arange(90) // 30
    H = torch.randn(3, 4)[labels] + 0.1 * torch.randn(90, 4)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with caplog.at_level(logging.INFO):
        found = kmeans_cluster_variation(H, 3, labels=labels, max_samples=30, seed=5)
    assert "k-means on 30 of 90 samples (max_samples=30, seed=5)" in caplog.text
    assert torch.bincount(labels[found.subset]).tolist() == [10, 10, 10]
    assert found.value <= by_labels(H[found.subset], labels[found.subset])
    again = kmeans_cluster_variation(H, 3, labels=labels, max_samples=30, seed=5)
    assert torch.equal(found.subset, again.subset)
    assert found.value == again.value
    assert not torch.equal(found.subset, kmeans_cluster_variation(H, 3, max_samples=30, seed=6).subset)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_degenerate_input():
    few = torch.tensor([[0.0, 1.0], [5.0, 5.0]]).repeat(5, 1)
    for K in (2, 3):  # fewer distinct points than clusters
        found = kmeans_cluster_variation(few, K, labels=torch.arange(10) % 2)
        assert (found.value, found.relative) == (0.0, 0.0)
    found = kmeans_cluster_variation(torch.ones(4, 2), 2)
    assert found.value == 0.0
    assert np.isnan(found.relative)
    points = torch.randn(5, 2)
    assert kmeans_cluster_variation(points, 1).relative == pytest.approx(1.0)
    assert kmeans_cluster_variation(points, 5).value == pytest.approx(0.0, abs=1e-30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clusters": 9}, r"num_clusters=9 must lie in \[1, 8\]"),
        (
            {"num_clusters": 2, "labels": torch.arange(8)},
            "labels must take at most num_clusters=2 values, and these take 8",
        ),
        ({"num_clusters": 2, "labels": torch.zeros(8)}, "labels must be integers of shape"),
        ({"num_clusters": 2, "n_init": 0}, "n_init=0 must be at least 1, or 0 where labels give a start"),
        ({"num_clusters": 3, "max_samples": 2}, "max_samples=2 must be at least num_clusters=3"),
        ({"num_clusters": 2, "targets": torch.zeros(7, 1)}, "targets must be .N, T. with N=8"),
        ({"num_clusters": 2, "targets": torch.full((8, 1), torch.nan)}, "features and targets must be finite"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kmeans_cluster_variation(torch.randn(8, 2), **arguments)


def test_features_must_be_a_matrix():
    with pytest.raises(ValueError, match="features must be floating"):
        kmeans_cluster_variation(torch.arange(4), 2)


def test_a_planted_bug_that_forgets_the_labels_start_is_seen(mutant):
    H = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    labels = kmeans_cluster_variation(H, 20, n_init=50).partition  # a good one, which one start does not find
    wrong = mutant(cluster, "partitions = [] if codes is None else [codes]", "codes = None; partitions = []")
    assert kmeans_cluster_variation(H, 20, labels=labels, n_init=1, seed=1).value <= by_labels(H, labels)
    assert wrong.kmeans_cluster_variation(H, 20, labels=labels, n_init=1, seed=1).value > by_labels(H, labels)
