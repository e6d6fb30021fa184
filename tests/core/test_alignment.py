import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.core import alignment, frames, self_duality_distance, self_duality_product, weight_mean_alignment

# Class means of mean (1, 1), centred (1,-1), (-1,-1), (0,2) with norm sqrt 8.
M = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
W = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
CASES = {
    # <W, M> = 1 + 2 = 3, so distance^2 = 2 - 2 * 3/(sqrt 2 sqrt 8) = 1/2
    "distance": (lambda a: a.self_duality_distance(W, M), 0.7071067811865476),
    # W M^T = [[1,-1,0],[0,0,0],[-1,-1,2]], norm sqrt 8; <., T> = (trace 3 - sum 0 / 3)/sqrt 2 = 3/sqrt 2
    # distance^2 = 2 - 2 * 3/(sqrt 2 sqrt 8) = 1/2
    "product": (lambda a: a.self_duality_product(W, M), 0.7071067811865476),
    # uncentred means (2,0), 0, (1,3): row 1 lies along the first (1), row 3 = (0,1) has cos^2 = 9/10 with the
    # third: (1 + .9)/2
    "alignment": (lambda a: a.weight_mean_alignment(W, M), 0.95),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(alignment)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("distance", "class_rows(means, centre=True)", "class_rows(means, centre=False)"),
        ("distance", "_unit(W) - _unit(M)", "W - M"),
        ("distance", "matrix_norm(A, keepdim=True)", "matrix_norm(A, 2, keepdim=True)"),
        ("product", "class_rows(means, centre=True)", "class_rows(means, centre=False)"),
        ("product", "simplex=True", "simplex=False"),
        ("product", "W @ M.mT, simplex", "M @ M.mT, simplex"),
        ("alignment", "centre=False", "centre=True"),
        ("alignment", "(W @ M.mT).square()", "(W @ M.mT).abs()"),
        ("alignment", "along.amax(-1)", "along.mean(-1)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    assert measure(mutant(alignment, old, new)).item() != pytest.approx(expected, rel=1e-6)


def naive(W, M):
    K = len(M)
    C = M - M.mean(0)
    target = (np.eye(K) - np.ones((K, K)) / K) / math.sqrt(K - 1)
    cosines = [[w @ m / np.linalg.norm(w) / np.linalg.norm(m) for m in M] for w in W]
    weights = [w @ w for w in W]
    return [
        np.linalg.norm(W / np.linalg.norm(W) - C / np.linalg.norm(C)),
        np.linalg.norm(W @ C.T / np.linalg.norm(W @ C.T) - target),
        sum(g * max(c * c for c in row) for g, row in zip(weights, cosines, strict=True)) / sum(weights),
    ]


def ours(W, M):
    return [self_duality_distance(W, M), self_duality_product(W, M), weight_mean_alignment(W, M)]


def random_pair(seed, *shape):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=rng, dtype=torch.float64).unbind()


def test_equals_a_naive_twin_replica_by_replica():
    weight, means = random_pair(0, 2, 3, 4, 6)
    values = torch.stack(ours(weight, means), -1)
    for i in range(2):
        for j in range(3):
            expected = naive(weight[i, j].numpy(), means[i, j].numpy())
            np.testing.assert_allclose(values[i, j], expected, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_rotation_scales_and_class_order(seed, scale):
    weight, means = random_pair(seed, 4, 6)
    rng = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64))[0]
    order = torch.randperm(4, generator=rng)
    before, after = ours(weight, means), ours(scale * weight[order] @ Q, means[order] @ Q / scale)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-12)
    shifted = means + torch.randn(6, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(ours(weight, shifted)[:2], before[:2], rtol=1e-9, atol=1e-12)


def test_exact_self_duality_and_exact_dnc3():
    E = frames.simplex_etf(5)
    np.testing.assert_allclose(ours(2 * E, 3 * E + 1)[:2], [0, 0], atol=1e-7)
    lopsided = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    assert self_duality_distance(lopsided - lopsided.mean(0), lopsided) < 1e-7
    assert self_duality_product(lopsided, lopsided) > 0.1  # mixes in NC2
    means = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([-2 * means[3], 0 * means[0], means[1], 5 * means[3]])
    assert weight_mean_alignment(rows, means).item() == pytest.approx(1, rel=1e-12)


def test_degenerate_alignment():
    zero = torch.zeros(3, 2)
    assert all(value.isnan() for value in ours(zero, M))
    assert all(value.isnan() for value in ours(W, zero))
    assert all(value.isnan() for value in ours(torch.ones(1, 2), torch.ones(1, 2))[:2])  # one class
    assert weight_mean_alignment(torch.ones(1, 2), torch.ones(1, 2)).item() == pytest.approx(1)
    assert weight_mean_alignment(W, zero + torch.tensor([0.0, 1.0])) == 0.5  # coinciding means are fine here
    assert all(value.isnan() for value in ours(W, M * torch.nan))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"weight must have the \(K, D\) of means \(3, 2\), got \(2, 2\)"):
        self_duality_distance(W[:2], M)
    with pytest.raises(ValueError, match=r"weight must have the \(K, D\) of means"):
        self_duality_product(W[:2], M)
    with pytest.raises(ValueError, match=r"weight \(..., m, D\) must share D with means \(3, 2\), got \(5, 3\)"):
        weight_mean_alignment(torch.ones(5, 3), M)
