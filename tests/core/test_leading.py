"""Leading singular values: by hand, against scipy, the calling convention, refusals."""

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch

from ncbench.core import leading, leading_mass, mean_singular_value, relative_tail, singular_value, singular_values

# Singular values 4, 2, 1 (signs and order are of no matter).
W = torch.tensor([[0.0, 2, 0, 0], [-4, 0, 0, 0], [0, 0, 0, 1]])
CASES = {
    "first": (lambda m: m.singular_value(W, 1), 4.0),
    "last": (lambda m: m.singular_value(W, 3), 1.0),
    "mean": (lambda m: m.mean_singular_value(W, 2), 3.0),
    "mean of all": (lambda m: m.mean_singular_value(W, 3), 7 / 3),
    "mass": (lambda m: m.leading_mass(W, 2), 20.0),
    "mass of all": (lambda m: m.leading_mass(W, 9), 21.0),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(leading)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("first", '_position("index", index, s) - 1', '_position("index", index, s) - 2'),
        ("last", '_position("index", index, s) - 1', '-_position("index", index, s)'),
        ("mean", ".mean(-1)", ".sum(-1)"),
        ("mean", ".mean(-1)", ".square().mean(-1).sqrt()"),
        ("mean", 's[..., : _position("k", k, s)]', 's[..., _position("k", k, s) :]'),
        ("mass", "s[..., :k].square()", "s[..., :k]"),
        ("mass", "s[..., :k].square()", "s[..., : k + 1].square()"),
        ("mass", "s[..., :k].square().sum(-1)", "s[..., k:].square().sum(-1)"),
        ("mass of all", "s[..., :k].square().sum(-1)", "s[..., :2].square().sum(-1)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    assert measure(mutant(leading, old, new)).item() != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("m", "n"), [(3, 7), (5, 5), (6, 2)])
def test_equals_a_naive_twin_replica_by_replica(m, n):
    A = torch.randn(2, 3, m, n)
    for i in range(2):
        for j in range(3):
            s = scipy.linalg.svdvals(A[i, j].double().numpy())
            for k in range(1, min(m, n) + 1):
                assert singular_value(A, k)[i, j].item() == pytest.approx(s[k - 1], rel=1e-12)
                assert mean_singular_value(A, k)[i, j].item() == pytest.approx(np.mean(s[:k]), rel=1e-12)
                assert leading_mass(A, k)[i, j].item() == pytest.approx(np.sum(s[:k] ** 2), rel=1e-12)


def test_mass_and_tail_are_all_of_the_norm_and_only_the_mass_sees_a_bulk_that_shrinks():
    A = torch.randn(5, 6, 4, dtype=torch.float64)
    norms = A.square().sum((1, 2))
    for k in (1, 2, 4, 7):
        torch.testing.assert_close(leading_mass(A, k) / norms, 1 - relative_tail(A, k))
    # Training that halves all of W does not preserve the leading bulk: a quarter of its mass is left.
    torch.testing.assert_close(leading_mass(A / 2, 2) / leading_mass(A, 2), torch.full((5,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(relative_tail(A / 2, 2), relative_tail(A, 2))
    assert leading_mass(0 * A, 2).tolist() == [0] * 5


def test_one_replica_that_is_not_finite_leaves_the_others_alone():
    A = torch.stack([W, W * torch.nan])
    for measure, value in (
        (partial(singular_value, index=1), 4),
        (partial(mean_singular_value, k=1), 4),
        (partial(leading_mass, k=1), 16),
    ):
        assert measure(A)[0].item() == pytest.approx(value)
        assert measure(A)[1].isnan()


@pytest.mark.parametrize(
    "measure", [partial(singular_value, index=2), partial(mean_singular_value, k=2), partial(leading_mass, k=2)]
)
def test_exactly_one_of_the_matrix_and_its_singular_values(measure):
    assert torch.equal(measure(W), measure(s=singular_values(W)))
    with pytest.raises(ValueError, match="exactly one of W and s must be given, got both"):
        measure(W, s=singular_values(W))
    with pytest.raises(ValueError, match="exactly one of W and s must be given, got neither"):
        measure()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leading_mass(W), "k must be given and at least 1, got None"),
        (lambda: leading_mass(W, 0), "k must be given and at least 1, got 0"),
        (lambda: singular_value(W), "index must be given and lie in 1..3, got None"),
        (lambda: singular_value(W, 0), "index must be given and lie in 1..3, got 0"),
        (lambda: mean_singular_value(W), "k must be given and lie in 1..3, got None"),
        (lambda: mean_singular_value(W, 4), "k must be given and lie in 1..3, got 4"),
        (lambda: mean_singular_value(torch.ones(3), 1), r"W must be a matrix \(\.\.\., m, n\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
