import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import calinski_harabasz_score

from ncbench.core import (
    ClassMoments,
    cdnv,
    law_of_separation,
    nc1,
    nc1_directions,
    rounding_floor,
    scatter_ratio,
    separation_fuzziness,
    total_cluster_variation,
    variability,
)


def moments_of(features, labels, K=None, scatter="full"):
    features, labels = torch.as_tensor(features), torch.as_tensor(labels)
    return ClassMoments.from_batch(features, labels, K or int(labels.max()) + 1, scatter=scatter)


# Class 0: (0,0), (2,0); class 1: (5,0), (5,4), (5,2). K = 2, N = 5, mu_0 = (1,0), mu_1 = (5,2), mu_G = (3,1).
# FirstPass of squares within: 2 and 8, so v = (1, 8/3); Sigma_W = diag(2, 8)/5 = diag(.4, 1.6), trace 2.
# mu_c - mu_G = -+(2,1): Sigma_B = (2,1)(2,1)^T, trace 5, pseudo-inverse (2,1)(2,1)^T / 25.
HAND = moments_of([[0.0, 0.0], [5.0, 0.0], [5.0, 4.0], [2.0, 0.0], [5.0, 2.0]], [0, 1, 1, 0, 1])
FUZZINESS = torch.tensor([8.0, 4.0, 1.0])
CASES = {
    "tcv": (lambda v: v.total_cluster_variation(HAND), 2.0),  # 10 / 5
    # hbar = (17, 6)/5; (2 * 7.2 + 3 * 3.2)/5 = 4.8 between, weighted by counts; 2 / (2 + 4.8)
    "scale-free": (lambda v: v.total_cluster_variation(HAND, scale_free=True), 0.29411764705882354),
    "ratio": (lambda v: v.scatter_ratio(HAND), 0.4),  # 2 / 5
    "rhubarbwu": (lambda v: v.nc1(HAND)[0], 0.064),  # (.4 * 4 + 1.6 * 1) / 25 / K
    "papyan": (lambda v: v.nc1(HAND, convention="papyan")[0], 0.128),
    "parker": (lambda v: v.nc1(HAND, convention="parker")[0], 0.128),
    # Weighted Sigma_B = 4.8 u u^T with u = (2,1)/sqrt(5); u^T Sigma_W u = 3.2/5 = .64; .64/4.8
    "he-su": (lambda v: v.separation_fuzziness(HAND), 0.13333333333333333),
    "cdnv": (lambda v: v.cdnv(HAND), 0.09166666666666667),  # (1 + 8/3) / (2 * 20) = 11/120
    "floor": (lambda v: v.rounding_floor(HAND, torch.float32), 6.323830348264892e-14),  # 2^-48 (2 * 1 + 3 * 29)/5
    # log2 D = 3, 2, 0 over 0, 1, 2: slope -1.5, so the ratio is 2^-1.5; r = -3 / sqrt(2 * 14/3)
    "law": (lambda v: v.law_of_separation(FUZZINESS).decay_ratio, 0.35355339059327373),
    "law r": (lambda v: v.law_of_separation(FUZZINESS).correlation, -0.9819805060619657),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(variability)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(expected, rel=1e-13, abs=0)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tcv", "sum(-1) / moments.counts.sum()\n    if", "sum(-1) / moments.counts.shape[0]\n    if"),
        ("scale-free", "moments.means, other), shares)", "moments.means, other))"),
        ("ratio", "sum((-2, -1)) / deviation.shape[-2]", "sum((-2, -1))"),
        ("ratio", "deviation = centred_rows(moments.means)\n", "deviation = moments.means\n"),
        ("rhubarbwu", 'factor = 1 / K if convention == "rhubarbwu" else 1.0', "factor = 1.0"),
        ("papyan", 'factor = 1 / K if convention == "rhubarbwu" else 1.0', "factor = 1 / K"),
        ("parker", "factor / s.square()", "factor / s"),
        ("he-su", 'if convention != "he-su":', "if True:"),
        ("cdnv", "(2 * _square_distances(means))", "_square_distances(means)"),
        ("cdnv", "moments.means, moments.class_variances", "moments.means, moments.within_trace"),
        ("floor", "eps / 2", "eps"),
        ("law", "y = as_float64(fuzziness).log()", "y = as_float64(fuzziness)"),
        ("law r", "y = y - y.mean(-1, keepdim=True)", "pass"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    assert measure(mutant(variability, old, new)).item() != pytest.approx(expected, rel=1e-6, abs=0)


def naive(H, y, K):
    """Every measure from d x d matrices and double loops, float64."""
    H, y = H.numpy(), y.numpy()
    N, D = H.shape
    mu = np.stack([H[y == c].mean(0) for c in range(K)])
    v = [np.mean([((H[i] - mu[c]) ** 2).sum() for i in range(N) if y[i] == c]) for c in range(K)]
    S_W, S_B, S_B_weighted = np.zeros((D, D)), np.zeros((D, D)), np.zeros((D, D))
    for i in range(N):
        S_W += np.outer(H[i] - mu[y[i]], H[i] - mu[y[i]]) / N
    for c in range(K):
        S_B += np.outer(mu[c] - mu.mean(0), mu[c] - mu.mean(0)) / K
        S_B_weighted += np.outer(mu[c] - H.mean(0), mu[c] - H.mean(0)) * (y == c).mean()
    pairs = [(v[c] + v[k]) / 2 / ((mu[c] - mu[k]) ** 2).sum() for c in range(K) for k in range(c)]
    inverse = np.linalg.pinv(S_B, rcond=1e-8, hermitian=True)
    return {
        "tcv": np.trace(S_W),
        "scale-free": np.trace(S_W) / ((H - H.mean(0)) ** 2).sum() * N,
        "ratio": np.trace(S_W) / np.trace(S_B),
        "rhubarbwu": np.trace(S_W @ inverse) / K,
        "papyan": np.trace(S_W @ inverse),
        "he-su": np.trace(S_W @ np.linalg.pinv(S_B_weighted, rcond=1e-8, hermitian=True)),
        "cdnv": np.mean(pairs),
    }


def ours(m):
    return {
        "tcv": total_cluster_variation(m),
        "scale-free": total_cluster_variation(m, scale_free=True),
        "ratio": scatter_ratio(m),
        "rhubarbwu": nc1(m, rtol=1e-4)[0],
        "papyan": nc1(m, rtol=1e-4, convention="papyan")[0],
        "he-su": separation_fuzziness(m, rtol=1e-4),
        "cdnv": cdnv(m),
    }


@pytest.mark.parametrize(("K", "D"), [(4, 7), (6, 3), (2, 1)])  # more, and fewer, dimensions than classes
def test_equals_a_naive_twin_replica_by_replica(clusters, K, D):
    features, labels = clusters(K=K, D=D, leading=(2, 2))
    values = ours(moments_of(features, labels))
    for i in range(2):
        for j in range(2):
            for name, expected in naive(features[i, j], labels, K).items():
                assert values[name].shape == (2, 2)
                assert values[name][i, j].item() == pytest.approx(expected, rel=1e-9), name


def test_against_scikit_learn(clusters):
    features, labels = clusters(K=5, D=8, N=100)
    # Calinski-Harabasz: weighted between-class sum / (K - 1) over within-class sum / (N - K).
    share = 1 / (1 + calinski_harabasz_score(features.numpy(), labels.numpy()) * (5 - 1) / (100 - 5))
    value = total_cluster_variation(moments_of(features, labels), scale_free=True)
    assert value.item() == pytest.approx(share, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-10, 10))
def test_rotation_scale_translation_and_class_order(clusters, seed, scale, shift):
    features, labels = clusters(seed)
    rng = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(7, 7, generator=rng, dtype=torch.float64))[0]
    rename = torch.randperm(4, generator=rng)
    before = ours(moments_of(features, labels))
    after = ours(moments_of(scale * features @ Q + shift, rename[labels]))
    for name, value in before.items():
        expected = value * (scale**2 if name == "tcv" else 1)
        torch.testing.assert_close(after[name], expected, rtol=1e-7, atol=0), name


