"""Cross-entropy closed forms: reference tables, matched_pairs, thresholds, theory lines, refusals."""

import math

import numpy as np
import pytest
import torch

from ncbench.core import frames
from ncbench.run.references import evaluate_references
from ncbench.theory import dufm_ce
from ncbench.theory.dufm_ce import (
    APPLIES,
    FORMULAS,
    balanced_factors,
    dnc,
    dnc_line,
    dnc_loss,
    dnc_scale,
    dnc_thresholds,
    effective_decay,
    fibre_dimension,
    loss,
    minimum_margin,
    pair_blocks,
    pair_line,
    pair_loss,
    polygon_line,
    polygon_loss,
    ray_optimum,
    relu_low_rank,
    simplex_blocks,
    singular_value_bound,
    singular_value_count_bound,
    softmax_code_cost,
    structures,
)


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
    for L, cell in zip((2, 3, 4, 6), THRESHOLDS[K].split(), strict=True):
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


def test_references_are_evaluated_for_linear_cross_entropy_runs_only():
    references = [{"name": n, "_target_": f"ncbench.theory.dufm_ce.{n}_line"} for n in ("dnc", "pair", "polygon")]
    facts = [dict(num_classes=10, depth=2, per_class=5, weight_decays=[2**-10] * 2, feature_decay=2**-10)]
    entries = evaluate_references(references, loss="ce", activation="linear", reference_arguments=facts)
    assert [f"{e['value']:.8f}" for e in entries] == ["0.09066218", "0.08001266", "0.14195947"]
    assert all(e["formula"] for e in entries)
    other = evaluate_references(references, loss="ce", activation="relu", reference_arguments=facts)
    assert {e["why"] for e in other} == {"holds for activation=linear, the run has activation=relu"}


M2 = torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dnc_scale(1, 2, 0.1), "num_classes must be an integer of at least 2.*, got 1"),
        (lambda: dnc_loss(3, 0, 0.1), "depth must be an integer of at least 1.*, got 0"),
        (lambda: dnc_loss(3, 1, -0.1), "decay must be positive.*, got -0.1"),
        (lambda: dnc_thresholds(3, 2.5), "depth must be an integer of at least 1.*, got 2.5"),
        (lambda: effective_decay(1e-3, 1e-3, 5), "depth must be given with one decay for all matrices"),
        (lambda: effective_decay([1e-3, 0.0], 1e-3, 5), "weight_decays must be positive.*, got 0.0"),
        (lambda: balanced_factors(M2, 2, 1), "width must be an integer of at least 2.*, got 1"),
        (lambda: softmax_code_cost(-M2, 2), "M must be diagonally superior .* got margin -1.0"),
        (lambda: pair_loss(1, 2, 0.1), "num_classes must be at least 2"),
        (lambda: singular_value_bound(10, 2, 0), "index must be an integer of at least 1.*, got 0"),
        (lambda: singular_value_count_bound(10, 2, 0.0), "threshold must be positive.*, got 0.0"),
        (lambda: relu_low_rank(5, 3, 1.0), "num_classes must be even, got 5"),
        (lambda: relu_low_rank(4, 1, 1.0), "depth must be an integer of at least 2.*, got 1"),
        (lambda: fibre_dimension(3, 2, 1), "width must be an integer of at least 3.*, got 2"),
        (lambda: fibre_dimension(3, [4], 2), r"width must be one number or one per weight matrix \(2\), got 1 numbers"),
        (
            lambda: loss(M2, [M2], 2, 1.0, 1.0),
            r"per_class times the 2 classes must be the number of columns \(2\), got per_class=2",
        ),
        (lambda: loss(M2, [M2], 1, 1.0, 1.0, "gelu"), "activation must be .* got 'gelu'"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
