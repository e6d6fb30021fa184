"""One-sided derivatives: a kink worked by hand, a naive twin, planted bugs, refusals."""

import numpy as np
import pytest
import torch

from ncbench.analysis import one_sided, one_sided_descent, random_directions


def kinked(x, y):
    """2 max(x_0, 0) - x_0 + |x_1| - 3 x_2^2 + y: kinks at x_0 = 0 and x_1 = 0, a maximum in x_2, slope 1 in y."""
    return 2 * x[0].clamp(min=0) - x[0] + x[1].abs() - 3 * x[2] ** 2 + y.sum()


ZERO = [torch.zeros(3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]


def ray(x, y=0.0):
    return [torch.tensor(x, dtype=torch.float64), torch.tensor([y], dtype=torch.float64)]


def test_a_kink_by_hand():
    """Slopes 1 on both sides of both kinks (a derivative has opposite ones), -6 the second derivative in x_2."""
    rays = [ray([1, 0, 0]), ray([-1, 0, 0]), ray([0, 5, 0]), ray([0, -1, 0]), ray([0, 0, 1]), ray([0, 0, 0], -2)]
    slopes, curvatures, changes = one_sided_descent(kinked, ZERO, rays, step=1e-2)
    np.testing.assert_allclose(slopes, [1, 1, 1, 1, 0, -1], atol=1e-13)
    np.testing.assert_allclose(curvatures, [0, 0, 0, 0, -6, 0], atol=1e-10)
    np.testing.assert_allclose(changes, [1e-2, 1e-2, 1e-2, 1e-2, -3e-4, -1e-2], atol=1e-15)


def test_an_automatic_gradient_sees_none_of_it():
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(kinked(x, ZERO[1]), x)
    assert gradient.tolist() != [1, 1, 0]  # one choice of many: it names a descent that does not exist
    down = one_sided_descent(kinked, ZERO, [[-gradient, ZERO[1]]])
    assert down.slopes.item() > 0


def worst(module):
    """Largest disagreement with a twin that fits a parabola through the same three values, written with numpy."""
    rng = np.random.default_rng(0)
    point = [torch.from_numpy(rng.normal(size=3)), torch.from_numpy(rng.normal(size=1))]
    point[0][0] = 0  # on a kink
    rays = random_directions(point, 20, seed=1)
    got = module.one_sided_descent(kinked, point, rays, step=1e-2)
    flat = np.concatenate([p.numpy() for p in point])
    errors = []
    for i, direction in enumerate(rays):
        d = np.concatenate([p.numpy() for p in direction])
        d /= np.linalg.norm(d)
        values = [float(kinked(*torch.from_numpy(flat + t * d).split([3, 1]))) for t in (0, 5e-3, 1e-2)]
        a, b, _ = np.polyfit([0, 5e-3, 1e-2], values, 2)
        errors.append(
            max(abs(got.slopes[i] - b), abs(got.curvatures[i] - 2 * a), abs(got.changes[i] - values[2] + values[0]))
        )
    return max(errors)


def test_a_naive_twin_agrees():
    assert worst(one_sided) < 1e-8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(4 * half - full) / step", "full / step"),
        ("(full - 2 * half)", "(full - half)"),
        ("p + t / norm * d", "p + t * d"),
        ("(step / 2, step)", "(-step, step)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert worst(mutant(one_sided, old, new)) > 1e-3


def test_random_directions_are_reproducible():
    first, again, other = (random_directions(ZERO, 3, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    assert [d.shape for d in first[2]] == [p.shape for p in ZERO]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_sided_descent(kinked, ZERO, [ray([1, 0, 0])], step=0), "step must be positive, got 0"),
        (lambda: one_sided_descent(kinked, [ZERO[0].float(), ZERO[1]], []), "point must be float64 tensors"),
        (lambda: one_sided_descent(kinked, ZERO, [ZERO]), "directions must not be zero"),
        (lambda: one_sided_descent(kinked, ZERO, [[ZERO[1], ZERO[1]]]), "directions must have the point's shapes"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
