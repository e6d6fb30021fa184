"""Theorem 2: the depth beyond which the lower rank wins, by hand, against losses, and refusals."""

import numpy as np
import pytest
import torch

from ncbench.core.frames import pair_blocks, polygon, simplex_etf
from ncbench.theory.dufm_ce import depth as module
from ncbench.theory.dufm_ce import low_rank_depth, ray_optimum


def simplex(K):
    return torch.eye(K, dtype=torch.float64) - 1 / K


def test_by_hand():
    """Pairs against DNC, margins 1 both: (K/2) 2^(2/(L+1)) <= K - 1 from L = 3 (K = 4) and L = 2 (K >= 6) on."""
    assert [low_rank_depth(pair_blocks(K), simplex(K)) for K in (4, 6, 8, 10)] == [2, 1, 1, 1]
    # The rank-2 polygon of K = 4 has singular values 2, 2 and the least margin 1: 2 * 2^p <= 3 as pairs.
    assert low_rank_depth(polygon(4), simplex(4)) == 2
    # K = 10: 2 (5 / (1 - cos 36 deg))^p <= 9 first holds for p = 2/(L+1) <= log(4.5)/log(26.18): L >= 4.
    assert low_rank_depth(polygon(10), simplex(10)) == 3
    assert low_rank_depth(pair_blocks(4), -simplex(4)) == low_rank_depth(pair_blocks(4), -3 * simplex(4)) == 0


def broken(M, X, depths, decays):
    """Whether min J(b M) > min J(a X) for one of the depths and decays."""
    return any(ray_optimum(M, L, decay)[1] > ray_optimum(X, L, decay)[1] + 1e-12 for L in depths for decay in decays)


@pytest.mark.parametrize("K", [4, 6, 9])
def test_beyond_it_the_lower_rank_has_the_lower_loss(K):
    generator = torch.Generator().manual_seed(K)
    decays = np.geomspace(1e-6, 0.3, 13)
    for X in (simplex(K), simplex(K) + 0.05 * torch.randn(K, K, generator=generator, dtype=torch.float64)):
        for M in (pair_blocks(K), polygon(K)):
            first = low_rank_depth(M, X)
            assert not broken(M, X, range(first + 1, first + 5), decays)
    assert broken(pair_blocks(4), simplex(4), [2], [1e-3])  # at L_0 itself it does not hold for K = 4


def test_scales_do_not_matter():
    assert low_rank_depth(3.7 * polygon(10), 0.2 * simplex_etf(10)) == low_rank_depth(polygon(10), simplex(10))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("largest / least * M", "M"),
        ("p = 2 / (L + 1)", "p = 2 / L"),
        ("range(enough, 0, -1)", "range(1, enough)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(module, old, new)
    results = [bad.low_rank_depth(*pair) for pair in ((polygon(10), simplex(10)), (3 * polygon(10), simplex(10)))]
    assert results != [3, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: low_rank_depth(pair_blocks(4), simplex(5)), r"M and X must be \(K, K\) both"),
        (lambda: low_rank_depth(-pair_blocks(4), simplex(4)), "M must be diagonally superior"),
        (lambda: low_rank_depth(simplex(4), pair_blocks(4)), "M must have a lower rank than X, got 3 and 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
