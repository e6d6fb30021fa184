"""Best known losses, the transition between structures, the depth sweep, and minima told apart from saddles."""

import math

import numpy as np
import pytest
import torch

from ncbench.core import frames
from ncbench.theory.dufm_ce import (
    best_known,
    best_known_loss,
    dnc_loss,
    effective_decay,
    end_state,
    end_state_line,
    minimum_margin,
    named_structure,
    pair_loss,
    reduced_objective,
    search,
    singular_value_bound,
    stable_end_states,
)
from ncbench.theory.dufm_ce.named import structures

PAPER = effective_decay([2**-10] * 2, 2**-10, 5)  # K = 10, n = 5, L = 2


def compare(row):
    K, L = int(row["classes"]), int(row["depth"])
    lam = float(row["decay"]) if row["per_class"] == "1" else effective_decay([2**-10] * L, 2**-10, 5)
    best = best_known(K, L, lam)
    assert f"{best.loss:.8f}" == row["best"], row
    assert best.rank == int(row["rank"]), row


def test_best_known_losses_and_ranks_of_a_sample_of_the_table(table):
    for row in table("dufm_ce")[5::9]:
        compare(row)


@pytest.mark.slow
def test_best_known_losses_and_ranks_of_the_whole_table(table):
    for row in table("dufm_ce"):
        compare(row)


def test_best_known_at_and_beyond_the_thresholds():
    """The zero solution is returned, and said so, where nothing is below log K."""
    best = best_known(4, 2, 5.0)
    assert (best.name, best.loss, best.rank) == ("zero", math.log(4), 0)
    assert best_known_loss(3, 2, 0.2) == math.log(3)  # DNC exists there, above zero
    assert best_known_loss(2, 1, 0.49) == pytest.approx(dnc_loss(2, 1, 0.49), rel=1e-9)


def test_transitions_where_theorem_1_is_silent():
    """K = 4, L = 2 crosses at 0.01176; K = 5, L = 2 at 1.236e-4 (relaxed odd pairs)."""
    for K, below, above in [(4, 0.01175, 0.01177), (5, 1.235e-4, 1.238e-4)]:
        assert best_known_loss(K, 2, below) == pytest.approx(dnc_loss(K, 2, below), rel=1e-9)
        assert best_known_loss(K, 2, above) < dnc_loss(K, 2, above) - 1e-10
    assert pair_loss(5, 2, 0.005) > best_known_loss(5, 2, 0.005)  # odd pairs are not a critical direction


@pytest.mark.slow
def test_boundary_of_theorem_1():
    """best - DNC over K = 3..8, L = 1..4: never below for L = 1 or K = 3, always for the theorem's (K, L)."""
    for K in range(3, 9):
        for L in range(1, 5):
            for lam in (1e-5, 1e-3, 0.03):
                gain = dnc_loss(K, L, lam) - best_known_loss(K, L, lam)
                if L == 1 or K == 3:
                    assert gain == pytest.approx(0, abs=1e-9)
                elif (K >= 6 and L >= 2) or (K >= 4 and L >= 3):
                    assert gain > 1e-7


@pytest.mark.slow
@pytest.mark.parametrize(("K", "ranks"), [(6, [5, 3, 3, 2, 2, 2, 2, 2]), (10, [9, 5, 3, 3, 3, 2, 2, 2])])
def test_ranks_fall_to_two_with_depth(K, ranks):
    """Lam = 0.02 (L+1)^(-3/2), the regime of Theorem 3 (ii)."""
    for L, rank in zip((1, 2, 3, 4, 5, 8, 12, 20), ranks, strict=True):
        best = best_known(K, L, 0.02 * (L + 1) ** -1.5)
        assert best.rank == rank
        assert minimum_margin(best.logits) > 0
        s = best.singular_values / best.singular_values.norm()
        assert all(s[j - 1] <= singular_value_bound(K, L, j) for j in range(1, K + 1))
        assert rank > 2 or s[2] <= singular_value_bound(K, L)


def test_stable_end_states_of_the_paper_setting():
    """K = 10, L = 2: descent ends at .080013, .081432, .082203, .086082, .088433, .090662; four others are saddles."""
    states = stable_end_states(10, 2, PAPER)
    minima = [(round(s.loss, 6), s.rank) for s in states if s.is_minimum]
    reached = [(0.080013, 5), (0.081432, 4), (0.082203, 4), (0.086082, 7), (0.088433, 8), (0.090662, 9)]
    assert minima == [*reached, (0.141959, 2)]  # the polygon: a minimum too, which training was not seen to reach
    saddles = {s.name: (round(s.loss, 6), s.rank, s.negative_eigenvalues) for s in states if not s.is_minimum}
    assert saddles["[3, 2, 2, 2, 1]"] == (0.083370, 6, 2)
    assert saddles["[4, 2, 2, 2]"] == (0.083460, 6, 5)
    assert saddles["[3, 3, 2, 2]"] == (0.083832, 6, 4)
    assert saddles["[5, 3, 2]"] == (0.086731, 7, 11)
    assert stable_end_states(4, 2, 5.0) == []
    assert [s.rank for s in stable_end_states(4, 1, 0.01, minima_only=True)] == [3]


