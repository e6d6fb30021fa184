"""Representation cost: the reference numbers, explicit networks of that cost, numerical minimisation, refusals."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch

from ncbench.theory import representation_cost
from ncbench.theory.representation_cost import (
    collapse_by_copy,
    feedforward_cost_delta,
    feedforward_singular_values,
    feedforward_singular_values_delta,
    residual_singular_values,
)

ROOT5 = math.sqrt(5)  # singular values of one-hot targets, 5 samples per class
DELTAS = {10: 1.4793, 2: 1.2606, 1: 1.1773, 0.1: 0.9459, 0.01: 0.7929, 0.001: 0.7268, 0: 0.7071}
NORMS = {
    1: (1.512, 0.8128, 1.512),
    0.1: (3.4554, 0.4812, 1.0927),
    0.01: (7.480, 0.2488, 0.748),
    10: (0.637, 1.249, 2.015),
}


@pytest.mark.parametrize(("delta", "value"), DELTAS.items())
def test_feedforward_reference_numbers(delta, value):
    s = feedforward_singular_values_delta([ROOT5] * 4, 4, delta, 16, 20)
    np.testing.assert_allclose(s, [value] * 4, atol=5.1e-5)


@pytest.mark.parametrize(("delta", "norms"), NORMS.items())
def test_residual_reference_numbers(delta, norms):
    values = residual_singular_values([ROOT5] * 4, 6, delta)
    got = [float(s.norm()) for s in (values.first, values.intermediate, values.last)]
    for value, printed in zip(got, norms, strict=True):
        assert value == pytest.approx(
            printed, abs=5.1e-4 if printed in (0.637, 1.249, 2.015, 1.512, 7.480, 0.748) else 5.1e-5
        )


def test_worked_by_hand():
    # Equal y: t = rho / sqrt K each, s = (y sqrt(K) / rho)^(1/m): (3 * 2 / 1.5)^(1/2) = 2.
    np.testing.assert_allclose(feedforward_singular_values([3.0] * 4, 2, 1.5), [2.0] * 4)
    # m = 1, y = (4, 1): t proportional to (2, 1), t = (2, 1) for rho^2 = 5: s = (2, 1).
    np.testing.assert_allclose(feedforward_singular_values([4.0, 1.0], 1, ROOT5), [2.0, 1.0])
    # w (1+w)^2 = 2 sqrt(4) has the root w = 1: last sqrt 2, first sqrt(2)/2.
    values = residual_singular_values([2.0], 3, 4.0)
    np.testing.assert_allclose([v.item() for v in values], [1.0, math.sqrt(2), math.sqrt(0.5)])
    # delta = 0 with balanced classes: n_1^(-1/(2m)).
    np.testing.assert_allclose(feedforward_singular_values_delta([ROOT5] * 4, 4, 0, 16, 20), [16 ** (-1 / 8)] * 4)
    np.testing.assert_allclose(feedforward_singular_values([ROOT5] * 4, 4, math.sqrt(320)), [16 ** (-1 / 8)] * 4)


@pytest.mark.parametrize(
    ("y", "m", "rho"), [([1.0, 2.0, 5.0], 1, 3.0), ([0.3, 0.3, 4.0, 1.0], 3, 0.7), ([2.0, 9.0], 6, 10.0)]
)
def test_feedforward_values_are_the_least_cost(y, m, rho):
    """Twin: minimise m sum (y_i/t_i)^(2/m) over directions of t with |t| = rho."""
    y = np.array(y)

    def cost(x):
        t = rho * np.exp(x) / np.linalg.norm(np.exp(x))
        return m * np.sum((y / t) ** (2 / m))

    twin = scipy.optimize.minimize(cost, np.zeros(len(y)), method="BFGS", options={"gtol": 1e-10}).fun
    s = feedforward_singular_values(list(y), m, rho).numpy()
    assert m * np.sum(s**2) == pytest.approx(twin, rel=1e-9)


@pytest.mark.parametrize("delta", [30.0, 1.0, 1e-3, 1e-8])
def test_an_explicit_tanh_network_has_the_predicted_cost_and_no_neighbour_costs_less(delta):
    d, N, K, n_1, L = 24, 20, 4, 16, 5
    y, m, n = math.sqrt(N / K), L - 1, N // K
    s = feedforward_singular_values_delta([y] * K, m, delta, n_1, N)[0].item()
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((d, N)))[0]
    signs = np.repeat(scipy.linalg.hadamard(n_1)[:, 1 : K + 1], n, axis=1)
    Y = np.kron(np.eye(K), np.ones(n))

    def network(u):
        """W_1 = u signs X^T and balanced linear layers that map tanh(u) signs to Y: (cost, output error)."""
        W1 = u * signs @ X.T
        Z = np.tanh(W1 @ X)
        U, sigma, Vt = np.linalg.svd(Y @ np.linalg.pinv(Z), full_matrices=False)
        layers = [sigma[:, None] ** (1 / m) * Vt] + [np.diag(sigma ** (1 / m))] * (m - 2) + [U * sigma ** (1 / m)]
        out = Z
        for W in layers:
            out = W @ out
        return sum(np.sum(W**2) for W in layers) + delta * np.sum(W1**2), np.abs(out - Y).max()

    u = np.arctanh(min(math.sqrt(K / (n_1 * N)) * y / s**m, 1 - 1e-16))
    cost, error = network(u)
    assert error < 1e-12
    assert cost == pytest.approx(m * K * s**2 + delta * N * n_1 * u**2, rel=1e-10)
    assert all(network(u * factor)[0] > cost for factor in (0.3, 0.9, 0.99, 1.01, 1.1, 3.0))


@pytest.mark.parametrize(("y", "L", "delta"), [(2.236, 6, 1.0), (2.236, 6, 1e-3), (0.4, 3, 20.0), (7.0, 2, 0.3)])
def test_residual_values_are_the_least_cost(y, L, delta):
    """Twin: minimise delta a^2 + sum w_l^2 + b^2 subject to a b prod (1 + w_l) = y over all scalars."""
    values = residual_singular_values([y], L, delta)
    w, last, first = (v.item() for v in values)

    def cost(x):
        free = np.exp(x[0])  # a; b follows from the constraint
        b = y / free / np.prod(1 + x[1:])
        return delta * free**2 + np.sum(x[1:] ** 2) + b**2

    start = np.concatenate([[0.0], np.full(L - 2, 0.1)])
    twin = scipy.optimize.minimize(cost, start, method="BFGS", options={"gtol": 1e-9}).fun
    assert first * last * (1 + w) ** (L - 2) == pytest.approx(y, rel=1e-12)
    assert delta * first**2 + (L - 2) * w**2 + last**2 == pytest.approx(twin, rel=1e-9)


def converges(costs, limit):
    """Whether costs at falling delta fall at every step, and to within 1 % of the limit from above."""
    distances = [cost - limit for cost in costs]
    return distances == sorted(distances, reverse=True) and 0 <= distances[-1] < 0.01 * limit


def test_minimal_costs_fall_to_those_without_the_first_layer():
    """R_0 = 4 * 4 * 16^(-1/4) = 8 by hand; a limit 2 % off, the one of m - 1 layers or of another width is refused."""
    deltas = [10.0**-e for e in range(1, 9)]
    costs = [feedforward_cost_delta([ROOT5] * 4, 4, delta, 16, 20) for delta in deltas]
    assert feedforward_cost_delta([ROOT5] * 4, 4, 0, 16, 20) == (pytest.approx(8.0), pytest.approx(8.0))
    for part in zip(*costs, strict=True):
        assert converges(part, 8.0)
        assert not any(converges(part, wrong) for wrong in (7.84, 8.16, 4 * 3 * 16 ** (-1 / 3), 4 * 4 * 12 ** (-1 / 4)))
    assert all(total > upper for total, upper in costs)


def test_cost_is_the_least_of_a_grid_and_its_slope_the_norm_of_the_first_layer():
    """Twin: the cost over a grid of u; and d R_delta / d delta = ||W_1||^2 = N n_1 u^2 at the minimum (envelope)."""
    for delta in (10.0, 0.3, 1e-3):
        u = np.exp(np.linspace(-4, 4, 400001))
        s = (math.sqrt(4 / (16 * 20)) * ROOT5 / np.tanh(u)) ** (1 / 4)
        total, upper = feedforward_cost_delta([ROOT5] * 4, 4, delta, 16, 20)
        assert total == pytest.approx(np.min(16 * s**2 + delta * 320 * u**2), rel=1e-9)
        h = 1e-5 * delta
        slope = feedforward_cost_delta([ROOT5] * 4, 4, delta + h, 16, 20)[0] - total
        assert slope / h == pytest.approx((total - upper) / delta, rel=1e-4)


def test_intermediate_layers_vanish_with_delta():
    w = [residual_singular_values([ROOT5], 6, delta).intermediate.item() for delta in (1e-2, 1e-6, 1e-12)]
    assert w == sorted(w, reverse=True)
    assert w[-1] == pytest.approx(ROOT5 * 1e-6, rel=2e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_collapse_by_copy(residual):
    """Same upper layers, same output on the representatives, zero within-class variation in every layer."""
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(24, 20, generator=rng, dtype=torch.float64)
    labels = torch.arange(20) % 4
    W = torch.randn(16, 24, generator=rng, dtype=torch.float64)
    upper = [torch.randn(16, 16, generator=rng, dtype=torch.float64) / 4 for _ in range(3)]

    def layers(W1):
        z = torch.nn.functional.leaky_relu(W1 @ X, 0.1)
        outputs = [z]
        for V in upper:
            z = torch.nn.functional.leaky_relu(V @ z, 0.1) + (z if residual else 0)
            outputs.append(z)
        return outputs

    before, after = layers(W), layers(collapse_by_copy(W, X, labels))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old[:, labels], rtol=1e-10, atol=1e-10)  # class k's first sample is k


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("values ** (1 / (m + 1))", "values ** (1 / m)"),
        ("(L - 1) * np.log1p", "(L - 2) * np.log1p"),
        ("np.sqrt(w * (1 + w))", "np.sqrt(w)"),
        ("(2 / m) * np.log(np.tanh(u))", "(1 / m) * np.log(np.tanh(u))"),
        ("np.sqrt(K / (n_1 * N))", "np.sqrt(1 / (n_1 * N))"),
        ("upper + (delta * num_samples", "upper + (delta * 2 * num_samples"),
        ("regularised_layers * len(y) * s**2", "len(y) * s**2"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    bad = mutant(representation_cost, old, new)
    values = bad.residual_singular_values([2.0], 3, 4.0)
    assert (
        not np.allclose([v.item() for v in values], [1.0, math.sqrt(2), math.sqrt(0.5)])
        or not np.allclose(bad.feedforward_singular_values([4.0, 1.0], 1, ROOT5), [2.0, 1.0])
        or abs(bad.feedforward_singular_values_delta([ROOT5] * 4, 4, 1.0, 16, 20)[0].item() - 1.1773) > 1e-4
        or abs(bad.feedforward_cost_delta([ROOT5] * 4, 4, 1.0, 16, 20)[0] - 27.6593) > 1e-3
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feedforward_singular_values([1.0, 0.0], 2, 1.0), "y must be positive.*, got 0.0"),
        (
            lambda: feedforward_singular_values([1.0], 0, 1.0),
            "regularised_layers must be an integer of at least 1.*, got 0",
        ),
        (lambda: feedforward_singular_values_delta([1.0, 2.0], 2, 1.0, 4, 4), "y must hold equal singular values"),
        (lambda: feedforward_singular_values_delta([1.0, 1.0], 2, -1.0, 4, 4), "delta must be positive.*, got -1.0"),
        (
            lambda: feedforward_singular_values_delta([1.0] * 5, 2, 1.0, 4, 8),
            "first_width must be an integer of at least 5.*, got 4",
        ),
        (lambda: residual_singular_values([1.0], 1, 1.0), "depth must be an integer of at least 2.*, got 1"),
        (lambda: residual_singular_values([1.0], 3, 0.0), "delta must be positive.*, got 0.0"),
        (
            lambda: collapse_by_copy(torch.ones(2, 3), torch.ones(3, 2), torch.tensor([0])),
            r"must fit X \(d, N\) = \(3, 2\), got \(2, 3\) and \(1,\)",
        ),
        (
            lambda: collapse_by_copy(torch.ones(2, 3), torch.ones(3, 2), torch.tensor([0, 1])),
            "X must have full column rank 2, got rank 1",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
