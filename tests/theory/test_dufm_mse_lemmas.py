"""Lemmas 12 to 14 against pseudo-inverses and against the weights of the explicit SRG solution."""

import pytest
import torch

from ncbench.core import frames
from ncbench.theory.dufm_mse import hidden_weight_norm, interpolant_norm, last_hidden_weight_norm, lemmas, srg_solution


def test_by_hand():
    """r = 4: h = T^T e_1 is interpolated by e_1 alone; a constant h = 1 by sqrt(3)/2 (1, 1, 1, 1)."""
    T = frames.triangular_incidence(4)
    assert interpolant_norm(T[0], 4) == pytest.approx(1)
    assert interpolant_norm(T[0], 4, 4.0) == pytest.approx(0.25)
    assert interpolant_norm(torch.ones(6, dtype=torch.float64), 4) == pytest.approx(3)
    assert hidden_weight_norm(5, 2.0, 3.0) == 7.5
    assert last_hidden_weight_norm(4, 1.0, 2.0) == 18  # 36 / 4 * 2
    assert last_hidden_weight_norm(5, 4.0, 1.0) == pytest.approx(100 / 8 / 4)


def worst(module, r):
    """Largest relative error against pseudo-inverses."""
    T = frames.triangular_incidence(r)
    generator = torch.Generator().manual_seed(r)
    h = T.mT @ torch.randn(r, dtype=torch.float64, generator=generator)
    alpha, after = 0.7, 2.3
    pairs = [
        (module.interpolant_norm(h, r, alpha), torch.linalg.lstsq(alpha**0.5 * T.mT, h[:, None]).solution),
        (module.hidden_weight_norm(r, alpha, after), after**0.5 * T @ torch.linalg.pinv(alpha**0.5 * T)),
    ]
    if r >= 4:
        last = after**0.5 * frames.triangular_last_layer(r) @ torch.linalg.pinv(alpha**0.5 * T)
        pairs.append((module.last_hidden_weight_norm(r, alpha, after), last))
    return max(abs(value / float(matrix.square().sum()) - 1) for value, matrix in pairs)


@pytest.mark.parametrize("r", [3, 4, 5, 6, 9])
def test_pseudo_inverses_agree(r):
    assert worst(lemmas, r) < 1e-12


def test_they_are_the_weights_of_the_srg_solution():
    H, Ws = srg_solution(10, 5, 1, 1e-3, [1e-3, 2e-3, 1e-3, 3e-3, 1e-3])
    alphas = []
    for W in Ws[:-1]:
        H = W @ H
        alphas.append(float(H.square().sum() / 10))  # T has unit columns times sqrt(2), rows of unit norm: r alpha
        H = H.relu()
    second, third, fourth, fifth = alphas  # layers 2..4 have r alpha_l, the last K alpha_L
    assert float(Ws[1].square().sum()) == pytest.approx(hidden_weight_norm(5, second, third))
    assert float(Ws[2].square().sum()) == pytest.approx(hidden_weight_norm(5, third, fourth))
    assert float(Ws[3].square().sum()) == pytest.approx(last_hidden_weight_norm(5, fourth * 2, fifth))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(3 * r - 4) / (4", "(3 * r - 4) / (2"),
        ("square / scale", "square * scale"),
        ("(r**2 - 5 * r + 8)", "(r**2 - 5 * r + 6)"),
        ('return at_least("vertices", vertices, 3) *', 'return (at_least("vertices", vertices, 3) - 1) *'),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert worst(mutant(lemmas, old, new), 5) > 1e-2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interpolant_norm(torch.ones(5), 4), "h must have 6 entries for 4 vertices"),
        (lambda: interpolant_norm(torch.eye(10)[0], 5), "h must lie in the row space of T"),
        (lambda: last_hidden_weight_norm(3, 1.0, 1.0), "vertices must be an integer of at least 4.*, got 3"),
        (lambda: hidden_weight_norm(5, 0.0, 1.0), "alpha must be positive"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
