"""Losses of DNC and SRG: reference numbers, a naive twin, Theorem 5, thresholds, and what must be refused."""

import math
import time

import numpy as np
import pytest

from ncbench.theory import dufm_mse
from ncbench.theory.dufm_mse import (
    FORMULAS,
    decay_product,
    dnc_loss,
    loss_ratio_asymptote,
    loss_ratio_limit,
    losses,
    srg_beats_dnc,
    srg_loss,
    triviality_threshold,
)


def evaluate(solution, *arguments):
    return dnc_loss(*arguments) if solution == "dnc" else srg_loss(*arguments, variant=2 if solution == "srg2" else 1)


def test_reference_numbers_to_all_printed_digits(table):
    rows = table("dufm_mse")
    assert len(rows) == 186
    for row in rows:
        decay = float(row["decay"])
        value = evaluate(row["solution"], int(row["classes"]), int(row["depth"]), int(row["per_class"]), decay, decay)
        assert f"{value:.{len(row['value']) - 2}f}" == row["value"], row


def test_worked_by_hand():
    # L = 2, K = 2, y: 2 sqrt(Lam y) + 1/(2(1+y)); with Lam = 1/400 at y = 9 the slope is 1/60 - 1/200, at the root of
    # (1+y)^2 = 10 sqrt(y): s = sqrt(y) = 1.8105..., so the loss is s/10 + 1/(2(1 + s^2)).
    s = max(np.roots([1, 0, 2, -10, 1]).real)
    assert dnc_loss(2, 2, 1, 0.05, [0.1, 0.25]) == pytest.approx(s / 10 + 0.5 / (1 + s * s), rel=1e-14)
    # L = 1 is convex: sqrt(K Lam) - K Lam / 2 with K Lam = 4 * 0.01.
    assert dnc_loss(2, 1, 1, 0.1, 0.1) == pytest.approx(0.2 - 0.02, rel=1e-14)


def twin(K, L, lam, srg):
    """The formulas as printed, least value on a very fine grid around the best of a coarse one."""

    def f(y):
        if not srg:
            return K * L / 2 * (lam * y) ** (1 / L) + 0.5 / (1 + y)
        r = next(r for r in range(4, 99) if r * (r - 1) == 2 * K)
        C = (2**0.5 + ((r - 1) * (r - 2)) ** 0.5) ** 2 * r ** (L - 3) * K**2 / 2
        fit = 1 / (1 + math.comb(r - 2, 2) ** 2 * y) + (r - 1) / (1 + (r - 3) ** 2 * y) + r * (r - 3) / 2 / (1 + y)
        return L / 2 * (C * lam * y) ** (1 / L) + fit / (2 * K)

    y = np.geomspace(1e-6, 1e14, 20001)
    for _ in range(3):
        at = y[np.argmin(f(y))]
        y = at * (y[1] / y[0]) ** np.linspace(-2, 2, 2001)
    return min(0.5, f(y).min())


@pytest.mark.parametrize(("K", "L"), [(3, 2), (6, 3), (10, 3), (10, 5), (15, 4), (28, 6), (45, 3)])
def test_a_naive_twin_agrees_from_tiny_decays_to_beyond_the_threshold(K, L):
    for share in (1e-30, 1e-12, 1e-4, 0.3, 0.97, 1.0, 1.01, 1.19, 5.0, 1e3):
        lam = share * triviality_threshold(K, L)
        decays = (1, 1.0, [lam / K, *[1.0] * (L - 1)])
        assert dnc_loss(K, L, *decays) == pytest.approx(twin(K, L, lam, False), rel=1e-12)
        if K >= 6 and L >= 3:
            assert srg_loss(K, L, *decays) == pytest.approx(twin(K, L, lam, True), rel=1e-12)


def test_zero_solution_at_and_past_the_threshold():
    # Non-trivial iff Lam < (L-1)^(L-1) / (K^L L^(2L)); for K = 4, L = 2: 1/256. There y = L - 1 and the loss is 1/2.
    assert triviality_threshold(4, 2) == pytest.approx(1 / 256, rel=1e-15)
    assert triviality_threshold(3, 1) == pytest.approx(1 / 3, rel=1e-15)
    for K, L in [(4, 2), (3, 1), (10, 4), (21, 7)]:
        lam = triviality_threshold(K, L) / K * np.array([0.98, 1 - 1e-9, 1 + 1e-9, 2.0, 1e6])
        loss = dnc_loss(K, L, 1, lam, 1.0)
        assert loss[0] < 0.5
        assert loss[1] == pytest.approx(0.5, abs=1e-9)
        assert (loss[2:] == 0.5).all()
    assert srg_loss(10, 4, 1, 1.0, 1.0) == 0.5
    assert srg_loss(9, 4, 1, 1.0, 1.0, variant=2) == 0.5


