"""Hessian tools: quadratics by hand, DNC and low-rank points of the theory, its dimension counts and thresholds."""

import numpy as np
import pytest
import torch

from ncbench.analysis import gradient_norm, hessian_nullity, is_local_minimum, landscape, smallest_eigenvalues
from ncbench.core import frames
from ncbench.theory import dufm_ce, dufm_mse


def quadratic(eigenvalues, seed=0):
    """x -> (1/2) x^T A x with the given eigenvalues and a random eigenbasis, split over a matrix and a vector."""
    n = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]
    A = (Q * torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T

    def objective(W, b):
        x = torch.cat([W.flatten(), b])
        return 0.5 * x @ A @ x

    return objective, [torch.zeros(2, 2, dtype=torch.float64), torch.zeros(n - 4, dtype=torch.float64)]


def test_worked_by_hand():
    objective, zero = quadratic([0, 0, 1, 2, 5, 7])
    assert hessian_nullity(objective, zero) == 2
    np.testing.assert_allclose(smallest_eigenvalues(objective, zero, 4), [0, 0, 1, 2], atol=1e-13)
    assert is_local_minimum(objective, zero)
    saddle, zero = quadratic([-0.1, 0, 1, 2, 5, 7])
    assert not is_local_minimum(saddle, zero)
    assert smallest_eigenvalues(saddle, zero, 1).item() == pytest.approx(-0.1)
    assert gradient_norm(saddle, [z + 1 for z in zero]) > 1e-3
    # x^2 y^2 at (1, 0): Hessian diag(0, 2).
    point = [torch.tensor([1.0, 0.0], dtype=torch.float64)]
    assert hessian_nullity(lambda x: (x[0] * x[1]) ** 2, point) == 1


def test_lanczos_agrees_with_the_whole_hessian(monkeypatch):
    for lowest in (-0.3, 0.0):
        objective, zero = quadratic(np.r_[lowest, np.zeros(10), np.linspace(0.5, 9, 150)].tolist())
        dense = smallest_eigenvalues(objective, zero, 4)
        monkeypatch.setattr(landscape, "DENSE", 50)
        np.testing.assert_allclose(smallest_eigenvalues(objective, zero, 4), dense, atol=2e-5)
        assert is_local_minimum(objective, zero) == (lowest == 0)
        monkeypatch.undo()


def ce_point(K, L, d, n, lam, M):
    """(objective, parameters) of the factors whose class-mean logits are the critical M, in random frames."""
    H, Ws = dufm_ce.balanced_factors(M, L, d, n, lam, lam, torch.Generator().manual_seed(0))
    return lambda H, *Ws: dufm_ce.loss(H, Ws, n, lam, lam), [H, *Ws]


def eye(K):
    return torch.eye(K, dtype=torch.float64) - 1 / K


def dnc_point(K, L, d, n, lam):
    scale = dufm_ce.dnc_scale(K, L, dufm_ce.effective_decay([lam] * L, lam, n))
    return ce_point(K, L, d, n, lam, scale * eye(K))


def ray_point(M, L, d, n, lam):
    scale = dufm_ce.ray_optimum(M, L, dufm_ce.effective_decay([lam] * L, lam, n))[0]
    return ce_point(len(M), L, d, n, lam, scale * M)


DNC = [
    (3, 1, 4, 1, 0.01),
    (3, 2, 4, 1, 0.01),
    (4, 2, 5, 1, 0.01),
    (4, 2, 4, 2, 0.01),
    (4, 3, 5, 1, 1e-3),
    (5, 2, 6, 1, 3e-3),
]
DNC += [(2, 2, 3, 2, 0.01), (3, 4, 3, 1, 2e-3), (6, 1, 7, 1, 0.01)]
RAYS = {  # K, L, d of exactly critical rays with repeated singular values
    "pairs": [(4, 2, 5, 2), (4, 3, 4, 2), (6, 2, 6, 3), (6, 3, 5, 3)],
    "polygon": [(5, 3, 5, 2), (6, 4, 4, 2), (4, 3, 6, 2)],
}


@pytest.mark.parametrize(("K", "L", "d", "n", "lam"), DNC)
def test_dnc_is_stationary_and_its_nullity_is_the_fibre_dimension(K, L, d, n, lam):
    objective, point = dnc_point(K, L, d, n, lam)
    assert gradient_norm(objective, point) < 1e-9
    assert is_local_minimum(objective, point)
    nullity = hessian_nullity(objective, point)
    assert nullity == dufm_ce.fibre_dimension(K - 1, d, L)
    # The paper's count is smaller, except for K = 2 (rank 1, where a rotation of the features is a sign).
    assert (nullity > dufm_ce.paper_fibre_dimension(K - 1, d, L)) == (K > 2)


@pytest.mark.parametrize(
    ("name", "K", "L", "d", "rank"), [(name, *case) for name, cases in RAYS.items() for case in cases]
)
def test_nullity_at_low_rank_points_of_repeated_singular_values(name, K, L, d, rank):
    M = frames.pair_blocks(K) if name == "pairs" else frames.polygon(K)
    objective, point = ray_point(M, L, d, 1, 4e-3)
    assert hessian_nullity(objective, point) == dufm_ce.fibre_dimension(rank, d, L)
    assert is_local_minimum(objective, point)


@pytest.mark.parametrize(("K", "L", "lam", "d"), [(5, 2, 0.01, 5), (7, 2, 0.01, 6), (7, 3, 1e-3, 5)])
def test_nullity_at_relaxed_points_of_unequal_singular_values(K, L, lam, d):
    states = dufm_ce.stable_end_states(K, L, lam, minima_only=True)
    state = next(s for s in states if s.singular_values[0] > 1.01 * s.singular_values[s.rank - 1])
    objective, point = ce_point(K, L, d, 1, lam, state.logits)
    assert hessian_nullity(objective, point, 1e-8) == dufm_ce.fibre_dimension(state.rank, d, L)


@pytest.mark.parametrize(("K", "L"), [(4, 2), (4, 3), (5, 3), (6, 2), (3, 4), (3, 2)])
def test_the_threshold_of_dnc_is_sharp_within_3_percent_of_the_scale(K, L):
    """The Hessian at alpha 3 % above psd_scale has no negative eigenvalue, at 3 % below it has one."""
    scale = dufm_ce.dnc_thresholds(K, L).psd_scale
    for factor, minimum in [(1.03, True), (0.97, False)]:
        alpha = factor * scale
        lam = alpha ** ((L - 1) / (L + 1)) / (np.exp(alpha) + K - 1)
        objective, point = ce_point(K, L, K, 1, float(lam), alpha * eye(K))
        assert is_local_minimum(objective, point, 1e-9) == minimum
        if K >= 4 and not minimum:  # the worst directions: symmetric, zero diagonal, zero row sums
            eigenvalues = smallest_eigenvalues(objective, point, K * (K - 3) // 2 + 1)
            assert (eigenvalues[:-1] < -1e-9).all()
            assert eigenvalues[-1] > -1e-9


@pytest.mark.parametrize("K", [2, 3])
def test_the_threshold_holds_for_few_classes_and_several_samples(K):
    """K = 2: the upper branch suffices; the count of samples does not matter."""
    exists = dufm_ce.dnc_thresholds(K, 2).psd
    for lam, n in [(0.98 * exists, 1), (0.98 * exists / 3 ** (1 / 3), 3)]:
        objective, point = dnc_point(K, 2, 3, n, lam)
        assert is_local_minimum(objective, point)


def test_the_four_saddles_at_full_width():
    """K = 10, L = 2, d = 10: two, five, four and eleven negative eigenvalues (theory counts them at width = rank)."""
    lam = dufm_ce.effective_decay([2**-10] * 2, 2**-10, 5)
    states = {s.name: s for s in dufm_ce.stable_end_states(10, 2, lam)}
    for name, count in {"[3, 2, 2, 2, 1]": 2, "[4, 2, 2, 2]": 5, "[3, 3, 2, 2]": 4, "[5, 3, 2]": 11}.items():
        objective, point = ce_point(10, 2, 10, 1, lam, states[name].logits)
        assert not is_local_minimum(objective, point)
        eigenvalues = smallest_eigenvalues(objective, point, count + 1)
        assert (eigenvalues < -1e-5 * lam).sum() == count == states[name].negative_eigenvalues
    for name in ("[2, 2, 2, 2, 2]", "[6, 2, 2]", "[10]"):
        objective, point = ce_point(10, 2, 10, 1, lam, states[name].logits)
        assert is_local_minimum(objective, point)


def descend(objective, point, steps=4000, rate=1.0):
    point = [p.detach().clone().requires_grad_() for p in point]
    for _ in range(steps):
        gradients = torch.autograd.grad(objective(*point), point)
        point = [(p - rate * g).detach().requires_grad_() for p, g in zip(point, gradients, strict=True)]
    return point


def test_dnc_returns_after_a_perturbation_and_a_saddle_does_not():
    rng = torch.Generator().manual_seed(0)
    lam = 0.02
    for start, returns in [(dnc_point(4, 2, 5, 1, lam), True), (dnc_point(6, 4, 6, 1, 0.05), False)]:
        objective, point = start
        value = float(objective(*point))
        moved = [p + 1e-2 * torch.randn(p.shape, dtype=torch.float64, generator=rng) for p in point]
        end = float(objective(*descend(objective, moved)).detach())
        assert (abs(end - value) < 1e-8) == returns
        assert end < value + 1e-8


def test_mse_dnc_is_a_minimum_and_its_gradient_vanishes():
    for K, L, n in [(3, 2, 2), (4, 3, 1), (6, 4, 1), (5, 1, 3)]:
        lam_H, lams = 1e-3, [2e-3 * (1 + i / 3) for i in range(L)]
        H, Ws = dufm_mse.dnc_solution(K, L, n, lam_H, lams)

        def objective(H, *Ws, n=n, lam_H=lam_H, lams=lams):
            return dufm_mse.loss(H, Ws, n, lam_H, lams)

        assert gradient_norm(objective, [H, *Ws]) < 1e-9
        assert is_local_minimum(objective, [H, *Ws])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<= rtol * np.abs(eigenvalues).max()", "< 0"),
        ("eigenvalues[0] >= -rtol", "eigenvalues[-1] >= -rtol"),
        (
            "np.linalg.eigvalsh(_dense_hessian(gradient, flat))[:count]",
            "np.linalg.eigvalsh(_dense_hessian(gradient, flat))[-count:]",
        ),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(landscape, old, new)
    objective, zero = quadratic([-0.1, 0, 1, 2, 5, 7])
    assert (
        bad.hessian_nullity(objective, zero) != 1
        or bad.is_local_minimum(objective, zero)
        or bad.smallest_eigenvalues(objective, zero, 1).item() > 0
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, z: hessian_nullity(f, [z[0] + 1, z[1]]), "parameters must be a critical point .* got 1.9e"),
        (lambda f, z: is_local_minimum(f, [z[0] + 1, z[1]]), "parameters must be a critical point .* got 1.9e"),
        (
            lambda f, z: smallest_eigenvalues(f, z, 7),
            r"count must lie between 1 and the number of parameters \(6\), got 7",
        ),
        (lambda f, z: hessian_nullity(f, [z[0].float(), z[1]]), "parameters must be float64 tensors"),
        (
            lambda f, z: hessian_nullity(lambda x: x.sum() * 0, [torch.zeros(2401).double()]),
            "parameters must hold at most 2400 numbers",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(*quadratic([0, 0, 1, 2, 5, 7]))
