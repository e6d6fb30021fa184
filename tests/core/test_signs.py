"""Negative share: by hand, a naive twin, planted bugs, invariances, a run in which a paper's sentence is false."""

import math
from functools import partial

import pytest
import torch

from ncbench.core import negative_share, signs
from ncbench.measure.check_functions import check_functions

# Negative part (-2, -1) of norm sqrt 5, all entries (2, -2, 1, 0, -1, 4) of norm sqrt 26.
M = torch.tensor([[2.0, -2, 1], [0, 4, -1]])
EXPECTED = math.sqrt(5 / 26)


def test_worked_by_hand():
    value = negative_share(M)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(EXPECTED, rel=1e-14)
    assert negative_share(torch.tensor([[-3, 0]])).item() == 1  # integers too


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clamp(max=0.0)", "clamp(min=0.0)"),
        ("matrix_norm(M.clamp(max=0.0))", "matrix_norm(M.clamp(max=0.0), ord=2)"),
        ("matrix_norm(M.clamp(max=0.0))", "matrix_norm(M.clamp(max=0.0)).square()"),
        ("matrix_norm(M.clamp(max=0.0))", "matrix_norm((M < 0).double())"),
        (" / torch.linalg.matrix_norm(M)", " / torch.linalg.matrix_norm(M.clamp(min=0.0))"),
        (" / torch.linalg.matrix_norm(M)", ""),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert mutant(signs, old, new).negative_share(M).item() != pytest.approx(EXPECTED, rel=1e-6)


def naive(M):
    negative = sum(min(x, 0.0) ** 2 for row in M.tolist() for x in row)
    return math.sqrt(negative / sum(x**2 for row in M.tolist() for x in row))


def test_equals_a_naive_twin_replica_by_replica():
    A = torch.randn(2, 3, 4, 6) + torch.linspace(-1, 1, 3)[:, None, None]
    values = negative_share(A)
    assert values.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert values[i, j].item() == pytest.approx(naive(A[i, j].double()), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_shares_of_both_signs_and_scale(scale):
    A = scale * torch.randn(5, 4, 6, dtype=torch.float64)
    assert torch.allclose(negative_share(A).square() + negative_share(-A).square(), torch.ones(5, dtype=torch.float64))
    assert negative_share(torch.relu(A)).tolist() == [0] * 5
    # Cosine of A and its ReLU: the right-angled triangle of the two parts.
    cosine = torch.nn.functional.cosine_similarity((A / scale).flatten(1), torch.relu(A / scale).flatten(1))
    assert torch.allclose(negative_share(A), (1 - cosine.square()).sqrt())
    assert negative_share(scale * torch.randn(100, 400, dtype=torch.float64)).item() == pytest.approx(
        0.5**0.5, rel=0.02
    )


def test_zero_and_not_finite_matrices_are_undefined_and_leave_the_others_alone():
    A = torch.stack([M, 0 * M, M, M, M])
    A[2, 0, 0], A[3, 0, 0], A[4, 0, 0] = torch.nan, torch.inf, -torch.inf
    values = negative_share(A)
    assert values[0].item() == pytest.approx(EXPECTED, rel=1e-14)
    assert values[1:].isnan().all()


def test_it_is_a_matrix_measure():
    check_functions({}, {"negative_share": negative_share}, 10, has_replica_axis=True)
    with pytest.raises(ValueError, match="matrices=negative_share"):
        check_functions({}, {"negative_share": partial(negative_share, k=1)}, 10)


def test_features_before_a_relu_that_are_negative_are_told_from_those_that_are_not():
    """The paper's sentence against a layer in which it is false: W maps non-negative features to centred ones."""
    features = torch.relu(torch.randn(10, 20))
    kept, centred = torch.relu(torch.randn(8, 20)), torch.randn(8, 20)
    assert negative_share(features @ kept.mT) == 0
    assert negative_share(features @ centred.mT) > 0.3


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 0), torch.ones(2, 2) * 1j])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=r"M must be a real matrix \(\.\.\., m, n\) with m, n >= 1, got torch\."):
        negative_share(bad)
