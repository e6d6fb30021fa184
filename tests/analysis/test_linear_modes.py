"""Modes of deep linear autoencoders: by hand, a naive twin, factors that were trained, refusals."""

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.analysis import end_to_end, linear_modes, mode_error, mode_values, modes_alive
from ncbench.theory.factor_decay import factor_decay_mode

# c = (1 + 9 + 2)/3 = 4 in one dimension.
X1 = torch.tensor([[[1.0], [3.0], [-(2**0.5)]]], dtype=torch.float64)
# X^T X / N = diag(1, 4): u_1 = e_2, u_2 = e_1.
X2 = torch.tensor([[[2**0.5, 0.0], [0.0, 8**0.5]]], dtype=torch.float64)
P2 = torch.tensor([[[0.2, 0.03], [-0.05, 0.7]]], dtype=torch.float64)


def p(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


CASES = {
    # L = 2: r = 1 - lam/c = .75; L = 1: 4/5, and 0 is not allowed; L = 4: (1 - .64) .64^(1/2) = .288 = lam/c, r = .64.
    "two factors": (lambda m: m.mode_error(p(0.7, 0.1, 0.75), X1, 1.0, 2), [0.05, 0.1, 0.0]),
    "one factor": (lambda m: m.mode_error(p(0.7, 0.1, 0.8), X1, 1.0, 1), [0.1, 0.7, 0.0]),
    "four factors": (lambda m: m.mode_error(p(0.6, 0.3, 0.64), X1, 4 * 0.288, 4), [0.04, 0.3, 0.0]),
    # c/lam = 4/2 = 2 < 2.598: only 0 is left.
    "no minimum": (lambda m: m.mode_error(p(0.6, -0.1), X1, 2.0, 4), [0.6, 0.1]),
    "decay of each": (lambda m: m.mode_error(p(0.7, 0.7), X1, torch.tensor([1.0, 2.0]), 2), [0.05, 0.2]),
    # c = (4, 1), lam = .8: r = (.8, .2) for L = 2: distances .1 and 0, off the diagonal .05.
    "two modes": (lambda m: m.mode_error(P2, X2, 0.8, 2), [0.1]),
    "off the diagonal": (lambda m: m.mode_error(P2 + torch.diag(torch.tensor([0.0, 0.1])), X2, 0.8, 2), [0.05]),
    "eigenvalues": (lambda m: m.mode_values(P2, X2).eigenvalues, [[4.0, 1.0]]),
    "values": (lambda m: m.mode_values(P2, X2).values, [[0.7, 0.2]]),
    "alive": (lambda m: m.modes_alive(torch.diag_embed(torch.tensor([[1.1e-3, 0.9e-3], [1.0, 0.5]])), X2), [1.0, 2.0]),
    # [[1, 2]] after [[0, 3], [1, 0]] is (2, 3), for 2 -> 2 -> 1 dimensions.
    "product": (
        lambda m: m.end_to_end([torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]), torch.tensor([[[1.0, 2.0]]])]),
        [[[2.0, 3.0]]],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(measure(linear_modes), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("eigenvalues", "X.mT @ X / X.shape[1]", "X.mT @ X"),
        ("eigenvalues", "c.flip(-1)", "c"),
        ("values", "U.flip(-1)", "U"),
        ("product", "product = W @ product", "product = W"),
        ("two factors", "torch.minimum(distance, w.abs())", "distance"),
        ("one factor", "if depth > 1", "if depth"),
        ("four factors", "1e-15 * lam), lam, depth)", "1e-15 * lam), lam, depth - 1)"),
        ("no minimum", "1e-15 * lam), lam,", "1e-15 * lam), lam / 2,"),
        ("no minimum", "w.abs())", "w.clamp(min=0))"),
        ("two modes", "distance.amax(-1)", "distance.amin(-1)"),
        ("off the diagonal", "torch.maximum(distance.amax(-1), ", "torch.minimum(distance.amax(-1), "),
        ("off the diagonal", "(rotated - torch.diag_embed(w)).abs()", "(rotated - torch.diag_embed(w)).relu()"),
        ("alive", "w > threshold", "w > 0"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    expected = torch.tensor(expected, dtype=torch.float64)
    error = measure(mutant(linear_modes, old, new))
    assert error.shape != expected.shape or not torch.allclose(error, expected, rtol=1e-6)


def naive_error(P, X, lam, L):
    c, U = np.linalg.eigh(X.T @ X / len(X))
    grid = np.linspace(0, 1, 200001)
    worst = 0.0
    for i in range(len(c)):
        values = c[i] * (1 - grid) ** 2 + lam * L * grid ** (2 / L)
        inner = np.flatnonzero((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])) + 1
        allowed = [*grid[inner], *([0.0] if L > 1 else [])]
        worst = max(worst, min(abs(U[:, i] @ P @ U[:, i] - w) for w in allowed))
        worst = max(worst, *(abs(U[:, i] @ P @ U[:, j]) for j in range(len(c)) if j != i))
    return worst


@pytest.mark.parametrize("L", [1, 2, 3, 5])
@pytest.mark.parametrize("sets", [1, 3])
def test_equals_a_naive_twin_replica_by_replica(L, sets):
    rng = torch.Generator().manual_seed(L)
    X = torch.randn(sets, 9, 4, generator=rng, dtype=torch.float64)
    P, lam = torch.randn(3, 4, 4, generator=rng, dtype=torch.float64) / 4, torch.tensor([0.05, 0.1, 0.6])
    error = mode_error(P, X, lam, L)
    c, w = mode_values(P, X)
    for r in range(3):
        data = X[r % sets].numpy()
        assert error[r].item() == pytest.approx(naive_error(P[r].numpy(), data, lam[r].item(), L), abs=1e-5)
        np.testing.assert_allclose(c[r], np.sort(np.linalg.eigvalsh(data.T @ data / 9))[::-1], rtol=1e-10)
        assert w[r].sum().item() == pytest.approx(P[r].trace().item())
        assert modes_alive(P, X)[r] == (w[r] > 1e-3).sum()


def trained(X, lam, L, start):
    """L factors at a minimum of (1/N) ||X P^T - X||^2 + lam sum ||W_l||^2, by L-BFGS."""
    d = X.shape[1]

    def objective(flat):
        factors = torch.tensor(flat.reshape(L, 1, d, d), requires_grad=True)
        P = factors[0]
        for W in factors[1:]:
            P = W @ P
        value = (X @ P[0].mT - X).square().sum() / len(X) + lam * factors.square().sum()
        value.backward()
        return value.item(), factors.grad.numpy().ravel()

    options = {"gtol": 1e-10, "ftol": 0, "maxiter": 5000, "maxcor": 50}
    end = scipy.optimize.minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(end.x.reshape(L, 1, d, d))


@pytest.mark.parametrize(("L", "lam"), [(1, 0.03), (2, 0.03), (3, 0.03), (4, 0.03)])
def test_trained_factors_are_at_the_predicted_modes(L, lam):
    """Four modes of eigenvalues 1, .3, .1 and .003: the last cannot live with decay on L >= 2 factors."""
    rng = np.random.default_rng(L)
    basis = np.linalg.qr(rng.standard_normal((30, 4)))[0]
    X = torch.from_numpy(basis * np.sqrt(30 * np.array([1.0, 0.3, 0.1, 0.003])) @ np.linalg.qr(rng.random((4, 4)))[0])
    start = np.tile(np.eye(4), (L, 1, 1)) + 0.1 * rng.standard_normal((L, 4, 4))
    P = end_to_end(list(trained(X, lam, L, start)))
    assert mode_error(P, X[None], lam, L).item() < 1e-6
    assert mode_error(P, X[None], 2 * lam, L).item() > 1e-3
    # c / lam of the third mode is 3.33: above the threshold of all depths here (2.598 for L = 4).
    assert modes_alive(P, X[None]).item() == (4 if L == 1 else 3)
    c, w = mode_values(P, X[None])
    np.testing.assert_allclose(w[0], factor_decay_mode(c[0].numpy(), lam, L).local_minimiser, atol=1e-6)


def test_fewer_samples_than_dimensions_and_replicas_that_are_not_finite():
    X = torch.randn(1, 2, 5)
    c, U = np.linalg.eigh((X[0].T @ X[0] / 2).double().numpy())
    w = np.array([factor_decay_mode(max(value, 1e-12), 1e-3, 3).local_minimiser for value in c])
    P = torch.from_numpy(np.stack([U * w @ U.T, U * w @ U.T + np.nan]))
    error = mode_error(P, X, 1e-3, 3)
    assert error[0] < 1e-6
    assert error[1].isnan()
    assert modes_alive(P, X)[0] == 2
    assert modes_alive(P, X)[1].isnan()
    assert not end_to_end([P.float()]).requires_grad
    assert end_to_end([P.float()]).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: end_to_end([]), "weights must hold at least one factor"),
        (lambda: mode_values(torch.ones(2, 2), X2), r"P must have shape \(R, d, d\), got \(2, 2\)"),
        (lambda: mode_values(torch.ones(3, 2, 1), X2), r"P must have shape \(R, d, d\), got \(3, 2, 1\)"),
        (lambda: mode_values(P2, X1), r"X must have shape \(R or 1, N, d\) for P \(1, 2, 2\), got"),
        (lambda: mode_error(P2, X2, 0.0, 2), "weight_decay must be positive.*, got 0.0"),
        (lambda: mode_error(P2, X2, torch.ones(3), 2), r"one number or one per replica \(1\), got shape \(3,\)"),
        (lambda: mode_error(P2, X2, 1.0, 0), "depth must be an integer of at least 1.*, got 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
