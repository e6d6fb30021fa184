"""Cross-entropy closed forms: reference tables, twins, explicit factors, thresholds, Theorems 1, 3 and 7, refusals."""

import math

import numpy as np
import pytest
import torch

from ncbench.core import frames
from ncbench.theory import dufm_ce
from ncbench.theory.dufm_ce import (
    APPLIES,
    FORMULAS,
    balanced_factors,
    dimension_ratio,
    dnc,
    dnc_can_be_optimal,
    dnc_line,
    dnc_loss,
    dnc_scale,
    dnc_thresholds,
    effective_decay,
    fibre,
    fibre_dimension,
    loss,
    minimum_margin,
    objective,
    pair_blocks,
    pair_line,
    pair_loss,
    paper_dimension_ratio,
    paper_fibre_dimension,
    polygon_line,
    polygon_loss,
    ray_optimum,
    reduced_objective,
    relu_dnc_can_be_optimal,
    relu_low_rank,
    relu_low_rank_loss,
    simplex_blocks,
    singular_value_bound,
    singular_value_count_bound,
    softmax_code_cost,
    structures,
)
from ncbench.training.references import evaluate_references


def rows(table):
    """(K, L, Lam, row) of the reference table; the paper's own setting has n = 5 and all decays 2^-10."""
    for row in table("dufm_ce"):
        L = int(row["depth"])
        lam = float(row["decay"]) if row["per_class"] == "1" else effective_decay([2**-10] * L, 2**-10, 5)
        yield int(row["classes"]), L, lam, row


def test_reference_numbers_to_all_printed_digits(table):
    count = 0
    for K, L, lam, row in rows(table):
        assert f"{dnc_scale(K, L, lam):.6f}" == row["alpha"], row
        assert f"{dnc_loss(K, L, lam):.8f}" == row["dnc"], row
        assert f"{pair_loss(K, L, lam):.8f}" == row["pair"], row
        assert K == 2 or f"{polygon_loss(K, L, lam):.8f}" == row["polygon"], row
        count += 1
    assert count == 74


# exists / zero / psd / scale for L = 2, 3, 4, 6.
THRESHOLDS = {
    2: "29985/25392/29985/.530 27786/20147/27786/.739 27162/17172/27162/.855 26898/13515/26898/.982",
    3: "22129/18584/21998/.788 21273/15187/20955/1.101 21201/13131/20724/1.279 21423/10478/20710/1.477",
    4: "17766/14828/16201/1.333 17495/12353/13613/2 17660/10782/12058/2.4 18085/08683/10370/2.857",
    6: "12960/10721/10170/2 13170/09157/06905/3 13518/08093/05184/3.6 14090/06597/03641/4.286",
    10: "08626/07055/04034/3.333 09085/06200/01421/5 09506/05558/00710/6 10112/04595/00320/7.143",
}


@pytest.mark.parametrize("K", THRESHOLDS)
def test_threshold_table(K):
    for L, cell in zip((2, 3, 4, 6), THRESHOLDS[K].split()):
        got = dnc_thresholds(K, L)
        *decays, scale = cell.split("/")
        assert [f"{value:.5f}" for value in got[:3]] == ["0." + digits for digits in decays]
        assert got.psd_scale == pytest.approx(float(scale), abs=5.1e-4)


def test_worked_by_hand():
    # L = 1, K = 2, Lam = 1/4: alpha = log(4 - 1) and the loss is log(4/3) + log(3)/4.
    assert dnc_scale(2, 1, 0.25) == pytest.approx(math.log(3), rel=1e-15)
    assert dnc_loss(2, 1, 0.25) == pytest.approx(math.log(4 / 3) + math.log(3) / 4, rel=1e-15)
    # L = 3, K = 3, alpha = 4: Lam = 2/(e^4 + 2), loss log(1 + 2 e^-4) + 2 Lam 2 sqrt(4).
    lam = 2 / (math.e**4 + 2)
    assert dnc_scale(3, 3, lam) == pytest.approx(4.0, rel=1e-13)
    assert dnc_loss(3, 3, lam) == pytest.approx(math.log(1 + 2 * math.exp(-4)) + 8 * lam, rel=1e-13)
    # n lam_H lam_1 lam_2 = 5 * 1e-6 * 2e-3 * 8e-4 = 8e-12: its cube root.
    assert effective_decay([2e-3, 8e-4], 1e-6, 5) == pytest.approx(2e-4, rel=1e-14)
    assert softmax_code_cost(pair_blocks(4), 3) == pytest.approx(2 * math.sqrt(2), rel=1e-14)
    assert softmax_code_cost(torch.eye(5, dtype=torch.float64) - 0.2, 3) == pytest.approx(4.0, rel=1e-14)
    assert minimum_margin(pair_blocks(5)) == 1.0


