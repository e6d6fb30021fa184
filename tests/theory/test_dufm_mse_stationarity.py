"""Where the SRG solution is stationary: closed forms against multipliers found by optimisation and against the loss."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from ncbench.analysis import one_sided_descent, random_directions
from ncbench.theory import dufm_mse
from ncbench.theory.dufm_mse import (
    new_neuron_gain,
    srg_escape,
    srg_is_stationary,
    srg_kink_shares,
    srg_solution,
    stationarity,
)


def gated(K, L, lam_H, lams):
    """(parameters, squared norm of the gradient as a function of one gate per hidden layer) at the explicit SRG."""
    H, Ws = srg_solution(K, L, 1, lam_H, lams)
    vertices = (1 + math.isqrt(1 + 8 * K)) // 2
    H, Ws = H[:vertices], [Ws[0][:vertices, :vertices], *[W[:, :vertices] for W in Ws[1:-1]], Ws[-1]]
    Ws = [*[W[:vertices] for W in Ws[:-2]], *Ws[-2:]]

    def gradient(shares):
        parts = [p.clone().requires_grad_() for p in (H, *Ws)]
        z = parts[0]
        for share, W in zip(shares, parts[1:-1], strict=True):
            pre = W @ z
            z = pre * torch.where(pre.detach().abs() < 1e-12, share, (pre.detach() > 0).to(share.dtype))
        total = (parts[-1] @ z - torch.eye(K, dtype=torch.float64)).square().sum() / (2 * K)
        for lam, part in zip((lam_H, *lams), parts, strict=True):
            total = total + lam / 2 * part.square().sum()
        return torch.autograd.grad(total, parts, create_graph=True)

    return gradient


def residual(gradient, shares):
    gates = torch.tensor(shares, dtype=torch.float64)
    return math.sqrt(sum(float(g.detach().square().sum()) for g in gradient(gates)))


DECAYS = {3: [1e-3, 2e-3, 3e-3], 4: [2e-3, 1e-3, 1e-3, 2e-3], 5: [1e-3, 2e-3, 1e-3, 1e-3, 2e-3]}


@pytest.mark.parametrize("L", [3, 4, 5])
@pytest.mark.parametrize("K", [10, 15, 21, 36])
def test_backpropagation_with_these_gates_gives_a_zero_gradient(K, L):
    """Also where a share is not in [0, 1] and the point not stationary: the equations are solved either way."""
    shares = srg_kink_shares(K, L, 1, 2e-3, DECAYS[L])
    gradient = gated(K, L, 2e-3, DECAYS[L])
    assert residual(gradient, shares) < 1e-10
    assert residual(gradient, [*shares[:-1], shares[-1] + 0.1]) > 1e-5


@pytest.mark.parametrize(
    ("K", "L", "stationary"), [(6, 3, False), (6, 4, False), (10, 4, True), (21, 4, False), (21, 3, True)]
)
def test_twin_that_knows_no_formula(K, L, stationary):
    """Least norm of the gradient over gates in [0, 1], by a bounded optimiser: zero where the point is stationary."""
    gradient = gated(K, L, 2e-3, DECAYS[L])

    def value(x):
        shares = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        total = 1e6 * sum(g.square().sum() for g in gradient(shares))
        return float(total.detach()), torch.autograd.grad(total, shares)[0].numpy()

    found = scipy.optimize.minimize(
        value, np.full(L - 1, 0.5), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * (L - 1), options={"ftol": 1e-15}
    )
    assert (math.sqrt(found.fun * 1e-6) < 1e-6) == stationary
    assert srg_is_stationary(K, L, 1, 2e-3, DECAYS[L]) == stationary


def test_by_hand():
    """r = 5: h = sqrt(3/8), 5/(3*3); r = 6: 6/(2*4) = 3/4; r = 7: 7/5, above 1; r = 9 negative: 9/(-7)."""
    h = math.sqrt(3 / 8)
    assert srg_kink_shares(10, 4, 5, 2e-3, 2e-3)[:2] == pytest.approx([6 * (1 - h) / (3 + 2 * h), 5 / 9])
    assert srg_kink_shares(10, 3, 5, 2e-3, 2e-3)[0] == pytest.approx(2 * (1 - h) / (3 + 2 * h) * 5 / 3)
    assert [srg_kink_shares(K, 4, 5, 2e-3, 2e-3)[1] for K in (6, 15, 21, 28, 36)] == pytest.approx(
        [0.5, 0.75, 1.4, math.inf, -9 / 7]
    )
    assert srg_kink_shares(10, 6, 5, 2e-3, 2e-3)[1:3] == [1.0, 1.0]
    assert srg_kink_shares(6, 4, 5, 2e-3, 2e-3)[-1] == math.inf
    stationary = {
        (K, L) for K in (6, 10, 15, 21, 28, 36) for L in (3, 4, 5, 7) if srg_is_stationary(K, L, 5, 5e-4, 5e-4)
    }
    assert stationary == {(10, 3), (10, 4), (10, 5), (10, 7), (15, 3), (15, 4), (15, 5), (15, 7), (21, 3)}


def test_gain_by_hand():
    """Small decays, r = 6: parts (0.6, 1.5, 0.9) of three vertices and (2.4, 3, 0.6) of four over (6^4, 3^4, 1)."""
    limit = math.sqrt((0.6 / 6**4 + 1.5 / 3**4 + 0.9) / (2.4 / 6**4 + 3 / 3**4 + 0.6))
    assert new_neuron_gain(15, 4, 1, 1e-7, 1e-7, 3) == pytest.approx(limit, rel=1e-4)
    assert new_neuron_gain(15, 4, 5, 2e-3, 2e-3, 4) == 1
    assert max(new_neuron_gain(10, 4, 5, 2e-3, 2e-3, p) for p in (2, 4, 5)) < 1
    assert all(max(new_neuron_gain(K, 4, 5, 2e-3, 2e-3, p) for p in (2, 3, 4)) > 1.1 for K in (15, 21, 28))


def rates(module, K, L):
    """(rate, the same from the loss at 1e-4 along the direction) with n = 2, unequal decays, one neuron too many."""
    n, lam_H, lams = 2, 3e-4, [2e-4 * (1 + i / 3) for i in range(L)]
    H, Ws = srg_solution(K, L, n, lam_H, lams, width=K + 1)
    escape = module.srg_escape(K, L, n, lam_H, lams, width=K + 1)
    along = one_sided_descent(
        lambda H, *Ws: dufm_mse.loss(H, Ws, n, lam_H, lams), [H, *Ws], [[escape.features, *escape.weights]]
    )
    return escape.rate, along.slopes.item() if escape.order == 1 else along.curvatures.item() / 2


@pytest.mark.parametrize("L", [3, 4, 5])
@pytest.mark.parametrize("K", [6, 15, 21, 28, 36])
def test_the_loss_falls_as_predicted_along_the_escape(K, L):
    predicted, measured = rates(stationarity, K, L)
    assert predicted < 0
    assert measured < 0
    assert measured == pytest.approx(predicted, rel=1e-4)


def test_nothing_is_known_to_leave_srg_of_ten_classes():
    assert srg_escape(10, 4, 5, 2e-3, 2e-3, width=20) is None
    assert srg_escape(15, 4, 5, 2e-3, 2e-3) is None  # width 15 has no neuron too many
    H, Ws = srg_solution(10, 4, 1, 1e-2, 2e-3, width=12)
    rays = random_directions([H, *Ws], 200)
    along = one_sided_descent(lambda H, *Ws: dufm_mse.loss(H, Ws, 1, 1e-2, 2e-3), [H, *Ws], rays, 1e-5)
    assert along.slopes.min() > 0
    assert along.changes.min() > 0


@pytest.mark.parametrize(
    ("old", "new", "K"),
    [
        ("return -2 * _entry", "return -_entry", 6),
        ("* (8 - r) / r - 1)", "* (8 - r) / r)", 21),
        ("steps[-2][:K, :r] = -c * (r - 4)", "steps[-2][:K, :r] = 0", 21),
        ("d * d * y) ** 2\n        for k", "d * d * y)\n        for k", 21),
        ("/ math.sqrt(r) / ratio, u", "/ math.sqrt(r), u", 15),
        ("(p - 1) ** 2 * (p", "p**2 * (p", 15),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new, K):
    predicted, measured = rates(mutant(stationarity, old, new), K, 4)
    assert not abs(measured / predicted - 1) < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: srg_kink_shares(11, 4, 5, 1e-3, 1e-3), r"num_classes must be r\(r-1\)/2 .* got 11"),
        (lambda: srg_kink_shares(10, 2, 5, 1e-3, 1e-3), "depth must be at least 3"),
        (lambda: srg_kink_shares(10, 4, 5, 1.0, 1.0), "weight_decays must be small enough"),
        (lambda: new_neuron_gain(10, 4, 5, 1e-3, 1e-3, 6), "plus must be at most the 5 vertices, got 6"),
        (lambda: new_neuron_gain(10, 4, 5, 1e-3, 1e-3, 1), "plus must be an integer of at least 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
