"""Deep linear minimisers: exact identities, Theorems 5.1, 5.3, 5.4 on random instances, factor decay by mode."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.theory import deep_linear, factor_decay
from ncbench.theory.deep_linear import (
    autoencoder_gap_law,
    centroid_minimiser,
    cluster_centroids,
    factor_decay_mode,
    factor_decay_thresholds,
    gap_bounds,
    minimiser_gap,
    rank_constrained_minimiser,
    rank_gap_bounds,
    ridge_minimiser,
)

CASES = 300


def instance(seed):
    """Random clusters: 2..6 of them, fewer than dimensions (also d > N), noise and decay over three decades."""
    rng = np.random.default_rng(seed)
    K = rng.integers(2, 7)
    d, c, N = K + rng.integers(1, 9), K + rng.integers(1, 5), rng.integers(7, 40)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, N - K)])
    sigma, tau = 10 ** rng.uniform(-3, 0.3, 2)
    X = rng.standard_normal((d, K))[:, labels] + sigma * rng.standard_normal((d, N))
    Y = rng.standard_normal((c, K))[:, labels] + tau * rng.standard_normal((c, N))
    if seed % 3 == 0:
        Y = X.copy()  # autoencoder
    return torch.from_numpy(X), torch.from_numpy(Y), torch.from_numpy(labels), 10 ** rng.uniform(-2, 1.5), int(K)


def test_ridge_worked_by_hand_and_as_least_squares():
    # X = (1, 2), Y = (1, 0): W = 1 / (5 + 1); centroid (1.5, 1.5), (.5, .5): 1.5 / (4.5 + 1).
    X, Y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    assert ridge_minimiser(X, Y, 1.0).item() == pytest.approx(1 / 6, rel=1e-15)
    assert centroid_minimiser(X, Y, torch.tensor([7, 7]), 1.0).item() == pytest.approx(1.5 / 5.5, rel=1e-15)
    assert minimiser_gap(X, Y, torch.tensor([7, 7]), 1.0).item() == pytest.approx(1 / 6 - 3 / 11, rel=1e-13)
    for seed in range(30):  # Remark 5.2
        X, Y, _, lam, _ = instance(seed)
        rows = np.hstack([X.numpy(), math.sqrt(lam) * np.eye(len(X))])
        targets = np.hstack([Y.numpy(), np.zeros((len(Y), len(X)))])
        twin = np.linalg.lstsq(rows.T, targets.T, rcond=None)[0].T
        np.testing.assert_allclose(ridge_minimiser(X, Y, lam), twin, rtol=1e-10, atol=1e-12)


def test_identities_on_random_instances():
    for seed in range(CASES):
        X, Y, labels, lam, K = instance(seed)
        W, Wc = ridge_minimiser(X, Y, lam), centroid_minimiser(X, Y, labels, lam)
        gap = minimiser_gap(X, Y, labels, lam)
        scale = float(W.norm() + Wc.norm())
        condition = float(torch.linalg.cond(X @ X.T + lam * torch.eye(len(X), dtype=torch.float64)))
        assert float((gap - (W - Wc)).norm()) <= 1e-15 * condition * scale  # rounding: 0.6 eps cond seen
        assert int(torch.linalg.matrix_rank(Wc, rtol=1e-10)) <= K
        if seed % 3 == 0:  # autoencoder
            Xb = cluster_centroids(X, labels)
            A, Ab = (Z @ Z.T + lam * torch.eye(len(X), dtype=torch.float64) for Z in (X, Xb))
            D = X - Xb
            twin = lam * torch.linalg.inv(Ab) @ D @ D.T @ torch.linalg.inv(A)
            assert float((gap - twin).norm()) <= 1e-11 * scale


def ratios(module=deep_linear):
    """lhs / rhs of Theorems 5.3 and 5.4 (sharp, paper-shaped) over the random instances, (CASES, 4)."""
    rows = []
    for seed in range(CASES):
        X, Y, labels, lam, K = instance(seed)
        gap = float(minimiser_gap(X, Y, labels, lam).norm())
        rank_gap = float((ridge_minimiser(X, Y, lam) - rank_constrained_minimiser(X, Y, lam, K)).norm())
        rows.append([gap / b for b in module.gap_bounds(X, Y, labels, lam)])
        rows[-1] += [rank_gap / b for b in module.rank_gap_bounds(X, Y, labels, lam)]
    return np.array(rows)


def test_theorems_5_3_and_5_4_hold_and_are_this_tight():
    all_ratios = ratios()
    assert (all_ratios <= 1 + 1e-12).all()
    assert (all_ratios[:, 0] >= all_ratios[:, 1]).all()
    assert (all_ratios[:, 2] >= all_ratios[:, 3]).all()
    np.testing.assert_allclose(np.quantile(all_ratios, [0.5, 0.9, 1.0], axis=0), QUANTILES, rtol=5e-3)


# Median, 90 % and worst ratio of 5.3 sharp, 5.3 paper-shaped, 5.4 sharp, 5.4 paper-shaped; docs/theory.md prints these.
QUANTILES = [[0.257, 1.14e-4, 0.0841, 0.0563], [0.660, 0.0103, 0.310, 0.221], [0.846, 0.0654, 0.589, 0.422]]


def tight_instance():
    """One mode, one cluster, x = +-1: D_X = X, Wc = 0 with targets y = +-e: the sharp 5.3 is an equality."""
    X, Y = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, -2.0]])
    return X, Y, torch.tensor([0, 0]), 0.5


def test_the_sharp_bounds_are_attained():
    X, Y, labels, lam = tight_instance()
    assert minimiser_gap(X, Y, labels, lam).item() == pytest.approx(4 / 2.5, rel=1e-14)
    assert gap_bounds(X, Y, labels, lam).sharp == pytest.approx(4 / 2.5, rel=1e-14)
    # 5.4: rank 0 of a single mode: Q = y x^T A^(-1/2); as lam -> 0 the bound is an equality.
    assert rank_gap_bounds(X, Y, labels, 1e-12).sharp == pytest.approx(2.0, rel=1e-6)
    assert float(ridge_minimiser(X, Y, 1e-12)) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sharp / _least", "sharp / 2 / _least"),
        ("_least_eigenvalue(A, lam)).sqrt()", "_least_eigenvalue(A, lam)).sqrt() / 2"),
    ],
)
def test_a_planted_factor_two_in_a_sharp_bound_is_caught(mutant, old, new):
    bad = mutant(deep_linear, old, new)
    X, Y, labels, lam = tight_instance()
    broken_53 = minimiser_gap(X, Y, labels, lam).item() > bad.gap_bounds(X, Y, labels, lam).sharp * 1.01
    broken_54 = float(ridge_minimiser(X, Y, 1e-9)) > bad.rank_gap_bounds(X, Y, labels, 1e-9).sharp * 1.01
    assert broken_53 or broken_54


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NT / lam * (0.5 +", "NT / lam / 2 * (0.5 +"),
        ("float((NT / lam).sqrt())", "0.5 * float((NT / lam).sqrt())"),
    ],
)
def test_a_planted_factor_two_in_a_paper_shaped_bound_is_caught(mutant, old, new):
    """These bounds are loose, so their values are compared with the formulas, written again in numpy."""
    bad = mutant(deep_linear, old, new)
    X, Y, labels, lam, _ = instance(5)
    assert naive_paper_bounds(X, Y, labels, lam) != pytest.approx(
        (bad.gap_bounds(X, Y, labels, lam).paper, bad.rank_gap_bounds(X, Y, labels, lam).paper), rel=1e-3
    )


def naive_paper_bounds(X, Y, labels, lam):
    X, Y, labels = X.numpy(), Y.numpy(), labels.numpy()
    TX = TY = 0.0
    for k in np.unique(labels):
        TX += sum(((x - X.T[labels == k].mean(0)) ** 2).sum() for x in X.T[labels == k])
        TY += sum(((y - Y.T[labels == k].mean(0)) ** 2).sum() for y in Y.T[labels == k])
    norms = np.linalg.svd(X)[1][0] * math.sqrt((Y**2).sum())
    return (TX + TY) / lam * (0.5 + norms / lam), math.sqrt(TY / lam)


def test_paper_shaped_bounds_against_a_naive_twin():
    for seed in range(20):
        X, Y, labels, lam, _ = instance(seed)
        got = (gap_bounds(X, Y, labels, lam).paper, rank_gap_bounds(X, Y, labels, lam).paper)
        assert got == pytest.approx(naive_paper_bounds(X, Y, labels, lam), rel=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_rank_constrained_minimiser(rank):
    """Theorem 5.1: the minimum is ||Y||^2 - sum of the largest s^2; alternating least squares finds nothing lower."""
    X = torch.randn(5, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    Y, lam = torch.randn(4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), 0.7
    A = X @ X.T + lam * torch.eye(5, dtype=torch.float64)

    def objective(W):
        return float((W @ X - Y).square().sum() + lam * W.square().sum())

    W = rank_constrained_minimiser(X, Y, lam, rank)
    w, Q = np.linalg.eigh(A.numpy())
    s = np.linalg.svd((Y @ X.T).numpy() @ Q / np.sqrt(w) @ Q.T)[1]
    assert objective(W) == pytest.approx(float((Y**2).sum()) - (s[:rank] ** 2).sum(), rel=1e-13)
    rng = torch.Generator().manual_seed(3)
    for _ in range(5 if rank else 0):
        P = torch.randn(4, rank, dtype=torch.float64, generator=rng)
        for _ in range(300):
            P = torch.linalg.qr(P)[0]
            R = P.T @ Y @ X.T @ torch.linalg.inv(A)
            P = Y @ X.T @ R.T @ torch.linalg.inv(R @ A @ R.T)
        assert objective(P @ R) >= objective(W) * (1 - 1e-12)
    assert torch.allclose(rank_constrained_minimiser(X, Y, lam, 9), ridge_minimiser(X, Y, lam), atol=1e-13)


def test_isotropic_law_of_the_autoencoder():
    """||W* - Wc|| ~ sqrt(d-K) sigma^2 / (sigma^2 + lam/N) outside the centroids, quadratic in sigma."""
    rng = np.random.default_rng(0)
    K, d, N, lam = 5, 40, 20000, 0.1
    labels = np.arange(N) % K
    means = 2 * np.linalg.qr(rng.standard_normal((d, K)))[0]
    noise = rng.standard_normal((d, N))
    norms = []
    for sigma in (1e-3, 1e-2, 1e-1):
        X = torch.from_numpy(means[:, labels] + sigma * noise)
        norms.append(float(minimiser_gap(X, X, torch.from_numpy(labels), N * lam).norm()))
        assert norms[-1] == pytest.approx(autoencoder_gap_law(K, d, sigma, lam), rel=0.05)
    assert math.log10(norms[1] / norms[0]) == pytest.approx(2.0, abs=0.01)


def test_isotropic_law_by_hand_and_its_limits():
    # sqrt(9) 4 / (4 + 2), and sqrt(16) 1 / (1 + 3).
    assert autoencoder_gap_law(1, 10, 2.0, 2.0) == pytest.approx(2.0, rel=1e-15)
    np.testing.assert_allclose(autoencoder_gap_law(4, 20, np.array([1.0, 1e9]), 3.0), [1.0, 4.0], rtol=1e-15)
    assert autoencoder_gap_law(4, 4, 1.0, 3.0) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.sqrt(d - K) * variance", "(d - K) * variance"),
        ("np.sqrt(d - K) * variance", "np.sqrt(d) * variance"),
        ('positive("noise", noise) ** 2', 'positive("noise", noise)'),
    ],
)
def test_a_planted_bug_in_the_isotropic_law_is_caught(mutant, old, new):
    assert mutant(deep_linear, old, new).autoencoder_gap_law(1, 10, 2.0, 2.0) != pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(("lam", "ratio"), [(0.01, 1.0), (0.1, 1.04), (0.3, 1.16), (1.0, 1.30), (3.0, 1.36)])
def test_the_law_leaves_out_the_span_of_the_means(lam, ratio):
    """N = 1000, d = 20, K = 10 means of norm 1: the rest grows with lam over the eigenvalues of the means, 1/K."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    means = np.linalg.qr(rng.standard_normal((20, 10)))[0]
    X = torch.from_numpy(means[:, labels] + 1e-3 * rng.standard_normal((20, 1000)))
    gap = float(minimiser_gap(X, X, torch.from_numpy(labels), 1000 * lam).norm())
    assert gap / autoencoder_gap_law(10, 20, 1e-3, lam) == pytest.approx(ratio, abs=0.05)


