"""Theorems 1, 3, 5 and 7 of arXiv 2410.23169 as functions: sign maps, bounds, dimensions, constructions."""

import numpy as np
import pytest
import torch

from ncbench.theory.dufm_ce import (
    dimension_ratio,
    dnc,
    dnc_can_be_optimal,
    dnc_loss,
    dnc_thresholds,
    fibre,
    fibre_dimension,
    objective,
    pair_blocks,
    pair_loss,
    paper_dimension_ratio,
    paper_fibre_dimension,
    relu_dnc_can_be_optimal,
    relu_low_rank,
    relu_low_rank_loss,
    singular_value_bound,
    singular_value_count_bound,
    structures,
)
from ncbench.theory.dufm_ce.fibre import (
    dnc_fibre_line,
    pair_fibre_line,
    paper_dnc_fibre_line,
    paper_pair_fibre_line,
)
from ncbench.theory.dufm_ce.relu import dnc_bound_line, relu_low_rank_line


def test_theorem_1_sign_map():
    """Equal scale: the pairs' penalty is below DNC's exactly on the theorem's set, K <= 12, L <= 7."""
    for K in range(2, 13):
        for L in range(1, 8):
            pairs, single = divmod(K, 2)
            # simplex blocks of size 2 have singular value 2, at margin 1 (as DNC at scale 1, whose K - 1 are 1).
            cheaper = pairs * 2 ** (2 / (L + 1)) + single <= K - 1 + 1e-12
            assert cheaper == (not dnc_can_be_optimal(K, L)), (K, L)
            assert objective.schatten_power(pair_blocks(K), L) == pytest.approx(pairs * 2 ** (2 / (L + 1)) + single)
            if L >= 2 and cheaper:
                lam = dnc_thresholds(K, L).exists * np.geomspace(1e-6, 0.999, 6)
                assert all(pair_loss(K, L, x) < dnc_loss(K, L, x) for x in lam)
            if L == 1:
                lam = np.geomspace(1e-6, 0.99 / K, 6)
                assert all(pair_loss(K, L, x) >= dnc_loss(K, L, x) * (1 - 1e-12) for x in lam)


def test_the_condition_of_theorem_1_is_not_necessary():
    """K = 4, L = 2: the pairs win for Lam in (0.01176, Lam_zero)."""
    assert dnc_can_be_optimal(4, 2)
    assert pair_loss(4, 2, 0.0117) > dnc_loss(4, 2, 0.0117)
    assert all(pair_loss(4, 2, lam) < dnc_loss(4, 2, lam) for lam in (0.0118, 0.05, 0.148))


def test_theorem_3_bounds():
    assert singular_value_bound(10, 5) == pytest.approx(0.75**3, rel=1e-15)
    assert singular_value_bound(2, 5) == pytest.approx((2 / 3) ** 3, rel=1e-15)
    # By hand, K = 4, L = 1, n = 4: the square's singular values 2 are scaled by 2 sqrt 4 to 8 each: 16 / t.
    assert singular_value_count_bound(4, 1, 0.5, 4) == pytest.approx(32, rel=1e-14)
    for K in (2, 3, 6, 10):
        for n in (1, 5):
            assert singular_value_bound(K, 2000, 3, n) < 1e-3
            assert singular_value_count_bound(K, 2000, 1e-3, n) == pytest.approx(2 if K > 2 else 1, rel=2e-2)
            for L in (2, 6, 20):  # both forms say the same
                t = singular_value_bound(K, L, 4000, n)
                assert singular_value_count_bound(K, L, t, n) == pytest.approx(4000, rel=1e-12)


def test_fibre_dimensions():
    assert fibre_dimension(2, 4, 1) == 5
    assert paper_fibre_dimension(2, 4, 1) == 4
    assert fibre_dimension(2, [4, 6], 2) == 5 + 9
    assert [dimension_ratio(10, 5, d) for d in (10, 20, 70)] == pytest.approx([1.286, 1.588, 1.746], abs=6e-4)
    assert [paper_dimension_ratio(10, 5, d) for d in (10, 14, 20, 70)] == pytest.approx(
        [0.36, 1, 1.32, 1.689], abs=6e-4
    )
    for K in range(4, 30):
        for r in range(2, K - 1):
            ratios = [dimension_ratio(K, r, d) for d in range(K, K + 50)]
            assert ratios == sorted(ratios)
            assert ratios[0] > 1
            assert ratios[-1] < (K - 1) / r