@pytest.mark.parametrize(
    ("K", "L", "share"), [(6, 4, 1.206), (10, 3, 1.648), (10, 4, 3.12), (15, 3, 1.80), (15, 5, 9.64)]
)
def test_srg_stays_non_trivial_past_the_threshold_of_dnc(K, L, share):
    lam = triviality_threshold(K, L) / K * np.array([0.99, 1.01]) * share
    loss = srg_loss(K, L, 1, lam, 1.0)
    assert loss[0] < 0.5
    assert loss[1] == 0.5


def test_theorem_5_over_all_class_numbers_depths_and_decays():
    for L in range(3, 9):
        for K in range(6, 61):
            lam = triviality_threshold(K, L) / K * np.geomspace(1e-16, 0.99, 40)
            difference = srg_loss(K, L, 1, lam, 1.0) - dnc_loss(K, L, 1, lam, 1.0)
            assert (difference < 0).all() if srg_beats_dnc(K, L) else (difference > 0).all(), (K, L)
    # The paper's conditions are those of variant 1; variant 2 has the lower loss at K = 9, L = 3 already.
    assert srg_loss(9, 3, 1, 5e-4, 5e-4, variant=2) < dnc_loss(9, 3, 1, 5e-4, 5e-4)


def test_the_violations_are_as_large_as_reported():
    """L = 3, K = 6..9: SRG 0.15 to 5.6 % worse, 3.7 to 5.6 % in the limit of small decays."""
    limits = [loss_ratio_limit(K, 3) - 1 for K in (6, 7, 8, 9)]
    assert [round(100 * x, 1) for x in limits] == [5.6, 4.8, 4.2, 3.7]
    lam = triviality_threshold(9, 3) / 9 * np.geomspace(1e-16, 0.99, 400)
    excess = srg_loss(9, 3, 1, lam, 1.0) / dnc_loss(9, 3, 1, lam, 1.0) - 1
    assert 0.0 < excess.min() < 0.0015