def test_degenerate_variability():
    zero_within = moments_of([[0.1], [0.1], [0.7]], [0, 0, 1])
    only_means_coincide = moments_of([[0.0], [2.0], [1.0], [1.0]], [0, 0, 1, 1])
    all_coincide = moments_of([[0.1], [0.1], [0.1]], [0, 1, 2])
    one_class = moments_of([[0.0], [2.0]], [0, 0])
    inf, nan = math.inf, math.nan
    expected = {  # ratio, CDNV, NC1, kept rank, TCV, scale-free TCV
        zero_within: [0, 0, 0, 1, 0, 0],
        only_means_coincide: [inf, inf, nan, 0, 0.5, 1],
        all_coincide: [nan, nan, nan, 0, 0, nan],
        one_class: [inf, nan, nan, 0, 1, 1],
    }
    for m, values in expected.items():
        got = [scatter_ratio(m), cdnv(m), *nc1(m), total_cluster_variation(m), total_cluster_variation(m, True)]
        np.testing.assert_array_equal([x.item() for x in got], values)


def test_coinciding_pair_among_other_classes_is_infinite_for_cdnv():
    assert cdnv(moments_of([[0.0], [2.0], [1.0], [9.0]], [0, 0, 1, 2])).item() == math.inf
    assert cdnv(moments_of([[1.0], [1.0], [9.0]], [0, 1, 2])).isnan()


