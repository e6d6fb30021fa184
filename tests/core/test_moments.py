import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.core import ClassMoments, cdnv, moments, scatter_ratio, total_cluster_variation

# Class 0: (0,0), (2,0), mean (1,0). Class 1: (5,0), (5,4), (5,2), mean (5,2).
H = torch.tensor([[0.0, 0.0], [5.0, 0.0], [5.0, 4.0], [2.0, 0.0], [5.0, 2.0]])
LABELS = torch.tensor([0, 1, 1, 0, 1])


def split_and_merge(module):
    first = module.ClassMoments.from_batch(H[:2], LABELS[:2], 2, scatter="full")
    return first.merge(module.ClassMoments.from_batch(H[2:], LABELS[2:], 2, scatter="full")).finalise()


# Within class 0: 1 + 1 = 2; class 1: 4 + 4 + 0 = 8. All deviations lie along an axis: 2 along x, 8 along y.
CASES = {
    "counts": (lambda m: m.counts, [2, 3]),
    "means": (lambda m: m.means, [[1, 0], [5, 2]]),
    "within_trace": (lambda m: m.within_trace, [2, 8]),
    "class_variances": (lambda m: m.class_variances, [1, 8 / 3]),
    "scatter": (lambda m: m.scatter, [[2, 0], [0, 8]]),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand_in_one_batch_and_merged(name):
    read, expected = CASES[name]
    for m in (ClassMoments.from_batch(H, LABELS, 2, scatter="full"), split_and_merge(moments)):
        torch.testing.assert_close(
            read(m).double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14
        )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("within_trace", "weight * delta.square()", "delta.square()"),
        ("within_trace", "weight = self.counts * share", "weight = other.counts * share"),
        ("within_trace", "deviation.square_().sum(-1)", "deviation.square_().mean(-1)"),
        ("within_trace", ".sub_(offset.index_select(-2, y))", ""),  # centred at the shift, not at the mean
        ("class_variances", "self.required_within_trace() / self.counts", "self.required_within_trace()"),
        ("means", "delta * share[:, None]", "delta * 0.5"),
        ("means", "self.offset + delta", "self.offset - delta"),
        ("counts", "counts = self.counts + other.counts", "counts = self.counts"),
        ("scatter", "(weight[:, None] * delta).mT @ delta", "delta.mT @ delta"),
        ("scatter", "full += deviation.mT @ deviation", "full = deviation.mT @ deviation / N"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    read, expected = CASES[name]
    value = read(split_and_merge(mutant(moments, old, new))).double()
    assert not torch.allclose(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-6)


def naive(features, labels, K):
    """Loops over classes and samples, two passes, in float64."""
    X, y = features.double().numpy(), labels.numpy()
    means = np.stack([np.mean([X[i] for i in range(len(y)) if y[i] == c], axis=0) for c in range(K)])
    within = np.zeros(K)
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for i, c in enumerate(y):
        within[c] += ((X[i] - means[c]) ** 2).sum()
        scatter += np.outer(X[i] - means[c], X[i] - means[c])
    return means, within, scatter


def test_equals_a_naive_twin_replica_by_replica(clusters):
    features, labels = clusters(leading=(2, 3))
    m = ClassMoments.from_batch(features, labels, 4, scatter="full").finalise()
    assert [m.means.shape, m.within_trace.shape, m.scatter.shape] == [(2, 3, 4, 7), (2, 3, 4), (2, 3, 7, 7)]
    for i in range(2):
        for j in range(3):
            means, within, scatter = naive(features[i, j], labels, 4)
            np.testing.assert_allclose(m.means[i, j], means, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(m.within_trace[i, j], within, rtol=1e-12)
            np.testing.assert_allclose(m.scatter[i, j], scatter, rtol=1e-10, atol=1e-12)
            alone = ClassMoments.from_batch(features[i, j], labels, 4)
            torch.testing.assert_close(m.within_trace[i, j], alone.within_trace, rtol=1e-13, atol=0)
    torch.testing.assert_close(m.scatter.diagonal(dim1=-2, dim2=-1).sum(-1), m.within_trace.sum(-1))


def measures(within, means, counts):
    """[within-class trace, TCV, scatter ratio, CDNV] of means and within-class sums, in numpy."""
    K, N = len(counts), counts.sum()
    between = ((means - means.mean(0)) ** 2).sum() / K
    v = within / counts
    pairs = [(v[c] + v[k]) / (2 * ((means[c] - means[k]) ** 2).sum()) for c in range(K) for k in range(c + 1, K)]
    return np.array([within.sum(), within.sum() / N, within.sum() / N / between, np.mean(pairs)])


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("std", [1.0, 1e-2, 1e-4, 1e-5, 1e-6, 1e-7])
def test_exact_for_collapsed_float32_features(clusters, std, offset):
    features, labels = clusters(K=10, D=512, N=5000, std=std, offset=offset)
    features = features.float()
    X, y = features.double().numpy(), labels.numpy()  # the same float32 numbers, two passes in float64
    means = np.stack([X[y == c].mean(0) for c in range(10)])
    within = np.array([((X[y == c] - means[c]) ** 2).sum() for c in range(10)])
    m = ClassMoments.from_batch(features, labels, 10)
    ours = [m.within_trace.sum(), total_cluster_variation(m), scatter_ratio(m), cdnv(m)]
    np.testing.assert_allclose(ours, measures(within, means, np.bincount(y)), rtol=1e-6)


def test_one_pass_in_float32_would_fail_that_test(clusters):
    features, labels = clusters(K=10, D=512, N=5000, std=1e-4)
    exact = ClassMoments.from_batch(features.float(), labels, 10).within_trace.sum()
    features = features.float()
    counts = labels.bincount()[:, None]
    sums = torch.zeros(10, 512).index_add_(0, labels, features)
    one_pass = (features**2).sum() - (sums**2 / counts).sum()
    assert abs(one_pass / exact - 1) > 0.1


@pytest.mark.parametrize(("offset", "rtol"), [(0.0, 1e-12), (1.0, 1e-12), (1e3, 1e-9)])
@pytest.mark.parametrize("std", [1.0, 1e-4, 1e-7])
@pytest.mark.parametrize("outlier", [0.0, 1e3])
def test_traces_of_any_split_and_order_agree(clusters, std, offset, rtol, outlier):
    features, labels = clusters(K=5, D=64, N=600, std=std, offset=offset)
    starts = [int((labels == c).nonzero()[0]) for c in range(5)]  # the samples that the sums of a batch start from
    features[starts] += outlier * std
    whole = ClassMoments.from_batch(features, labels, 5, scatter="full").finalise()
    for seed, size in enumerate((600, 1, 7, 250)):
        order = torch.arange(600) if seed == 0 else torch.randperm(600, generator=torch.Generator().manual_seed(seed))
        first, *parts = [ClassMoments.from_batch(features[i], labels[i], 5) for i in order.split(size)]
        for part in parts:
            first = first.merge(part)
        torch.testing.assert_close(first.within_trace, whole.within_trace, rtol=rtol, atol=0)


@pytest.mark.parametrize(("offset", "rtol"), [(0.0, 1e-12), (1.0, 1e-12), (1e3, 1e-9)])
@pytest.mark.parametrize("std", [1.0, 1e-4, 1e-7])
def test_any_split_and_order_agree(clusters, std, offset, rtol):
    features, labels = clusters(K=5, D=64, N=600, std=std, offset=offset)
    whole = ClassMoments.from_batch(features, labels, 5, scatter="full").finalise()
    for seed, size in enumerate((1, 7, 250)):
        order = torch.randperm(600, generator=torch.Generator().manual_seed(seed))
        parts = [ClassMoments.from_batch(features[i], labels[i], 5, scatter="full") for i in order.split(size)]
        merged = parts[0]
        for part in parts[1:]:
            merged = merged.merge(part)
        torch.testing.assert_close(merged.counts, whole.counts)
        torch.testing.assert_close(merged.means, whole.means, rtol=rtol, atol=1e-15)
        torch.testing.assert_close(merged.within_trace, whole.within_trace, rtol=rtol, atol=0)
        torch.testing.assert_close(scatter_ratio(merged), scatter_ratio(whole), rtol=rtol, atol=0)
        scale = whole.scatter.abs().max().item()
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=rtol, atol=1e-9 * scale)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=2), st.integers(0, 2**31), st.integers(1, 5))
def test_merge_is_commutative_associative_and_has_a_neutral_element(cuts, seed, K):
    rng = torch.Generator().manual_seed(seed)
    features, labels = torch.randn(30, 3, generator=rng), torch.randint(0, K, (30,), generator=rng)
    low, high = sorted(cuts)
    a, b, c = (
        ClassMoments.from_batch(features[i:j], labels[i:j], K) for i, j in [(0, low), (low, high), (high, 30)]
    )  # batches and classes may be empty
    whole = ClassMoments.from_batch(features, labels, K)
    for m in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)):
        torch.testing.assert_close(m.means, whole.means, equal_nan=True)
        torch.testing.assert_close(m.within_trace, whole.within_trace, rtol=1e-12, atol=1e-12)
    empty = ClassMoments.from_batch(features[:0], labels[:0], K)
    for m in (empty.merge(whole), whole.merge(empty)):
        assert torch.equal(m.counts, whole.counts)
        assert torch.equal(m.label_range, whole.label_range)
        assert torch.equal(m.within_trace, whole.within_trace)
        torch.testing.assert_close(m.means, whole.means, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-100, 100))