def test_theorem_7_condition_at_equal_scale():
    def cheaper(K, L):  # squared norm of a factor at scale 1, against DNC's K - 1
        H, _ = relu_low_rank(K, L, 1.0)
        return float(H.square().sum()) < K - 1

    first = {L: next((K for K in range(4, 40, 2) if cheaper(K, L)), None) for L in (2, 3, 4, 5, 6, 8)}
    assert first == {2: None, 3: None, 4: 14, 5: 10, 6: 8, 8: 6}
    assert all(cheaper(K, L) for K in range(10, 40, 2) for L in (4, 5, 6) if not relu_dnc_can_be_optimal(K, L))
    assert not cheaper(12, 4)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (fibre, "rank * (rank + 1) // 2", "rank * (rank - 1) // 2"),
        (fibre, "rank * (d - rank)", "rank * d"),
        (structures, "math.cos(2 * math.pi / K)", "math.cos(math.pi / K)"),
        (structures, "(rank + 1) / (rank + 2)", "rank / (rank + 1)"),
        (structures, "(K >= 6 and L == 2)", "(K >= 5 and L == 2)"),
        (structures, "math.sqrt(n) * 2 ** (1 - L)", "n * 2 ** (1 - L)"),
        (structures, "2 * psi / K * Y", "psi / K * Y"),
        (dnc, "else K * q", "else q"),
        (dnc, "(L + 1) / 2 * (K - 1) * a", "L / 2 * (K - 1) * a"),
        (dnc, "return a - 3 * q", "return a - 2 * q"),
    ],
)
def test_a_planted_bug_in_the_theorems_is_caught(mutant, module, old, new):
    bad = mutant(module, old, new)

    def answers(m):
        if module is fibre:
            return m.fibre_dimension(2, 4, 1), m.paper_fibre_dimension(2, 4, 1)
        if module is dnc:
            return [f"{x:.4f}" for K in (3, 4) for x in m.dnc_thresholds(K, 3)]
        H, Ws = m.relu_low_rank(4, 3, 1.5, 2)
        Z = (Ws[2] @ (Ws[1] @ (Ws[0] @ H).relu()).relu())[0, 0]
        bounds = m.singular_value_bound(10, 5), round(m.singular_value_count_bound(4, 1, 0.5, 4), 9)
        return *bounds, m.dnc_can_be_optimal(5, 2), round(float(Z), 9)

    hand = {
        fibre: (5, 4),
        dnc: ["0.2127", "0.1519", "0.2096", "1.1010", "0.1750", "0.1235", "0.1361", "2.0000"],
        structures: (0.75**3, 32.0, True, 1.5),
    }
    right = answers(module)
    assert tuple(map(float, right)) == pytest.approx(tuple(map(float, hand[module])), abs=6e-4)
    assert answers(bad) != right


def test_lines_of_relu_networks():
    """The DNC bound of Figure 6 and the network of Theorem 7's proof, at L = 3, width 70, n = 5, decay 2^-9."""
    assert dnc_bound_line(10, 3, 5, 2**-9, 2**-9) == pytest.approx(0.14706077, abs=1e-8)
    low_rank = relu_low_rank_line(10, 3, 5, 2**-9, [2**-9] * 3)
    assert low_rank == pytest.approx(0.167825, abs=1e-6)  # above the bound: the theorem does not cover L = 3
    # A naive twin: the explicit factors at the best scale, with ReLU.
    scale, value = relu_low_rank_loss(10, 3, 2**-9 * 5**0.25)
    assert low_rank == pytest.approx(value, rel=1e-12)
    H, Ws = relu_low_rank(10, 3, scale, per_class=5, feature_decay=2**-9, weight_decays=2**-9)
    Z = Ws[2] @ (Ws[1] @ (Ws[0] @ H).relu()).relu()
    labels = torch.arange(10).repeat_interleave(5)
    penalty = 2**-9 / 2 * sum(float(F.square().sum()) for F in (H, *Ws))
    assert float(torch.nn.functional.cross_entropy(Z.mT, labels)) + penalty == pytest.approx(low_rank, abs=1e-9)


def test_lines_of_both_counts_of_dimensions():
    """K = 6, width 8, L = 2: 2 (5 x 8 - 15) = 50 and 2 (3 x 8 - 6) = 36; the paper counts 2 x 5 x 3 and 2 x 3 x 5."""
    assert (dnc_fibre_line(6, 8, 2), pair_fibre_line(6, 8, 2)) == (50, 36)
    assert (paper_dnc_fibre_line(6, 8, 2), paper_pair_fibre_line(6, 8, 2)) == (30, 30)
    assert pair_fibre_line(5, 8, 2) == pair_fibre_line(6, 8, 2)  # rank 3 both