def test_an_empty_class_adds_nothing_to_the_tcv_and_makes_the_rest_nan():
    m = moments_of([[0.0], [2.0], [5.0]], [0, 0, 2])
    assert total_cluster_variation(m).item() == pytest.approx(2 / 3)
    assert all(x.isnan() for x in (scatter_ratio(m), cdnv(m), nc1(m)[0], separation_fuzziness(m)))
    assert nc1(m)[1].item() == 0
    of_those_there = total_cluster_variation(moments_of([[0.0], [2.0], [5.0]], [0, 0, 1]), scale_free=True)
    assert total_cluster_variation(m, scale_free=True).item() == of_those_there.item()
    first = moments_of([[9.0], [9.0], [9.0]], [1, 1, 2])  # class 0 is empty, and all samples coincide
    assert total_cluster_variation(first, scale_free=True).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nc1_keeps_exactly_the_rank_of_low_rank_means(dtype):
    # K = 10 means of exact rank 3, noise of known scatter: a pseudo-inverse in float32 is off by any factor here.
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(512, 3, generator=rng, dtype=torch.float64))[0]
    means = torch.randn(10, 3, generator=rng, dtype=torch.float64) @ basis.T
    noise = 1e-3 * torch.randn(50, 512, generator=rng, dtype=torch.float64)
    noise = torch.cat([noise, -noise])  # class means stay exact
    features = (means[:, None] + noise).reshape(1000, 512).to(dtype)
    labels = torch.arange(10).repeat_interleave(100)
    S_W = noise.T @ noise / 100
    B = (means - means.mean(0)) / 10**0.5
    expected = torch.trace(S_W @ torch.linalg.pinv(B.T @ B, rtol=1e-6)) / 10
    value, kept_rank = nc1(moments_of(features, labels))
    assert kept_rank.item() == 3
    assert value.item() == pytest.approx(expected.item(), rel=1e-4 if dtype == torch.float32 else 1e-9)


