"""Cross-entropy losses of explicit factors: closed forms, Theorem 7's construction, the cost of balanced factors."""

import math

import numpy as np
import pytest
import torch

from ncbench.core import frames
from ncbench.theory.dufm_ce import (
    balanced_factors,
    dnc_loss,
    dnc_scale,
    effective_decay,
    loss,
    objective,
    pair_blocks,
    pair_loss,
    polygon_loss,
    ray_optimum,
    reduced_objective,
    relu_low_rank,
    relu_low_rank_loss,
)


def naive_loss(H, Ws, n, lam_H, lams, relu=False):
    """The objective in numpy, one sample at a time."""
    Z = np.asarray(H)
    for W in Ws[:-1]:
        Z = np.asarray(W) @ Z
        Z = np.maximum(Z, 0) if relu else Z
    Z = np.asarray(Ws[-1]) @ Z
    fit = sum(math.log(sum(math.exp(z) for z in Z[:, i] - Z[i // n, i])) for i in range(Z.shape[1])) / Z.shape[1]
    return (
        fit
        + lam_H / 2 * np.sum(np.asarray(H) ** 2)
        + sum(a / 2 * np.sum(np.asarray(W) ** 2) for a, W in zip(lams, Ws, strict=True))
    )


@pytest.mark.parametrize("L", [1, 2, 3, 5])
def test_closed_forms_are_losses_of_explicit_factors(L):
    rng = torch.Generator().manual_seed(0)
    for K in (2, 3, 4, 6, 10):
        for n in (1, 4):
            lam_H, lams = 3e-4, [1e-3 * (1 + i / 2) for i in range(L)]
            lam = effective_decay(lams, lam_H, n)
            S = torch.eye(K, dtype=torch.float64) - 1 / K
            cases = [(dnc_scale(K, L, lam) * S, dnc_loss(K, L, lam))]
            cases.append((ray_optimum(pair_blocks(K), L, lam)[0] * pair_blocks(K), pair_loss(K, L, lam)))
            if K > 2:
                cases.append((ray_optimum(frames.polygon(K), L, lam)[0] * frames.polygon(K), polygon_loss(K, L, lam)))
            M = torch.randn(K, K, generator=rng, dtype=torch.float64)
            cases.append((M, float(reduced_objective(M, L, lam))))
            for M, closed in cases:
                H, Ws = balanced_factors(M, L, K + 1, n, lam_H, lams, rng)
                assert naive_loss(H, Ws, n, lam_H, lams) == pytest.approx(closed, rel=1e-12), (K, n)
                assert float(loss(H, Ws, n, lam_H, lams)) == pytest.approx(closed, rel=1e-12)
                torch.testing.assert_close(
                    Ws[0] @ H if L == 1 else Ws[-1] @ _product(Ws[:-1], H), M.repeat_interleave(n, 1)
                )


def _product(Ws, H):
    for W in Ws:
        H = W @ H
    return H


def test_balanced_factors_cost_least():
    rng = torch.Generator().manual_seed(1)
    M = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    lams = [1e-2, 3e-2]
    H, Ws = balanced_factors(M, 2, 4, 1, 5e-3, lams)
    best = float(loss(H, Ws, 1, 5e-3, lams))
    for _ in range(20):
        G = torch.eye(4, dtype=torch.float64) + 0.1 * torch.randn(4, 4, generator=rng, dtype=torch.float64)
        assert loss(torch.linalg.solve(G, H), [Ws[0] @ G, Ws[1]], 1, 5e-3, lams) > best
        assert loss(H, [torch.linalg.solve(G, Ws[0]), Ws[1] @ G], 1, 5e-3, lams) > best


@pytest.mark.parametrize("L", [2, 3, 4, 5])
def test_theorem_7_construction(L):
    for K in (4, 6, 10):
        for n in (1, 3):
            lam_H, lams = 4e-5, [1e-4 * (1 + i) for i in range(L)]
            scale, closed = relu_low_rank_loss(K, L, effective_decay(lams, lam_H, n))
            H, Ws = relu_low_rank(K, L, scale, n, K + 2, lam_H, lams)
            assert naive_loss(H, Ws, n, lam_H, lams, relu=True) == pytest.approx(closed, rel=1e-12)
            assert naive_loss(H, Ws, n, lam_H, lams) == pytest.approx(closed, rel=1e-12)  # no ReLU is active
            assert float(loss(H, Ws, n, lam_H, lams, "relu")) == pytest.approx(closed, rel=1e-12)
            np.testing.assert_allclose(
                [lam * W.square().sum() for lam, W in zip(lams, Ws, strict=True)], float(lam_H * H.square().sum())
            )
    assert relu_low_rank_loss(6, L, 1e3) == (0, math.log(6))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("math.sqrt(n)) ** (1 / (L + 1))", "n) ** (1 / (L + 1))"),
        ("/ (depth + 1)))", "/ depth))"),
        ("pow(2 / (depth + 1))", "pow(1 / (depth + 1))"),
        ("math.sqrt(geometric_mean(lams) / lam)", "geometric_mean(lams) / lam"),
    ],
)
def test_a_planted_bug_in_the_reduction_is_caught(mutant, old, new):
    bad = mutant(objective, old, new)
    lam_H, lams, M = 3e-4, [1e-3, 5e-3], torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    H, Ws = bad.balanced_factors(M, 2, 4, 3, lam_H, lams)
    closed = float(bad.reduced_objective(M, 2, bad.effective_decay(lams, lam_H, 3)))
    assert abs(naive_loss(H, Ws, 3, lam_H, lams) / closed - 1) > 1e-4