def test_rotation_scale_translation_and_permutations(clusters, seed, scale, shift):
    features, labels = clusters(seed)
    rng = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(7, 7, generator=rng, dtype=torch.float64))[0]
    rename, order = torch.randperm(4, generator=rng), torch.randperm(40, generator=rng)
    m = ClassMoments.from_batch(features, labels, 4, scatter="full")
    t = ClassMoments.from_batch(scale * features[order] @ Q + shift, rename[labels[order]], 4, scatter="full")
    assert torch.equal(t.counts[rename], m.counts)
    torch.testing.assert_close(t.means[rename], scale * m.means @ Q + shift)
    torch.testing.assert_close(t.within_trace[rename], scale**2 * m.within_trace)
    torch.testing.assert_close(t.scatter, scale**2 * Q.T @ m.scatter @ Q)


def test_identical_samples_have_exactly_zero_variation_also_when_merged():
    sample = torch.tensor([[0.1, 1 / 3, 1e3]])
    m = ClassMoments.from_batch(sample.expand(7, 3), torch.zeros(7, dtype=torch.int64), 1, scatter="full")
    for moments_ in (m, m.merge(m), m.merge(m).merge(m)):
        assert moments_.within_trace.item() == moments_.scatter.abs().max() == 0
        assert torch.equal(moments_.means, sample.double())


