"""Sets of points: class means by hand and against a loop, the full batch, images as points, refusals."""

import pytest
import torch
from sklearn.datasets import load_digits

from ncbench.data import Digits, PointSet, points
from ncbench.data.points import one_hot_targets

# Two classes of two points in the plane; the means are (1, 2) and (-2, 5), and of the targets 2 and 7.
X = torch.tensor([[[0.0, 1.0], [2.0, 3.0], [-5.0, 4.0], [1.0, 6.0]]], dtype=torch.float64)
Y = torch.tensor([[[1.0], [3.0], [7.0], [7.0]]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1])
XBAR = [[1.0, 2.0], [1.0, 2.0], [-2.0, 5.0], [-2.0, 5.0]]
YBAR = [[2.0], [2.0], [7.0], [7.0]]


def random_set(replicas, counts=(3, 1, 6), targets=2, **options):
    generator = torch.Generator().manual_seed(0)
    N = sum(counts)
    inputs = torch.randn(replicas, N, 4, generator=generator, dtype=torch.float64)
    others = torch.randn(1, N, targets, generator=generator, dtype=torch.float64)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return PointSet(inputs, others, labels, len(counts), **options)


def naive(values, labels, chosen):
    """Every sample of a chosen replica averaged over those of the same label, one number at a time."""
    replicas = []
    for r, replaced in enumerate(chosen):
        rows = values[r if len(values) > 1 else 0].tolist()
        out = []
        for i, row in enumerate(rows):
            mates = [rows[j] for j in range(len(rows)) if labels[j] == labels[i]]
            out.append([sum(column) / len(mates) for column in zip(*mates, strict=True)] if replaced else row)
        replicas.append(out)
    return torch.tensor(replicas, dtype=torch.float64)


def test_what_is_asked_of_data():
    data = random_set(5)
    assert (data.replicas, data.num_samples, data.dimension, data.num_classes) == (5, 10, 4, 3)
    assert data.per_class == 10 / 3
    assert isinstance(PointSet(X, Y, LABELS, 2).per_class, int)
    ((indices, labels),) = data.measure_loader()
    assert torch.equal(indices, torch.arange(10))
    assert torch.equal(labels, data.labels)
    ((indices, _),) = data.measure_loader("train", batch_size=2)
    assert len(indices) == 10


def test_class_means_by_hand():
    data = PointSet(X, Y, LABELS, 2).with_centroids([False, True])
    assert data.inputs.tolist() == [X[0].tolist(), XBAR]
    assert data.targets.tolist() == [Y[0].tolist(), YBAR]
    assert torch.equal(data.labels, LABELS)
    auto = PointSet(X, X, LABELS, 2, autoencoder=True).with_centroids([True])
    assert auto.inputs.tolist() == auto.targets.tolist() == [XBAR]


@pytest.mark.parametrize("replicas", [1, 3])
def test_class_means_are_the_loop(replicas):
    data, chosen = random_set(replicas), [True, False, True]
    found = data.with_centroids(chosen)
    assert found.replicas == 3
    torch.testing.assert_close(found.inputs, naive(data.inputs, data.labels, chosen), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.targets, naive(data.targets, data.labels, chosen), rtol=0, atol=1e-14)
    assert torch.equal(found.inputs[1], data.inputs[-1 if replicas == 1 else 1])
    # The samples of a class are equal to the last bit, so that no within-class variation is left.
    assert len(found.inputs[0].unique(dim=0)) == 3