def test_the_ones_of_the_table_that_are_printed_one_digit_off():
    """K = 3, L = 4 `zero` and K = 6, L = 4 `psd`: values next to a rounding edge, recomputed here by other means."""
    a = np.linspace(1.2, 6, 2_000_001)
    excess = np.log1p(2 * np.exp(-a)) + 2.5 * 2 * a / (np.exp(a) + 2) - math.log(3)
    az = a[np.flatnonzero(np.diff(np.sign(excess)))[-1]]
    assert az**0.6 / (math.exp(az) + 2) == pytest.approx(0.131315, abs=1e-6)
    assert dnc_thresholds(3, 4).zero == pytest.approx(0.131315, abs=1e-6)
    assert dnc_thresholds(6, 4).psd == pytest.approx(3.6**0.6 / (math.exp(3.6) + 5), rel=1e-14)


@pytest.mark.parametrize(("K", "L"), [(2, 2), (3, 4), (6, 2), (10, 3), (30, 7)])
def test_scale_against_a_naive_twin_up_to_and_beyond_the_thresholds(K, L):
    """Fine grid of the ray's loss: its last interior minimum is the DNC scale; beyond `exists` there is none."""
    exists, zero, _, _ = dnc_thresholds(K, L)
    alpha = np.linspace(1e-3, 60, 600001)
    for lam in (1e-9, 1e-3, 0.5 * zero, 0.999 * zero, 1.001 * zero, 0.999 * exists, 1.001 * exists, 10.0):
        ray = np.log1p((K - 1) * np.exp(-alpha)) + (L + 1) / 2 * lam * (K - 1) * alpha ** (2 / (L + 1))
        inner = np.flatnonzero((ray[1:-1] < ray[:-2]) & (ray[1:-1] <= ray[2:])) + 1
        if lam > exists:
            assert len(inner) == 0
            assert dnc_scale(K, L, lam) == 0
            assert dnc_loss(K, L, lam) == math.log(K)
        else:
            assert dnc_scale(K, L, lam) == pytest.approx(alpha[inner[-1]], abs=2e-4)
            assert dnc_loss(K, L, lam) == pytest.approx(ray[inner[-1]], rel=1e-9)
            assert (dnc_loss(K, L, lam) < math.log(K)) == (lam < zero)
    for step in (1 - 1e-15, 1.0, 1 + 1e-15):
        assert math.isfinite(dnc_loss(K, L, exists * step))
    many = np.array([1e-5, 1e-2, 10.0])
    np.testing.assert_array_equal(dnc_scale(K, L, many), [dnc_scale(K, L, lam) for lam in many])


