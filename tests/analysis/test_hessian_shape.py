"""Zero, negative and remaining eigenvalues: by hand, the theory's points, near them, and with planted bugs."""

import math

import numpy as np
import pytest
import torch

from ncbench.analysis import gradient_norm, hessian_shape, landscape
from ncbench.config.measuring import LARGEST_HESSIAN
from ncbench.core.frames import pair_blocks, simplex_blocks
from ncbench.theory import dufm_ce

LAM = 4e-3


def quadratic(x):
    """Eigenvalues 3, 0.5, 0 and, in the last entry, -4 / 2 a fourth power: 0."""
    return 1.5 * x[0] ** 2 + 0.25 * x[1] ** 2 + x[3] ** 4


def zero(n=4):
    return [torch.zeros(n, dtype=torch.float64)]


def test_by_hand():
    assert hessian_shape(quadratic, zero(), 0.25) == pytest.approx((2, 0, math.log(12) + math.log(2), 2.0))
    saddle = hessian_shape(lambda x: quadratic(x) - 2 * x[2] ** 2, zero(), 1.0)
    assert saddle[:2] == (1, 1)
    assert math.isnan(saddle.log_determinant)
    assert saddle.smallest == pytest.approx(0.5)
    nothing = hessian_shape(lambda x: x[0] ** 4, zero(2), 1.0)
    assert nothing[:3] == (2, 0, 0.0)
    assert math.isnan(nothing.smallest)


def test_only_critical_points_and_not_too_many_parameters():
    point = [torch.tensor([1e-6, 0, 0, 0], dtype=torch.float64)]
    with pytest.raises(ValueError, match=r"^parameters must be a critical point .* above 1.0e-07\), got 3.0e-06"):
        hessian_shape(quadratic, point, 1.0)
    with pytest.raises(
        ValueError, match=r"^parameters must hold at most 2400 numbers, since its shape needs the whole"
    ):
        hessian_shape(lambda x: x.square().sum(), zero(2401), 1.0)
    assert LARGEST_HESSIAN == 4 * landscape.DENSE


def point(M, d, seed=0):
    """(objective, parameters) at a structure for K = 6, L = 2, n = 1 and all decays 4e-3."""
    scale, _ = dufm_ce.ray_optimum(M, 2, LAM)
    generator = torch.Generator().manual_seed(seed)
    H, Ws = dufm_ce.balanced_factors(scale * M, 2, d, 1, LAM, LAM, generator)
    return lambda H, *Ws: dufm_ce.loss(H, Ws, 1, LAM, LAM), [H, *Ws]


KNOWN = [
    (simplex_blocks([6]), 6, 30, 72.17),
    (simplex_blocks([6]), 8, 50, 86.04),
    (simplex_blocks([6]), 12, 90, 113.76),
    (pair_blocks(6), 6, 24, 65.04),
    (pair_blocks(6), 8, 36, 73.35),
    (pair_blocks(6), 12, 60, 89.99),
]


@pytest.mark.parametrize(("M", "d", "zeros", "logdet"), KNOWN)
def test_dnc_and_pairs_of_arxiv_2410_23169(M, d, zeros, logdet):
    """Zeros are L (r d - r (r + 1)/2), the dimension of St(r, d)^L; the smallest of the others is the decay itself."""
    shape = hessian_shape(*point(M, d), LAM)
    assert shape[:2] == (zeros, 0)
    assert zeros == dufm_ce.fibre_dimension(5 if M[0, 2] else 3, d, 2)
    assert shape.log_determinant == pytest.approx(logdet, abs=0.005)
    assert shape.smallest == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("size", [1e-5, 3e-6, 1e-8])
def test_near_a_minimum_the_counts_are_those_at_it(size):
    """Gradients of 1e-7 and less move eigenvalues that should be 0 by as much; the threshold has room for that."""
    objective, exact = point(simplex_blocks([6]), 8)
    moved = [p + size * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1)) for p in exact]
    left = gradient_norm(objective, moved)
    shape = hessian_shape(objective, moved, LAM, gradient_tol=1e-5)
    assert shape[:2] == (50, 0)
    assert shape.log_determinant == pytest.approx(86.04, abs=0.01)
    assert shape.smallest == pytest.approx(1, abs=1e-3)
    assert left < size


def largest_fault(kind):
    """How far the numbers of a module are from those of DNC at d = 6, and moved, and of a saddle."""
    objective, exact = point(simplex_blocks([6]), 6)
    moved = [p + 1e-5 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1)) for p in exact]
    shapes = [kind.hessian_shape(objective, where, LAM, gradient_tol=1e-4) for where in (exact, moved)]
    faults = [abs(s.nullity - 30) + s.negative + abs(s.log_determinant - 72.17) / 100 for s in shapes]
    saddle = kind.hessian_shape(lambda x: quadratic(x) - 2 * x[2] ** 2, zero(), 1.0)
    return np.max(
        [*faults, abs(saddle.negative - 1), abs(saddle.nullity - 1), abs(shapes[0].smallest - 1)]
    )  # NaN where one is


def test_planted_bugs_are_found(mutant):
    assert largest_fault(landscape) < 1e-3
    for old, new in (
        ("+ 2 * float(gradient.norm())", ""),
        ("eigenvalues[eigenvalues > zero] / lam", "eigenvalues[eigenvalues > zero]"),
        ("(eigenvalues < -zero).sum()", "(eigenvalues < zero).sum()"),
        ("- len(positive) - negative", "- len(positive)"),
    ):
        assert not largest_fault(mutant(landscape, old, new)) < 1e-3, old
