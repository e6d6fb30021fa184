"""Explicit DNC and SRG matrices: their loss, their structure, stationarity, local optimality; the inner lemmas."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.theory.dufm_mse import (
    dnc_loss,
    dnc_solution,
    last_layer_ridge,
    loss,
    nuclear_factorisation,
    simplified_objective,
    solutions,
    srg_loss,
    srg_solution,
)

GRID = [(K, L, n) for K in (2, 4, 6, 8, 10, 13, 15, 21, 24) for L in (1, 2, 3, 4, 5, 7) for n in (1, 3)]


def numpy_loss(H, Ws, n, lam_H, lams):
    """Equation 1 in numpy, written out again."""
    Z = np.asarray(H)
    for W in Ws[:-1]:
        Z = np.maximum(np.asarray(W) @ Z, 0)
    K = len(Ws[-1])
    residual = np.asarray(Ws[-1]) @ Z - np.kron(np.eye(K), np.ones(n))
    decay = lam_H * np.sum(np.asarray(H) ** 2) + sum(
        lam * np.sum(np.asarray(W) ** 2) for lam, W in zip(lams, Ws, strict=True)
    )
    return np.sum(residual**2) / (2 * n * K) + decay / 2


def unequal(L):
    return 7e-4, [1e-3 * (1 + i / 3) / (1 + (i % 2)) for i in range(L)]


@pytest.mark.parametrize("L", [1, 2, 3, 4, 5, 7])
def test_closed_form_is_the_loss_of_the_explicit_matrices(L):
    lam_H, lams = unequal(L)
    for K, depth, n in GRID:
        if depth != L:
            continue
        H, Ws = dnc_solution(K, L, n, lam_H, lams, width=K + 2)
        assert numpy_loss(H, Ws, n, lam_H, lams) == pytest.approx(dnc_loss(K, L, n, lam_H, lams), rel=1e-12)
        for variant in (1, 2) if K >= 6 and L >= 3 else ():
            H, Ws = srg_solution(K, L, n, lam_H, lams, variant)
            closed = srg_loss(K, L, n, lam_H, lams, variant)
            assert numpy_loss(H, Ws, n, lam_H, lams) == pytest.approx(closed, rel=1e-12), (K, n, variant)
            assert float(loss(H, Ws, n, lam_H, lams)) == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize(("K", "L"), [(6, 3), (10, 4), (15, 5), (6, 7)])
def test_structure_of_the_srg_solution(K, L):
    lam_H, lams = unequal(L)
    r = (1 + math.isqrt(1 + 8 * K)) // 2
    H, Ws = srg_solution(K, L, 2, lam_H, lams, width=K + 1)
    features = H
    for W in Ws[:-1]:
        pre = W @ features
        features = pre.relu()
        assert (features[:, ::2] == features[:, 1::2]).all()  # DNC1
    # Pre-activation rank of the last layer: r, but 3 for r = 4, where S 1 = (r - 4) 1 = 0.
    assert torch.linalg.matrix_rank(pre) == (r if r > 4 else 3)
    assert torch.linalg.matrix_rank(features) == K
    assert torch.linalg.matrix_rank(Ws[0] @ H) == r
    # DNC2 metric of H_L is C(r-2, 2).
    s = torch.linalg.svdvals(features)
    assert s[0] / s[K - 1] == pytest.approx(math.comb(r - 2, 2), rel=1e-10)
    # Balance: all L + 1 penalties are equal at the optimum.
    penalties = [lam_H * H.square().sum(), *(lam * W.square().sum() for lam, W in zip(lams, Ws, strict=True))]
    np.testing.assert_allclose(penalties, penalties[0], rtol=1e-8)


def test_no_rescaling_lowers_srg():
    lam_H, lams = unequal(4)
    H, Ws = srg_solution(10, 4, 2, lam_H, lams)
    factors, best = [H, *Ws], srg_loss(10, 4, 2, lam_H, lams)
    for i in range(5):
        for j in range(5):
            for a, b in [(1.01, 1.0), (0.99, 1.0), (1.01, 1 / 1.01), (1.02, 1.02)]:
                scaled = [F * a ** (k == i) * b ** (k == j) for k, F in enumerate(factors)]
                assert loss(scaled[0], scaled[1:], 2, lam_H, lams) > best * (1 - 1e-12)


@pytest.mark.parametrize(("K", "L"), [(6, 3), (10, 4), (15, 5), (21, 3)])
def test_dnc_is_stationary_and_returns_after_a_perturbation(K, L):
    lam = 2e-3
    factors = [F.clone().requires_grad_() for F in (lambda H, Ws: [H, *Ws])(*dnc_solution(K, L, 5, lam, lam))]
    # Five equal columns per class: one column with decay 5 lam has the same stationary points.
    factors[0] = factors[0].detach()[:, ::5].clone().requires_grad_()
    shapes = [F.shape for F in factors]

    def objective(x):
        parts = [
            p.view(shape).requires_grad_()
            for p, shape in zip(torch.tensor(x).split([s.numel() for s in shapes]), shapes, strict=True)
        ]
        value = loss(parts[0], parts[1:], 1, 5 * lam, lam)
        return value.item(), torch.cat([g.flatten() for g in torch.autograd.grad(value, parts)]).numpy()

    x = torch.cat([F.detach().flatten() for F in factors]).numpy()
    value, gradient = objective(x)
    closed = dnc_loss(K, L, 5, lam, lam)
    assert value == pytest.approx(closed, rel=1e-12)
    assert np.abs(gradient).max() < 1e-9
    rng = np.random.default_rng(0)
    start = x + 1e-3 * rng.standard_normal(x.shape)
    end = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 400, "ftol": 1e-15, "gtol": 1e-9}
    )
    assert objective(start)[0] > closed * (1 + 1e-6)
    assert end.fun == pytest.approx(closed, rel=1e-7)


def test_zero_solution_beyond_the_threshold():
    for H, Ws in (
        dnc_solution(10, 4, 2, 1.0, 1.0),
        srg_solution(10, 4, 2, 1.0, 1.0),
        srg_solution(9, 3, 2, 1.0, 1.0, 2),
    ):
        assert all((F == 0).all() for F in (H, *Ws))
        assert loss(H, Ws, 2, 1.0, 1.0) == 0.5


def test_last_layer_ridge():
    """Lemma 17's value for collapsed features, the normal equations for any, and an optimum in one number."""
    rng = torch.Generator().manual_seed(0)
    M = torch.randn(7, 4, generator=rng, dtype=torch.float64)
    W, value = last_layer_ridge(M.repeat_interleave(3, 1), 3, 0.02)
    s = torch.linalg.svdvals(M)
    assert float(value) == pytest.approx(0.01 * float((1 / (s**2 + 4 * 0.02)).sum()), rel=1e-12)
    H = torch.randn(5, 12, generator=rng, dtype=torch.float64)
    W, value = last_layer_ridge(H, 3, 0.02)
    Y = torch.kron(torch.eye(4), torch.ones(1, 3)).double()
    torch.testing.assert_close(
        W @ (H @ H.T + 12 * 0.02 * torch.eye(5, dtype=torch.float64)), Y @ H.T, rtol=1e-11, atol=1e-11
    )
    assert float(value) == pytest.approx(float((W @ H - Y).square().sum() / 24 + 0.01 * W.square().sum()), rel=1e-12)
    assert (last_layer_ridge(torch.zeros(5, 12).double(), 3, 0.02)[1]) == pytest.approx(0.5)
    # One class of two with h = 1, lam = 1/2: W = (1/2, 0)^T ... N = 2: w = 1/(1 + 2/2) = 1/2.
    W, value = last_layer_ridge(torch.tensor([[1.0, 0.0]]).double(), 1, 0.5)
    np.testing.assert_allclose(W, [[0.5], [0.0]])
    assert float(value) == pytest.approx((0.25 + 1) / 4 + 0.25 * 0.25)