def test_block_condition_for_stability():
    """A block of k >= 4 with singular value a needs a / (k + (K-k) e^(a/k)) >= (L-1)/(L+1)."""
    for s in stable_end_states(10, 2, PAPER):
        if s.name.startswith("["):
            k = eval(s.name)[0]
            a = float(torch.linalg.svdvals(s.logits[:k, :k] - s.logits[:k, :k].mean(0))[0])
            if k >= 4:
                stable = a / (k + (10 - k) * math.exp(a / k)) >= 1 / 3
                assert stable >= s.is_minimum, s.name


@pytest.mark.parametrize(
    ("name", "loss", "rank"),
    [
        ("pairs", 0.080013, 5),
        ("triangular", 0.081432, 4),
        ("antiprism", 0.082203, 4),
        ("[6, 2, 2]", 0.086082, 7),
        ("[8,2]", 0.088433, 8),
        ("dnc", 0.090662, 9),
        ("polygon", 0.141959, 2),
    ],
)
def test_an_end_state_by_its_name(name, loss, rank):
    """The values of the reference tables; the line is the same number at the run's own n and decays."""
    state = end_state(10, 2, PAPER, name)
    assert (round(state.loss, 6), state.rank) == (loss, rank)
    assert end_state_line(10, 2, 5, 2**-10, 2**-10, name) == pytest.approx(state.loss, abs=1e-12)
    # A twin of the name: the same structure found among those of every partition.
    losses = [s.loss for s in stable_end_states(10, 2, PAPER, minima_only=True)]
    assert min(abs(state.loss - other) for other in losses) < 1e-9


def test_pairs_of_an_odd_number_of_classes_have_a_scalar():
    assert torch.equal(named_structure("pairs", 3), torch.tensor([[1, -1, 0], [-1, 1, 0], [0, 0, 1]]).double())
    assert torch.equal(named_structure("dnc", 4), named_structure("[4]", 4))


def test_gradient_and_candidates():
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (3, 3), (5, 3)]
    x = rng.standard_normal(39)
    _, gradient = search._value_and_gradient(x, shapes, 0.1)
    for i in range(0, 39, 5):
        e = np.zeros(39)
        e[i] = 1e-6
        up, down = (search._value_and_gradient(x + sign * e, shapes, 0.1)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-6)
    names = [name for name, _ in structures(10)]
    assert {"[10]", "[2, 2, 2, 2, 2]", "[8, 2]", "polygon", "triangular graph T_5"} <= set(names)
    assert all(minimum_margin(M) > 0 for _, M in structures(7))


def test_a_lower_loss_than_any_structure_is_found_from_random_codes():
    """K = 7, L = 3: rank 3, below the pairs, the polygon and DNC; the value is the reduced objective of its logits."""
    best = best_known(7, 3, 0.01)
    assert best.loss == pytest.approx(0.25127712, abs=1e-8)
    assert float(reduced_objective(best.logits, 3, 0.01)) == best.loss
    assert best_known_loss(7, 3, 0.01, random_starts=0) > best.loss
    assert float(reduced_objective(19.0 * frames.polygon(7), 3, 0.01)) > best.loss


def test_eight_classes_and_three_layers_are_best_on_a_square_antiprism():
    assert end_state(8, 3, 0.01, "antiprism").loss == pytest.approx(0.28034210, abs=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_known_loss(1, 2, 0.1), "num_classes must be an integer of at least 2.*, got 1"),
        (lambda: best_known_loss(3, 0, 0.1), "depth must be an integer of at least 1.*, got 0"),
        (lambda: stable_end_states(3, 2, 0.0), "decay must be positive.*, got 0.0"),
        (lambda: end_state(10, 2, PAPER, "[5, 3, 2]"), "decay 0.00167 it is a strict saddle .11 negative eigenvalues"),
        (lambda: end_state(10, 2, 5.0, "dnc"), "decay 5 it is no better than zero"),
        (lambda: named_structure("star", 10), "structure=star: must be dnc, pairs, polygon, triangular, antiprism, or"),
        (lambda: named_structure("[3, 2]", 10), "must add up to 10 classes"),
        (lambda: named_structure("[0, 10]", 10), "structure=.0, 10.: must be dnc"),
        (lambda: named_structure(None, 10), "structure=None: must be dnc"),
        (lambda: named_structure("triangular", 8), "s.s - 1./2 classes, such as 6, 10 or 15, got 8"),
        (lambda: named_structure("polygon", 2), "needs at least 3 classes, got 2"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