def test_factor_decay_thresholds():
    assert factor_decay_thresholds(4) == pytest.approx((2.598, 3.674), abs=5e-4)
    # L = 4 by hand: (1-w) w^(1/2) is largest at 1/3: 1/((2/3)/sqrt 3) = sqrt(27)/2; w1 = 2/3: 3 sqrt(3/2).
    assert factor_decay_thresholds(4) == pytest.approx((math.sqrt(27) / 2, 3 * math.sqrt(1.5)), rel=1e-14)
    assert factor_decay_thresholds(1) == (0, 0)
    assert factor_decay_thresholds(2) == (1, 1)


@pytest.mark.parametrize("L", [1, 2, 3, 4, 7])
def test_factor_decay_modes_against_a_fine_grid(L):
    c = np.geomspace(0.05, 50, 61)
    best, local = factor_decay_mode(c, 0.7, L)
    w = np.linspace(0, 1, 200001)[:, None]
    values = c * (1 - w) ** 2 + 0.7 * L * w ** (2 / L)
    np.testing.assert_allclose(best, w[values.argmin(0), 0], atol=1e-5)
    thresholds = factor_decay_thresholds(L)
    np.testing.assert_array_equal(local > 0, c / 0.7 > thresholds.exists)
    np.testing.assert_array_equal(best > 0, c / 0.7 > thresholds.is_global)
    kept = local > 0
    slope = -2 * c * (1 - local) + 2 * 0.7 * np.where(kept, local, 1.0) ** (2 / L - 1)
    np.testing.assert_allclose(slope[kept], 0, atol=1e-9)