@pytest.mark.parametrize(("L", "slope"), [(3, 0.0), (4, -0.1), (6, -3 / 14)])
def test_asymptotic_slope_in_the_number_of_classes(L, slope):
    """Theorem 5's rate (3-L)/(2(L+1)), on triangular K from 4950 to 499500."""
    K = np.array([r * (r - 1) // 2 for r in (100, 1000)])
    ratios = [loss_ratio_limit(int(k), L) for k in K]
    assert np.diff(np.log(ratios)) / np.diff(np.log(K)) == pytest.approx(slope, abs=4e-3)
    assert ratios[1] == pytest.approx(loss_ratio_asymptote(int(K[1]), L), rel=3e-3)


@pytest.mark.parametrize(("K", "L"), [(6, 3), (10, 4), (13, 4), (21, 6), (30, 5)])
def test_limit_of_small_decays(K, L):
    decays = (1, 1e-30 * triviality_threshold(K, L), 1.0)
    assert srg_loss(K, L, *decays) / dnc_loss(K, L, *decays) == pytest.approx(loss_ratio_limit(K, L), rel=1e-5)


def test_a_grid_of_decays_is_fast_and_equals_single_calls():
    grid = np.geomspace(1e-6, 1e-1, 50)
    start = time.process_time()
    losses_ = srg_loss(13, 4, 5, grid[:, None], grid[None, :])
    assert time.process_time() - start < 1.0
    assert losses_.shape == (50, 50)
    for i, j in [(0, 0), (17, 33), (49, 49)]:
        assert losses_[i, j] == pytest.approx(srg_loss(13, 4, 5, grid[i], grid[j]), rel=1e-14)
    assert type(srg_loss(13, 4, 5, 1e-3, 1e-3)) is float
    per_layer = dnc_loss(10, 3, 5, 1e-3, [grid, 1e-3, 2e-3])
    assert per_layer[7] == pytest.approx(dnc_loss(10, 3, 5, 1e-3, [grid[7], 1e-3, 2e-3]), rel=1e-14)


def test_only_the_product_of_decays_enters():
    assert dnc_loss(10, 4, 50, 2e-3, 2e-3) != pytest.approx(dnc_loss(10, 4, 5, 2e-3, 2e-3), rel=1e-2)
    same = dnc_loss(10, 4, 50, 2e-4, [1e-3, 2e-3, 2e-3, 4e-3])
    assert same == pytest.approx(dnc_loss(10, 4, 5, 2e-3, 2e-3), rel=1e-13)
    assert decay_product(10, 2, 5, 0.1, [0.2, 0.5]) == pytest.approx(0.5, rel=1e-15)
    assert set(FORMULAS) == {"dnc_loss", "srg_loss", "dnc_spectra", "srg_spectra"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("K * L / 2 * lam", "L / 2 * lam"),
        ("[0.5], L)", "[1.0], L)"),
        ("float(r) ** (L - 3)", "float(r) ** (L - 2)"),
        ("math.sqrt((r - 1) * (r - 2))", "math.sqrt((r - 1) * (r - 1))"),
        ("(r - 3) ** 2, 1.0]", "(r - 2) ** 2, 1.0]"),
        ("(K / K_r) ** depth * lam", "lam"),
        ("(L - 1 + 2 * K / K_r)", "(L + 1)"),
        ("K * (K - 1) - adjacent", "K * K - adjacent"),
    ],
)
def test_a_planted_bug_is_caught(mutant, table, old, new):
    bad = mutant(losses, old, new)
    wrong = 0
    for row in table("dufm_mse"):
        arguments = (int(row["classes"]), int(row["depth"]), int(row["per_class"]), *[float(row["decay"])] * 2)
        kind = row["solution"]
        value = bad.dnc_loss(*arguments) if kind == "dnc" else bad.srg_loss(*arguments, variant=1 + (kind == "srg2"))
        wrong += f"{value:.{len(row['value']) - 2}f}" != row["value"]
    assert wrong > 10


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (dnc_loss, (1, 4, 5, 1e-3, 1e-3), "num_classes must be an integer of at least 2.*, got 1"),
        (dnc_loss, (10, 0, 5, 1e-3, 1e-3), "depth must be an integer of at least 1.*, got 0"),
        (dnc_loss, (10, 4, 5, 1e-3, [1e-3]), r"weight_decays must be one decay or one per weight matrix \(4\), got 1"),
        (dnc_loss, (10, 4, 5, 0.0, 1e-3), "feature_decay must be positive.*, got 0.0"),
        (dnc_loss, (10, 4, math.nan, 1e-3, 1e-3), "per_class must be positive and finite, got nan"),
        (dnc_loss, (10, 4, 5, 1e-3, np.array([1e-3, -1.0])), "weight_decays must be positive.*, got -1.0"),
        (dnc_loss, (10, 4, 5, 1e-3, 1e-80), "weight_decays must have a product above 1e-290 .*, got 1e-80"),
        (srg_loss, (5, 4, 5, 1e-3, 1e-3), "num_classes must be at least 6 .*, got 5"),
        (srg_loss, (10, 2, 5, 1e-3, 1e-3), "depth must be at least 3 .*, got 2"),
        (srg_loss, (10, 4, 5, 1e-3, 1e-3, 3), "variant must be 1 or 2 .*, got 3"),
        (srg_loss, (3, 4, 5, 1e-3, 1e-3, 2), "num_classes must be at least 4 for variant 2 .*, got 3"),
        (triviality_threshold, (1, 2), "num_classes must be an integer of at least 2.*, got 1"),
    ],
)
def test_bad_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_ratio_curve_is_the_quotient_of_the_tables():
    """SRG over DNC of the table for n = 5, decay 2e-3: L = 4, K = 6, 10, 15, 21, and L = 5, K = 10."""
    curve = dufm_mse.ratio_curve(6, 4, 5, 2e-3, 2e-3, vertices=[4, 5, 6, 7])
    assert curve["r"] == [4, 5, 6, 7]
    table = [0.0397430531 / 0.0412534390, 0.0559851469 / 0.0685992431, 0.0802713612 / 0.1026007421]
    assert curve["ratio"] == pytest.approx([*table, 0.1090579866 / 0.1431300166], rel=1e-8)
    (ratio,) = dufm_mse.ratio_curve(6, 5, 5, 2e-3, 2e-3, vertices=[5])["ratio"]
    assert ratio == pytest.approx(0.0587756397 / 0.0781114723, rel=1e-8)
    with pytest.raises(ValueError, match="num_classes"):
        dufm_mse.ratio_curve(6, 4, 5, 2e-3, 2e-3, vertices=[3])


def test_a_curve_of_another_model_is_caught(mutant):
    bad = mutant(losses, "math.comb(r, 2), depth, per_class", "num_classes, depth, per_class")
    good = dufm_mse.ratio_curve(10, 4, 5, 2e-3, 2e-3, vertices=[4, 6])["ratio"]
    assert bad.ratio_curve(10, 4, 5, 2e-3, 2e-3, vertices=[4, 6])["ratio"] != pytest.approx(good, rel=1e-3)
