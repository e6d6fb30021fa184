import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from ncbench.core import (
    class_mean_condition_number,
    equiangularity,
    equinorm,
    etf_error,
    frames,
    geometry,
    gram_cosines,
    orthogonal_frame_error,
)

# Mean (1, 1); centred rows (1,-1), (-1,-1), (0,2), Gram [[2,0,-2],[0,2,-2],[-2,-2,4]], norm sqrt 40, trace 8,
# cosines 0, -sqrt(1/2), -sqrt(1/2). Uncentred Gram [[4,0,2],[0,0,0],[2,0,10]], norm sqrt 124, trace 14.
M = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
PAIR = torch.tensor([[3.0, 0.0], [4.0, 5.0]])  # Gram [[9,12],[12,41]]: eigenvalues 45, 5; cosine 4/sqrt(41)
CASES = {
    "cosines": (lambda g: g.gram_cosines(PAIR)[0, 1], 0.6246950475544243),
    "centred cosines": (lambda g: g.gram_cosines(M, centre=True)[0, 2], -0.7071067811865476),
    "condition": (lambda g: g.class_mean_condition_number(PAIR), 3.0),
    # distance^2 of unit matrices = 2 - 2 <G, T>/||G||; <G, T> = 8/sqrt(2), as G 1 = 0: 2 - 16/sqrt(80)
    "etf": (lambda g: g.etf_error(M), 0.45950584109472237),
    # G = [[9,12],[12,41]], norm sqrt(2050), T = [[1,-1],[-1,1]]/2, <G, T> = 13: 2 - 26/sqrt(2050)
    "etf uncentred": (lambda g: g.etf_error(PAIR, centre=False), 1.1940502771704373),
    "frame": (lambda g: g.orthogonal_frame_error(M), 0.7404509621692746),  # 2 - 2 * 14/sqrt(124 * 3)
    # norms sqrt 2, sqrt 2, 2 of mean (2 sqrt 2 + 2)/3; variance with K - 1 = 2
    "equinorm": (lambda g: g.equinorm(M), 0.21013299903701255),
    "equiangularity": (lambda g: g.equiangularity(M), 0.30473785412436502),  # (.5 + 2 (sqrt(.5) - .5))/3
    "largest": (lambda g: g.equiangularity(M, reduction="max"), 0.5),
    "target": (lambda g: g.equiangularity(PAIR, centre=False, target=0.0), 0.6246950475544243),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(geometry)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cosines", "dim=-1, keepdim=True)\n    return unit", "dim=-2, keepdim=True)\n    return unit"),
        ("centred cosines", "M - (M.mean(-2", "M + (M.mean(-2"),
        ("condition", "M = class_rows(means, centre=False)\n    s", "M = class_rows(means, centre=True)\n    s"),
        ("condition", "s[..., 0] / (s[..., -1]", "s[..., 0].square() / (s[..., -1].square()"),
        ("etf", "(target - 1 / K)", "(target - 1 / (K - 1))"),
        ("etf", "G / torch.linalg.matrix_norm(G, keepdim=True)", "G / torch.linalg.matrix_norm(G, 2, keepdim=True)"),
        ("etf uncentred", "_gram(class_rows(means, centre)), simplex", "_gram(class_rows(means, True)), simplex"),
        ("frame", "_gram(class_rows(means, centre=False)), s", "_gram(class_rows(means, centre=True)), s"),
        ("equinorm", "norms.shape[-1] - 1.0 or torch.nan", "norms.shape[-1]"),
        ("equiangularity", "-1 / (K - 1)", "-1 / K"),
        ("equiangularity", "- (-1 / (K - 1) if target is None else target)).abs()", "+ 1 / (K - 1))"),
        ("largest", "deviation.amax(-1)", "deviation.mean(-1)"),
        ("target", "if target is None", "if not target"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    assert measure(mutant(geometry, old, new)).item() != pytest.approx(expected, rel=1e-6, abs=0)


def ours(A):
    return {
        "condition": class_mean_condition_number(A),
        "etf": etf_error(A),
        "frame": orthogonal_frame_error(A),
        "equinorm": equinorm(A),
        "equinorm uncentred": equinorm(A, centre=False),
        "mean angle": equiangularity(A),
        "largest angle": equiangularity(A, centre=False, target=0.0, reduction="max"),
    }


def naive(A):
    K = len(A)
    C = A - A.mean(0)
    cosines, raw = cosine_similarity(C), cosine_similarity(A)
    target = (np.eye(K) - np.ones((K, K)) / K) / math.sqrt(K - 1)
    norms = [math.sqrt(sum(x * x for x in row)) for row in C]
    raw_norms = np.linalg.norm(A, axis=1)
    pairs = list(itertools.permutations(range(K), 2))
    return {
        "condition": np.linalg.cond(A),
        "etf": np.linalg.norm(C @ C.T / np.linalg.norm(C @ C.T) - target),
        "frame": np.linalg.norm(A @ A.T / np.linalg.norm(A @ A.T) - np.eye(K) / math.sqrt(K)),
        "equinorm": np.std(norms, ddof=1) / np.mean(norms),
        "equinorm uncentred": np.std(raw_norms, ddof=1) / np.mean(raw_norms),
        "mean angle": np.mean([abs(cosines[i, j] + 1 / (K - 1)) for i, j in pairs]),
        "largest angle": max(abs(raw[i, j]) for i, j in pairs),
    }


@pytest.mark.parametrize(("K", "D"), [(4, 9), (5, 5), (2, 3)])
def test_equals_a_naive_twin_replica_by_replica(K, D):
    A = torch.randn(2, 3, K, D, generator=torch.Generator().manual_seed(K), dtype=torch.float64)
    for name, values in ours(A).items():
        for i in range(2):
            for j in range(3):
                expected = naive(A[i, j].numpy())[name]
                assert values[i, j].item() == pytest.approx(expected, rel=1e-9, abs=1e-7), name
    torch.testing.assert_close(gram_cosines(A)[1, 2].numpy(), cosine_similarity(A[1, 2].numpy()))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_rotation_scale_and_class_order(seed, scale):
    rng = torch.Generator().manual_seed(seed)
    A = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64))[0]
    changed = ours(scale * A[torch.randperm(4, generator=rng)] @ Q)
    for name, value in ours(A).items():
        torch.testing.assert_close(changed[name], value, rtol=1e-8, atol=1e-9)
    translated = A + torch.randn(6, generator=rng, dtype=torch.float64)
    for measure in (etf_error, equinorm, equiangularity):  # the centred ones
        torch.testing.assert_close(measure(translated), measure(A), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("K", [2, 3, 10])
def test_zero_exactly_on_their_own_geometry(K):
    simplex, frame = frames.simplex_etf(K) + 2, 3 * frames.orthogonal_frame(K, K + 2)
    assert etf_error(simplex) < 1e-7
    assert orthogonal_frame_error(frame) < 1e-7
    assert class_mean_condition_number(frame) == pytest.approx(1)
    assert etf_error(frame) < 1e-7  # a centred orthogonal frame is a simplex ETF
    for means, keywords in ((simplex, {}), (frame, {"centre": False, "target": 0.0})):
        assert equiangularity(means, **keywords) < 1e-14
    assert equinorm(simplex) < 1e-14
    assert orthogonal_frame_error(simplex) > 0.1


@pytest.mark.parametrize("r", [4, 5, 6, 7])
def test_dnc2_of_the_srg_last_layer_is_the_binomial(r):
    H_L = frames.triangular_last_layer(r).relu().mT  # one row per class
    assert class_mean_condition_number(H_L).item() == pytest.approx(math.comb(r - 2, 2), rel=1e-12)


def test_degenerate_geometry():
    one, zero, coinciding = torch.ones(1, 3), torch.zeros(3, 4), torch.full((3, 4), 0.1)
    few_dimensions, with_zero = torch.randn(4, 2), torch.eye(3) * torch.tensor([1.0, 0.0, 1.0])
    nan, inf = math.nan, math.inf
    table = [  # condition, ETF, frame, equinorm centred and not, mean centred angle
        (one, [1, nan, 0, nan, nan, nan]),
        (zero, [nan, nan, nan, nan, nan, nan]),
        (coinciding[:2, :1], [inf, nan, 0.7653668647301795, nan, 0, nan]),  # sqrt(2 - sqrt 2)
    ]
    for means, expected in table:
        values = [class_mean_condition_number(means), etf_error(means), orthogonal_frame_error(means)]
        values += [equinorm(means), equinorm(means, centre=False), equiangularity(means)]
        np.testing.assert_allclose([v.item() for v in values], expected, rtol=1e-9, atol=1e-9)
    assert etf_error(coinciding).isnan()
    assert class_mean_condition_number(few_dimensions) == inf
    assert class_mean_condition_number(with_zero) == inf
    cosines = gram_cosines(with_zero)
    assert cosines.isnan().sum() == 5
    assert cosines[0, 2] == 0


def test_a_nan_replica_is_nan_and_leaves_the_others_alone():
    A = torch.randn(3, 4, 6, dtype=torch.float64)
    broken = A.clone()
    broken[1, 2, 3] = torch.nan
    for name, values in ours(broken).items():
        assert values[1].isnan(), name
        assert torch.equal(values[[0, 2]], ours(A)[name][[0, 2]]), name


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"means must have shape \(..., K, D\) with K, D >= 1, got \(3,\)"):
        etf_error(torch.ones(3))
    with pytest.raises(ValueError, match='reduction must be "mean" or "max", got \'sum\''):
        equiangularity(M, reduction="sum")
