"""STEP imbalance and label noise: sizes by hand, what stays and what changes as functions of (seed, class, size)."""

import math

import pytest
import torch

from ncbench.core import ClassMoments
from ncbench.data import Digits, uneven
from ncbench.data.uneven import noisy_labels, step_sizes, thinned

LABELS = torch.arange(4).repeat_interleave(60)


def ready(**options):
    data = Digits(**options)
    data.setup()
    return data


def test_step_sizes_of_the_paper():
    # CIFAR-10 with R = 10, rho = 1/2; R = 100, rho = 3/10; MNIST's unequal classes: floor(n_c / R) of each.
    assert step_sizes([5000] * 10, 10, 0.5) == [5000] * 5 + [500] * 5
    assert step_sizes([5000] * 10, 100, 0.3) == [5000] * 7 + [50] * 3
    assert step_sizes([5923, 6742, 5958, 6131], 100, 0.25) == [5923, 6742, 5958, 61]
    assert step_sizes([30, 30, 33], 1.1, 1 / 3) == [30, 30, 30]  # 33 / 1.1 is 29.999999999999996 in floating point
    assert step_sizes([7, 7], 1, 0.5) == [7, 7]
    assert step_sizes([8, 8, 8], 4, 0.333) == step_sizes([8, 8, 8], 4, 0.33333333) == [8, 8, 2]  # as people write it


def test_step_sizes_that_cannot_be():
    with pytest.raises(ValueError, match=r"^minority=0.25 must be the share .* between 1 and 9, and of 10 classes"):
        step_sizes([20] * 10, 10, 0.25)
    with pytest.raises(ValueError, match=r"^minority=0.33 must be .* between 1 and 2, and of 3 classes it is 0.99"):
        step_sizes([20] * 3, 10, 0.33)
    with pytest.raises(ValueError, match=r"^imbalance=21 must be at most 20, the number of samples of class 5"):
        step_sizes([20] * 10, 21, 0.5)
    with pytest.raises(ValueError, match=r"^imbalance=0.5 must be at least 1"):
        step_sizes([20] * 10, 0.5, 0.5)


def test_what_stays_is_nested_and_depends_on_the_seed():
    small, large = thinned(LABELS, [60, 60, 5, 5], 3), thinned(LABELS, [60, 60, 30, 30], 3)
    assert torch.bincount(LABELS[small]).tolist() == [60, 60, 5, 5]
    assert torch.isin(small, large).all()
    assert (small.diff() > 0).all()
    assert not torch.equal(small, thinned(LABELS, [60, 60, 5, 5], 4))
    # The two small classes do not keep the same places.
    assert not torch.equal(small[120:125] - 120, small[125:] - 180)


def test_noise_changes_the_share_of_every_class_and_never_to_itself():
    noisy = noisy_labels(LABELS, 4, 0.25, seed=1)
    assert torch.bincount(LABELS[noisy != LABELS]).tolist() == [15] * 4
    assert torch.equal(noisy, noisy_labels(LABELS, 4, 0.25, seed=1))
    assert not torch.equal(noisy, noisy_labels(LABELS, 4, 0.25, seed=2))
    more = noisy_labels(LABELS, 4, 0.5, seed=1)
    changed = noisy != LABELS
    assert torch.equal(more[changed], noisy[changed])
    assert noisy_labels(LABELS, 4, 1.0, seed=0).ne(LABELS).all()
    assert noisy_labels(LABELS, 4, 0.0, seed=0).equal(LABELS)
    with pytest.raises(ValueError, match=r"^label_noise=1.5 must be in \[0, 1\]"):
        noisy_labels(LABELS, 4, 1.5, seed=0)


def spread(module):
    """Of 30 000 replaced labels of class 1 of 4: how many became each of the others."""
    labels = torch.full((30_000,), 1)
    return torch.bincount(module.noisy_labels(labels, 4, 1.0, seed=5), minlength=4)