def test_factor_decay_at_its_thresholds():
    for L in (3, 4, 6):
        for threshold in factor_decay_thresholds(L):
            for step in (1 - 1e-15, 1.0, 1 + 1e-15, 1 + 1e-12):
                mode = factor_decay_mode(threshold * step, 1.0, L)
                assert all(math.isfinite(value) and 0 <= value < 1 for value in mode)
        assert factor_decay_mode(factor_decay_thresholds(L).exists, 1.0, L) == (0, 0)
    assert factor_decay_mode(1e20, 1.0, 4) == (1, 1)


def test_explicit_factors_reach_the_predicted_mode():
    """L-BFGS on four factors of a diagonal problem: modes above the global threshold stay, the others vanish."""
    c, lam = np.array([1.0, 0.02]), 5e-3  # c / lam = 200 and 4 > 3.674; the start decides between 4's two minima
    roots = factor_decay_mode(c, lam, 4).local_minimiser

    def objective(x):
        F = x.reshape(4, 2, 2)
        parts = [torch.tensor(f, requires_grad=True) for f in F]
        W = parts[3] @ parts[2] @ parts[1] @ parts[0]
        D = torch.from_numpy(np.sqrt(np.diag(c)))
        value = ((W - torch.eye(2)) @ D).square().sum() + lam * sum(p.square().sum() for p in parts)
        value.backward()
        return value.item(), np.concatenate([p.grad.numpy().ravel() for p in parts])

    start = np.tile(np.eye(2).ravel(), 4) + 0.05 * np.random.default_rng(0).standard_normal(16)
    end = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-15})
    F = end.x.reshape(4, 2, 2)
    s = np.linalg.svd(F[3] @ F[2] @ F[1] @ F[0])[1]
    np.testing.assert_allclose(s, roots, rtol=1e-5)
    start = np.tile(np.diag([1.0, 0.3]).ravel(), 4)  # product 0.008, inside the basin of zero
    end = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-15})
    F = end.x.reshape(4, 2, 2)
    np.testing.assert_allclose(np.linalg.svd(F[3] @ F[2] @ F[1] @ F[0])[1], [roots[0], 0], atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1 / ((1 - w0) * w0 ** (1 - 2 / L))", "1 / ((1 - w0) * w0 ** (1 - 1 / L))"),
        ("(L - 2) / (L - 1)\n", "(L - 2) / L\n"),
        ("w ** (1 - 2 / L) * ratio - 1", "w ** (1 - 2 / L) * ratio - 2"),
        ("ratio / (1 + ratio)", "ratio / (2 + ratio)"),
        ("1 - 1 / ratio", "1 - 2 / ratio"),
    ],
)
def test_a_planted_bug_in_factor_decay_is_caught(mutant, old, new):
    bad, c = mutant(factor_decay, old, new), np.geomspace(0.05, 50, 61)
    w = np.linspace(0, 1, 20001)[:, None]
    wrong = False
    for L in (1, 2, 4):
        grid = w[(c * (1 - w) ** 2 + 0.7 * L * w ** (2 / L)).argmin(0), 0]
        wrong |= not np.allclose(bad.factor_decay_mode(c, 0.7, L).global_minimiser, grid, atol=1e-3)
    assert wrong or bad.factor_decay_thresholds(4) != pytest.approx((math.sqrt(27) / 2, 3 * math.sqrt(1.5)))


X2 = torch.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ridge_minimiser(X2, X2, 0.0), "decay must be positive.*, got 0.0"),
        (
            lambda: ridge_minimiser(X2, torch.ones(2, 3), 1.0),
            r"must be matrices of the same N, got \(2, 2\) and \(2, 3\)",
        ),
        (lambda: cluster_centroids(X2, torch.tensor([0])), "labels must be 2 integers, got"),
        (lambda: cluster_centroids(X2, torch.tensor([0.0, 1.0])), "labels must be 2 integers, got"),
        (lambda: rank_constrained_minimiser(X2, X2, 1.0, -1), "rank must be an integer of at least 0.*, got -1"),
        (lambda: autoencoder_gap_law(3, 2, 1.0, 1.0), "dimension must be an integer of at least 3.*, got 2"),
        (lambda: autoencoder_gap_law(1, 2, 0.0, 1.0), "noise must be positive.*, got 0.0"),
        (lambda: factor_decay_thresholds(0), "depth must be an integer of at least 1.*, got 0"),
        (lambda: factor_decay_mode(-1.0, 1.0, 4), "eigenvalue must be positive.*, got -1.0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