def test_nuclear_factorisation():
    rng = torch.Generator().manual_seed(1)
    X = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    W, H = nuclear_factorisation(X, 0.3, 0.05)
    torch.testing.assert_close(W @ H, X, rtol=1e-12, atol=1e-12)
    value = 0.15 * W.square().sum() + 0.025 * H.square().sum()
    assert float(value) == pytest.approx(math.sqrt(0.3 * 0.05) * float(torch.linalg.matrix_norm(X, "nuc")), rel=1e-12)
    for _ in range(20):  # any other factorisation costs more
        G = torch.eye(4) + 0.1 * torch.randn(4, 4, generator=rng, dtype=torch.float64)
        assert 0.15 * (W @ G).square().sum() + 0.025 * torch.linalg.solve(G, H).square().sum() > value


def test_simplified_objective_is_the_full_one_with_linear_layers_minimised():
    """DNC's hidden layers do not use their ReLUs: equations 1 and 2 agree there, and (2) is below (1) at SRG."""
    lam_H, lams = unequal(4)
    H, Ws = dnc_solution(6, 4, 2, lam_H, lams)
    pre = Ws[2] @ Ws[1] @ Ws[0] @ H
    value = simplified_objective(pre, Ws[3], 2, lam_H, lams, 4)
    assert float(value) == pytest.approx(dnc_loss(6, 4, 2, lam_H, lams), rel=1e-12)
    H, Ws = srg_solution(10, 4, 2, lam_H, lams)
    pre = Ws[2] @ Ws[1] @ Ws[0] @ H
    assert simplified_objective(pre, Ws[3], 2, lam_H, lams, 4) < srg_loss(10, 4, 2, lam_H, lams)
    # L = 2: (1/2)(2) sqrt(lam_H lam_1) ||X||_*, by hand for X = diag(3, 1), W = 0: 1/2 + sqrt(.04 .09) 4.
    hand = simplified_objective(
        torch.diag(torch.tensor([3.0, 1.0])).double(), torch.zeros(2, 2).double(), 1, 0.04, [0.09, 1.0], 2
    )
    assert float(hand) == pytest.approx(0.5 + 0.06 * 4, rel=1e-14)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y * K * lams[-1]) **", "y * lams[-1]) **"),
        ("[n * feature_decay, *lams", "[feature_decay, *lams"),
        ("2 * mu / A,", "mu / A,"),
        ("[r * lam / 2 for lam", "[lam / 2 for lam"),
        ("K**2 / (4 * m)", "K**2 / (2 * m)"),
        ("scale * feature_decay, [scale * lam", "scale * feature_decay, [lam"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(solutions, old, new)
    lam_H, lams = unequal(5)
    pairs = [
        (bad.dnc_solution(8, 5, 3, lam_H, lams), dnc_loss(8, 5, 3, lam_H, lams)),
        (bad.srg_solution(8, 5, 3, lam_H, lams), srg_loss(8, 5, 3, lam_H, lams)),
    ]
    assert any(abs(numpy_loss(H, Ws, 3, lam_H, lams) / closed - 1) > 1e-6 for (H, Ws), closed in pairs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dnc_solution(4, 2, 1, 1e-3, 1e-3, width=3), "width must be an integer of at least 4.*, got 3"),
        (lambda: srg_solution(10, 3, 0, 1e-3, 1e-3), "per_class must be an integer of at least 1.*, got 0"),
        (lambda: srg_solution(9, 3, 1, 1e-3, 1e-3, 2, width=9), "width must be an integer of at least 10.*, got 9"),
        (
            lambda: loss(torch.ones(2, 6), [torch.ones(4, 2)], 2, 1.0, 1.0),
            r"per_class times the 4 classes must be the number of columns \(6\), got per_class=2",
        ),
        (
            lambda: dnc_solution(4, 2, 1, 1e-3, np.ones(2)),
            r"weight_decays must hold single numbers for explicit matrices, got an array of shape \(2,\)",
        ),
        (lambda: nuclear_factorisation(torch.ones(2, 2), 0.0, 1.0), "left_decay must be positive.*, got 0.0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