def test_every_other_class_is_as_likely(mutant):
    counts = spread(uneven)
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] - 10_000).abs().max() < 5 * math.sqrt(30_000 * 2 / 9)  # five standard deviations
    # A draw among all classes leaves a quarter of the labels as they were; one without the shift skips class 3.
    assert spread(mutant(uneven, "other + (other >= c)", "other"))[3] == 0
    assert spread(mutant(uneven, "(num_classes - 1)) >> 24", "num_classes) >> 24"))[3] > 5000


def test_sizes_after_noise_spread_as_stated():
    """Variance p n (K-2)/(K-1): 0.5 * 60 * 2/3 = 20 for 4 classes of 60, over 200 seeds."""
    sizes = torch.stack([torch.bincount(noisy_labels(LABELS, 4, 0.5, seed), minlength=4) for seed in range(200)])
    assert abs(float(sizes.double().mean()) - 60) < 1e-9
    assert 16 < float(sizes.double().var(0).mean()) < 24


def test_image_sets_are_sorted_by_the_labels_that_are_told():
    data = ready(per_class=20, imbalance=4, minority=0.5, label_noise=0.2)
    clean = torch.bincount(data.clean_labels, minlength=10).tolist()
    assert clean == [20] * 5 + [5] * 5
    changed = data.clean_labels != data.train.labels
    assert torch.bincount(data.clean_labels[changed], minlength=10).tolist() == [4] * 5 + [1] * 5
    assert (data.train.labels.diff() >= 0).all()
    assert len(data.train) == 125
    assert data.per_class == 12.5
    # The same images as without noise, with their own labels, and the test set of the balanced draw.
    plain, balanced = ready(per_class=20, imbalance=4), ready(per_class=20)
    rows = {bytes(x.numpy().tobytes()): int(y) for x, y in zip(plain.train.images, plain.train.labels, strict=True)}
    told = zip(data.train.images, data.clean_labels, strict=True)
    assert all(rows[x.numpy().tobytes()] == int(y) for x, y in told)
    assert torch.equal(data.test.images, balanced.test.images)
    assert torch.equal(data.test.labels, balanced.test.labels)
    assert torch.equal(balanced.clean_labels, balanced.train.labels)


def test_the_first_of_a_noisy_class_are_as_wrong_as_all_of_it(mutant):
    """What `measure.per_class` takes: of 100 of each class 10 leave and about 10 come, so about 1 of the first 10."""
    labels = torch.arange(10).repeat_interleave(100)
    wrong = first_wrong(uneven, labels)
    assert 1 <= wrong <= 22  # 10 of 100 expected, with a standard deviation of 3
    by_own_class = mutant(
        uneven, "mixed = torch.argsort(hash64(seed, MIXED, 0, torch.arange(len(told))))", "mixed = kept"
    )
    assert first_wrong(by_own_class, labels) > 35


def first_wrong(module, labels):
    """How many of the first 10 of every told class are told a wrong label."""
    kept, told = module.made_uneven(labels, 10, imbalance=None, minority=0.5, label_noise=0.1, seed=0)
    assert (told.diff() >= 0).all()
    assert torch.equal(kept.sort().values, torch.arange(1000))
    first = torch.cat([torch.nonzero(told == c).flatten()[:10] for c in range(10)])
    return int((labels[kept[first]] != told[first]).sum())


def test_points_of_a_noisy_set():
    points = ready(per_class=20, label_noise=0.3).points()
    assert (points.labels.diff() >= 0).all()


def test_moments_of_unequal_classes_by_hand():
    """Class means weigh every sample of their class; the within-class trace is over all N samples."""
    features = torch.tensor([[0.0], [2.0], [4.0], [10.0]])
    moments = ClassMoments.from_batch(features, torch.tensor([0, 0, 0, 1]), 2).finalise()
    assert moments.counts.tolist() == [3, 1]
    assert moments.means.flatten().tolist() == [2.0, 10.0]
    assert moments.within_trace.tolist() == [8.0, 0.0]