def naive_loss(H, Ws, n, lam_H, lams, relu=False):
    """The objective in numpy, one sample at a time."""
    Z = np.asarray(H)
    for W in Ws[:-1]:
        Z = np.asarray(W) @ Z
        Z = np.maximum(Z, 0) if relu else Z
    Z = np.asarray(Ws[-1]) @ Z
    fit = sum(math.log(sum(math.exp(z) for z in Z[:, i] - Z[i // n, i])) for i in range(Z.shape[1])) / Z.shape[1]
    return (
        fit + lam_H / 2 * np.sum(np.asarray(H) ** 2) + sum(a / 2 * np.sum(np.asarray(W) ** 2) for a, W in zip(lams, Ws))
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


def test_softmax_code_costs_order_the_losses_as_the_decay_vanishes():
    printed = {
        (4, 2): 3.175,
        (4, 3): 2.828,
        (5, 2): 4.175,
        (6, 2): 4.762,
        (10, 2): 7.937,
        (10, 3): 7.071,
        (10, 4): 6.598,
    }
    for (K, L), value in printed.items():
        assert softmax_code_cost(pair_blocks(K), L) == pytest.approx(value, abs=5.1e-4)
    assert softmax_code_cost(simplex_blocks([3, 2]), 2) == pytest.approx(4.208, abs=5.1e-4)
    T5 = frames.centred_triangular_gram(5)
    assert [softmax_code_cost(T5, L) for L in (2, 3, 4)] == pytest.approx([8.320, 6.928, 6.207], abs=5.1e-4)
    for L in (2, 3, 4):
        for A, B in [(T5, pair_blocks(10)), (simplex_blocks([8, 2]), pair_blocks(10))]:
            lower = ray_optimum(A, L, 1e-12)[1] < ray_optimum(B, L, 1e-12)[1]
            assert lower == (softmax_code_cost(A, L) < softmax_code_cost(B, L))


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
                [lam * W.square().sum() for lam, W in zip(lams, Ws)], float(lam_H * H.square().sum())
            )
    assert relu_low_rank_loss(6, L, 1e3) == (0, math.log(6))


def test_theorem_7_condition_at_equal_scale():
    def cheaper(K, L):  # squared norm of a factor at scale 1, against DNC's K - 1
        H, _ = relu_low_rank(K, L, 1.0)
        return float(H.square().sum()) < K - 1

    first = {L: next((K for K in range(4, 40, 2) if cheaper(K, L)), None) for L in (2, 3, 4, 5, 6, 8)}
    assert first == {2: None, 3: None, 4: 14, 5: 10, 6: 8, 8: 6}
    assert all(cheaper(K, L) for K in range(10, 40, 2) for L in (4, 5, 6) if not relu_dnc_can_be_optimal(K, L))
    assert not cheaper(12, 4)


def test_reference_lines():
    """The wrappers take what every reference is called with; n = 5000 and lam_H n = lam_W give Lam = 0.005."""
    arguments = dict(num_classes=10, depth=3, per_class=5000, feature_decay=1e-6, weight_decays=[5e-3] * 3)
    assert dnc_line(**arguments) == pytest.approx(0.24219771, abs=5e-9)
    assert pair_line(**arguments) == pytest.approx(0.19206320, abs=5e-9)
    assert polygon_line(**arguments) == pytest.approx(polygon_loss(10, 3, 0.005), rel=1e-12)
    assert dnc_line(10, 4, 5000, 1e-6, 5e-3) == pytest.approx(0.25123075, abs=5e-9)
    assert dnc_line(10, 3, 1, 0.09, 0.09) == math.log(10)  # exists, but above zero
    assert APPLIES == {"loss": "ce", "activation": "linear"}
    assert all(hasattr(dufm_ce, name) for name in FORMULAS)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (dnc, "np.log(lam) - (L - 1) / (L + 1)", "np.log(lam) - L / (L + 1)"),
        (dnc, "(L + 1) / 2 * lam * (K - 1)", "L / 2 * lam * (K - 1)"),
        (dnc, "np.log1p((K - 1) * np.exp(-alpha))", "np.log1p(K * np.exp(-alpha))"),
        (structures, "penalty = (L + 1) / 2 * lam * cost", "penalty = L / 2 * lam * cost"),
        (structures, "2 / (L + 1), len(M)", "2 / L, len(M)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, table, module, old, new):
    bad, wrong = mutant(module, old, new), 0
    for K, L, lam, row in rows(table):
        value = bad.dnc_loss(K, L, lam) if module is dnc else bad.pair_loss(K, L, lam)
        wrong += f"{value:.8f}" != row["dnc" if module is dnc else "pair"]
    assert wrong > 50


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


def test_references_are_evaluated_for_linear_cross_entropy_runs_only():
    references = [{"name": n, "_target_": f"ncbench.theory.dufm_ce.{n}_line"} for n in ("dnc", "pair", "polygon")]
    run = dict(num_classes=10, depth=2, per_class=5, weight_decays=[[2**-10] * 2], feature_decays=[2**-10])
    entries = evaluate_references(references, loss="ce", activation="linear", **run)
    assert [f"{e['value']:.8f}" for e in entries] == ["0.09066218", "0.08001266", "0.14195947"]
    assert all(e["formula"] for e in entries)
    other = evaluate_references(references, loss="ce", activation="relu", **run)
    assert {e["why"] for e in other} == {"holds for activation=linear, the run has activation=relu"}


M2 = torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dnc_scale(1, 2, 0.1), "num_classes=1: at least 2"),
        (lambda: dnc_loss(3, 0, 0.1), "depth=0: at least 1"),
        (lambda: dnc_loss(3, 1, -0.1), "decay=-0.1: must be positive"),
        (lambda: dnc_thresholds(3, 2.5), "depth=2.5: at least 1"),
        (lambda: effective_decay(1e-3, 1e-3, 5), "depth=None: needed"),
        (lambda: effective_decay([1e-3, 0.0], 1e-3, 5), "weight_decays=0.0: must be positive"),
        (lambda: balanced_factors(M2, 2, 1), "width=1: at least 2"),
        (lambda: softmax_code_cost(-M2, 2), "M: minimum margin -1.0 is not positive"),
        (lambda: pair_loss(1, 2, 0.1), "num_classes must be at least 2"),
        (lambda: singular_value_bound(10, 2, 0), "index=0: at least 1"),
        (lambda: singular_value_count_bound(10, 2, 0.0), "threshold=0.0: must be positive"),
        (lambda: relu_low_rank(5, 3, 1.0), "num_classes=5: an even number"),
        (lambda: relu_low_rank(4, 1, 1.0), "depth=1: at least 2"),
        (lambda: fibre_dimension(3, 2, 1), "width=2: at least 3"),
        (lambda: fibre_dimension(3, [4], 2), r"width has 1 values: one, or one per weight matrix \(2\)"),
        (lambda: loss(M2, [M2], 2, 1.0, 1.0), "per_class=2: 2 classes need 4 columns, got 2"),
        (lambda: loss(M2, [M2], 1, 1.0, 1.0, "gelu"), "activation='gelu'"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