def test_blocks_do_not_change_the_moments(clusters, monkeypatch):
    features, labels = clusters(leading=(2,))
    whole = ClassMoments.from_batch(features, labels, 4)
    monkeypatch.setattr(moments, "CPU_BLOCK", 2 * 7 * 3)  # three samples at a time
    blocked = ClassMoments.from_batch(features, labels, 4)
    torch.testing.assert_close(blocked.means, whole.means, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(blocked.within_trace, whole.within_trace, rtol=1e-13, atol=0)


@pytest.mark.parametrize("scatter", ["trace", "full", "none"])
def test_no_host_synchronisation(scatter):
    # A meta tensor has no values: .item(), bool() and data-dependent shapes raise on it.
    features, labels = torch.empty(3, 8, 5, device="meta"), torch.empty(8, dtype=torch.int64, device="meta")
    m = ClassMoments.from_batch(features, labels, 4, scatter=scatter)
    assert m.merge(m).means.shape == (3, 4, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float64_out_of_place_and_detached(dtype):
    features = H.to(dtype).requires_grad_()
    before = features.detach().clone()
    m = ClassMoments.from_batch(features, LABELS.int(), 2, scatter="full")
    state = {f.name: getattr(m, f.name).clone() for f in dataclasses.fields(m)}
    m.merge(m)
    assert torch.equal(features.detach(), before)
    for name, value in state.items():
        assert torch.equal(getattr(m, name), value), name
        assert value.dtype == (torch.int64 if name in ("counts", "label_range") else torch.float64)
        assert not value.requires_grad
    assert torch.equal(m.to("cpu").means, m.means)


def test_finalise_says_what_is_wrong_and_measures_are_nan_until_then():
    def moments_of(features, labels, K=3):
        return ClassMoments.from_batch(torch.tensor(features)[:, None], torch.tensor(labels), K)

    good = moments_of([0.0, 1.0, 2.0, 3.0], [0, 1, 2, 2])
    assert good.finalise() is good
    cases = [
        (
            moments_of([0.0, 1.0, 2.0], [0, 1, 3]),
            r"labels must lie in \[0, 2\] for num_classes=3, got \[0, 3\]",
        ),
        (moments_of([0.0, 1.0, 2.0], [-100, 1, 2]), r"got \[-100, 2\]"),
        (moments_of([0.0, float("nan"), 2.0], [0, 1, 2]), r"features must be finite.*classes \[1\]"),
        (moments_of([0.0, 1.0, float("inf"), 2.0], [0, 1, 2, 2]), r"features must be finite.*classes \[2\]"),
        (moments_of([0.0, 1.0], [0, 2]), r"empty classes: \[1\] of num_classes=3"),
    ]
    for bad, message in cases:
        for m in (bad, good.merge(bad), bad.merge(good)):
            if "empty" in message and m is not bad:
                continue  # the good batch has that class
            with pytest.raises(ValueError, match=message):
                m.finalise()
            assert scatter_ratio(m).isnan()
            assert cdnv(m).isnan()


def test_one_diverged_replica_leaves_the_others_alone(clusters):
    features, labels = clusters(leading=(3,))
    broken = features.clone()
    broken[1, 5] = torch.nan
    good, bad = (ClassMoments.from_batch(x, labels, 4) for x in (features, broken))
    ratio = scatter_ratio(bad)
    assert ratio[1].isnan()
    torch.testing.assert_close(ratio[[0, 2]], scatter_ratio(good)[[0, 2]], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((H[0], LABELS, 2), r"features must be a floating tensor \(..., N, D\)"),
        ((H.int(), LABELS, 2), "features must be a floating tensor"),
        ((H, LABELS[:3], 2), r"labels must be integers of shape \(5,\)"),
        ((H, LABELS.float(), 2), "labels must be integers"),
        ((H, LABELS, 0), "num_classes must be at least 1, got 0"),
        ((H, LABELS, 2, "diag"), 'scatter must be "trace", "full" or "none", got \'diag\''),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassMoments.from_batch(*arguments)


def test_what_was_not_kept_is_asked_for_by_name():
    means_only = ClassMoments.from_batch(H, LABELS, 2, scatter="none")
    torch.testing.assert_close(means_only.means, ClassMoments.from_batch(H, LABELS, 2).means)
    with pytest.raises(ValueError, match=r'within_trace is needed: .*scatter="trace"'):
        scatter_ratio(means_only)
    with pytest.raises(ValueError, match="moments to merge must agree"):
        means_only.merge(ClassMoments.from_batch(H, LABELS, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_and_never_synchronises(clusters):
    features, labels = clusters(leading=(3,))
    x, y = features.cuda(), labels.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        m = ClassMoments.from_batch(x[:, :20], y[:20], 4).merge(ClassMoments.from_batch(x[:, 20:], y[20:], 4))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = ClassMoments.from_batch(features, labels, 4)
    torch.testing.assert_close(m.finalise().to("cpu").within_trace, expected.within_trace, rtol=1e-12, atol=0)
