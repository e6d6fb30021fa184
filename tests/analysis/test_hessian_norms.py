"""Norms of Hessians: by hand, against numpy's norms, and the ratio of Theorem 6 of arXiv 2410.23169 at small decay."""

import numpy as np
import pytest
import torch

from ncbench.analysis import hessian_norms, landscape
from ncbench.core.frames import pair_blocks
from ncbench.theory import dufm_ce


def quadratic(x):
    """3 x_0^2 / 2 - 2 x_1^2: eigenvalues 3 and -4 at any point, critical at 0."""
    return 1.5 * x[0] ** 2 - 2 * x[1] ** 2


ZERO = [torch.zeros(2, dtype=torch.float64)]


def test_by_hand():
    assert hessian_norms(quadratic, ZERO) == pytest.approx((5.0, 4.0, 7.0))


def matrix_norms(module, n=7):
    """(ours, numpy's) of x^T A x / 2 with a random symmetric A."""
    A = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    A = A + A.mT
    got = module.hessian_norms(lambda x: x @ A @ x / 2, [torch.zeros(n, dtype=torch.float64)])
    return got, [np.linalg.norm(A.numpy(), order) for order in ("fro", 2, "nuc")]


def test_numpy_agrees():
    got, expected = matrix_norms(landscape)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.sqrt((eigenvalues**2).sum())", "np.sqrt((eigenvalues**2).mean())"),
        (
            'np.abs(_spectrum(objective, parameters, gradient_tol, "the norms need")[0])',
            "_spectrum(objective, parameters, gradient_tol, '')[0]",
        ),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    got, expected = matrix_norms(mutant(landscape, old, new))
    assert not np.allclose(got, expected, rtol=1e-3)


def ratio(K, L, decay):
    """Norms of the Hessian at DNC over those at the pair blocks: d = K, n = 1, all decays alike."""
    norms = []
    for M in (torch.eye(K, dtype=torch.float64) - 1 / K, pair_blocks(K)):
        M = dufm_ce.ray_optimum(M, L, decay)[0] * M
        H, Ws = dufm_ce.balanced_factors(M, L, K, 1, decay, decay, torch.Generator().manual_seed(0))
        norms.append(hessian_norms(lambda H, *Ws: dufm_ce.loss(H, Ws, 1, decay, decay), [H, *Ws]))
    return np.divide(*norms)


@pytest.mark.parametrize(
    ("K", "L", "expected"),
    [(4, 2, (0.751, 0.951, 0.800)), (4, 3, (0.793, 0.937, 0.852)), (6, 2, (0.898, 1.011, 0.916))],
)
def test_theorem_6_at_a_small_decay(K, L, expected):
    """The ratios of an independent implementation; both Hessians fall to zero with the decay, the ratio does not."""
    np.testing.assert_allclose(ratio(K, L, 1e-7), expected, atol=1e-3)


def test_errors():
    with pytest.raises(ValueError, match="must be a critical point"):
        hessian_norms(quadratic, [torch.ones(2, dtype=torch.float64)])
    with pytest.raises(ValueError, match="at most 2400 numbers, since the norms need the whole Hessian, got 2401"):
        hessian_norms(lambda x: x.sum() * 0, [torch.zeros(2401).double()])