def test_nc1_rtol_decides_the_kept_rank():
    means = torch.diag(torch.tensor([1.0, 1e-1, 1e-3], dtype=torch.float64))
    means = torch.cat([means, -means])  # centred, singular values in the ratios 1, 0.1, 0.001
    noise = torch.tensor([0.1, 0.1, 0.1], dtype=torch.float64)
    m = moments_of(torch.cat([means - noise, means + noise]), torch.arange(6).repeat(2))
    ranks = {rtol: nc1(m, rtol=rtol)[1].item() for rtol in (0.0, 1e-4, 1e-2, 0.5)}
    assert ranks == {0.0: 3, 1e-4: 3, 1e-2: 2, 0.5: 1}
    small = moments_of(1e-3 * torch.cat([means - noise, means + noise]), torch.arange(6).repeat(2))
    assert nc1(small)[1].item() == 2  # relative to the largest value, whatever the scale of the features


def test_nc1_directions_serve_a_second_pass(clusters):
    features, labels = clusters(leading=(3,))
    full, trace = moments_of(features, labels), moments_of(features, labels, scatter="trace")
    for convention in ("rhubarbwu", "he-su"):
        V, weights, rank = nc1_directions(trace, convention=convention)
        deviation = features - trace.means[:, labels]
        second_pass = (weights * (deviation @ V.mT).square().mean(-2)).sum(-1)
        value, kept_rank = nc1(full, convention=convention)
        torch.testing.assert_close(second_pass, value, rtol=1e-10, atol=0)
        assert torch.equal(rank, kept_rank)


def test_cdnv_of_many_classes_takes_the_fast_way_and_keeps_near_coincidences(clusters):
    features, labels = clusters(K=100, D=20, N=300, std=0.1, offset=5.0)
    features[labels == 7] = features[labels == 3][0] + 1e-7 * features[labels == 7]  # two means 1e-7 apart
    for near, m in [(False, moments_of(*clusters(K=100, D=20, N=300))), (True, moments_of(features, labels, 100))]:
        assert cdnv(m).item() == pytest.approx(naive_cdnv(m), rel=1e-9), near


def naive_cdnv(m):
    mu, v, K = m.means.numpy(), m.class_variances.numpy(), len(m.counts)
    return np.mean([(v[c] + v[k]) / 2 / ((mu[c] - mu[k]) ** 2).sum() for c in range(K) for k in range(c)])


def test_rounding_floor_flags_what_float32_cannot_hold(clusters):
    exact, labels = clusters(K=3, D=16, N=300, std=1e-9, offset=1.0)
    rounded = moments_of(exact.float(), labels)
    assert total_cluster_variation(rounded) < rounding_floor(rounded, torch.float32)
    exact, labels = clusters(K=3, D=16, N=300, std=1e-4, offset=1.0)
    rounded = moments_of(exact.float(), labels)
    assert total_cluster_variation(rounded) > 1e4 * rounding_floor(rounded, torch.float32)


def test_law_of_separation():
    law = law_of_separation(torch.tensor([[8.0, 4, 2, 1], [1, 3, 9, 27], [5, 5, 5, 5], [1, 0.5, 0, 1]]))
    np.testing.assert_allclose(law.decay_ratio, [0.5, 3, 1, math.nan], rtol=1e-12)
    np.testing.assert_allclose(law.correlation, [-1, 1, math.nan, math.nan], rtol=1e-12)
    slope = np.polyfit(np.arange(3), np.log([8.0, 4.0, 1.0]), 1)[0]
    assert law_of_separation(FUZZINESS).decay_ratio.item() == pytest.approx(math.exp(slope), rel=1e-12)
    with pytest.raises(ValueError, match="fuzziness must hold 2 layers or more"):
        law_of_separation(torch.tensor([1.0]))


def test_bad_arguments_of_nc1():
    with pytest.raises(ValueError, match=r"rtol must lie in \[0, 1\), got 1"):
        nc1(HAND, rtol=1.0)
    with pytest.raises(ValueError, match=r"convention must be .* got 'zhu'"):
        nc1(HAND, convention="zhu")
    with pytest.raises(ValueError, match=r'scatter is needed: .*scatter="full"'):
        nc1(moments_of([[0.0], [1.0]], [0, 1], scatter="trace"))