def test_means_of_one_hot_targets_are_exact():
    labels = torch.arange(3).repeat_interleave(49)  # 1/49 is rounded: 49 times it is not 1
    targets = one_hot_targets(labels, 3)
    data = PointSet(targets, targets, labels, 3, autoencoder=True)
    assert torch.equal(data.with_centroids([True]).targets, targets)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("member.mT @ points / counts", "member.mT @ points / self.per_class"),
        ("means[:, self.labels]", "means.mean(1, keepdim=True)"),
        ("torch.where(replaced, means", "torch.where(~replaced, means"),
        ("else exchange(self.targets)", "else self.targets"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    data, chosen = random_set(3), [True, False, True]
    bad = mutant(points, old, new).PointSet(data.inputs, data.targets, data.labels, 3).with_centroids(chosen)
    right = [
        torch.allclose(getattr(bad, k), naive(getattr(data, k), data.labels, chosen)) for k in ("inputs", "targets")
    ]
    assert not all(right) or bad.targets.shape != (3, 10, 2)


def test_a_moved_set_is_the_same_set():
    data = PointSet(X, X, LABELS, 2, autoencoder=True).to("cpu")
    assert data.inputs.tolist() == X.tolist()
    assert data.inputs is data.targets


def test_digits_as_points():
    data = Digits(per_class=None)
    data.setup()
    found, bundle = data.points(), load_digits()
    order = torch.argsort(torch.from_numpy(bundle.target), stable=True)
    assert torch.equal(found.inputs[0], torch.from_numpy(bundle.images / 16).flatten(1)[order])
    assert torch.equal(found.labels, torch.from_numpy(bundle.target)[order].long())
    assert torch.equal(found.targets[0], torch.eye(10, dtype=torch.float64)[found.labels])
    assert (found.replicas, found.dimension, found.per_class, found.autoencoder) == (1, 64, 179.7, False)
    with pytest.raises(ValueError, match=r"^noises=\[0.1, 0.2\] must be None, as this dataset has no noise level$"):
        data.points([0.1, 0.2])


NAN = torch.where(X == 6, torch.nan, X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PointSet(X.float(), Y, LABELS, 2),
            r"inputs must be float64 of three dimensions, .* not torch.float32 \(1, 4, 2\)",
        ),
        (
            lambda: PointSet(X[0], Y, LABELS, 2),
            r"inputs must be float64 of three dimensions, .* not torch.float64 \(4, 2\)",
        ),
        (
            lambda: PointSet(X, Y[:, 1:], LABELS, 2),
            r"targets must be .* second of length 4, not torch.float64 \(1, 3, 1\)",
        ),
        (lambda: PointSet(X, NAN, LABELS, 2), r"targets must be finite, and 1 values are not"),
        (
            lambda: PointSet(X.expand(3, 4, 2), Y.expand(2, 4, 1), LABELS, 2),
            r"targets of 2 replicas do not fit inputs of 3",
        ),
        (lambda: PointSet(X[:0], Y[:0], LABELS, 2), r"targets of 0 replicas do not fit inputs of 0"),
        (lambda: PointSet(X, Y, LABELS.int(), 2), r"labels must be int64 of shape \(N,\), not torch.int32 \(4,\)"),
        (lambda: PointSet(X, Y, LABELS, 1), r"labels must lie in 0..0, not 0..1"),
        (lambda: PointSet(X, Y, LABELS - 1, 2), r"labels must lie in 0..1, not -1..0"),
        (lambda: PointSet(X, Y, LABELS.flip(0), 2), r"labels must be sorted by class"),
        (lambda: PointSet(X, Y, 2 * LABELS, 3), r"labels must have a sample of every class, and class 1 of 3 has none"),
        (
            lambda: PointSet(X[:, :0], Y[:, :0], LABELS[:0], 2),
            r"labels must have a sample of every class, and class 0 of 2 has none",
        ),
        (lambda: PointSet(X, Y, LABELS, 2, autoencoder=True), r"targets must be the inputs where autoencoder=True"),
        (
            lambda: random_set(1).measure_loader("test"),
            r"split=test must be train, as full-batch problems have no other samples",
        ),
        (
            lambda: random_set(1).measure_loader(per_class=2),
            r"^per_class=2 must be None, as a full-batch problem is measured whole",
        ),
        (lambda: random_set(3).with_centroids([True]), r"centroids=\[True\] must be one choice for each replica \(3\)"),
        (lambda: random_set(1).with_centroids([]), r"centroids=\[\] must be one choice for each replica \(1\)"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
