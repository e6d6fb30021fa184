import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from scipy.stats import entropy

from ncbench.core import (
    _linalg,
    conv_matrix,
    conv_operator_singular_values,
    effective_rank,
    numerical_rank,
    rank_distance,
    relative_tail,
    schatten,
    singular_values,
    soft_rank,
    spectrum,
    stable_rank,
    tail_curve,
)
from ncbench.measure import measure as measure_network

# Singular values 4, 2, 1 (signs and order are of no matter), so sum 7 and sum of squares 21.
W = torch.tensor([[0.0, 2, 0, 0], [-4, 0, 0, 0], [0, 0, 0, 1]])
KERNEL = torch.tensor([[[[1.0, 2.0]]]])  # one channel, 1 x 2 hooks
CASES = {
    "singular values": (lambda m: m.singular_values(W), [4, 2, 1]),
    "relative_tail": (lambda m: m.relative_tail(W, 1), 5 / 21),
    "tail_curve": (lambda m: m.tail_curve(W), [1, 5 / 21, 1 / 21, 0]),
    "tail_curve root": (lambda m: m.tail_curve(W, root=True), [1, 0.48795003647426655, 0.2182178902359924, 0]),
    "rank_distance": (lambda m: m.rank_distance(W, 1), 2.23606797749979),  # sqrt(5)
    "stable_rank": (lambda m: m.stable_rank(W), 1.3125),  # 21/16
    # entropy of (4, 2, 1)/7 is log 7 - (4 log 4 + 2 log 2)/7 = log 7 - 10/7 log 2; its exponential 7 / 2^(10/7)
    "effective_rank": (lambda m: m.effective_rank(W), 2.6004900059896596),
    "numerical_rank": (lambda m: m.numerical_rank(W, rtol=0.3), 2),  # 1 < 1.2
    "soft_rank": (lambda m: m.soft_rank(W), 1.523397228311384),  # 21/16 (1 + sqrt(3/4))^2 / 3
    "schatten": (lambda m: m.schatten(W, 0.5), 4.414213562373095),  # 2 + sqrt 2 + 1
    "nuclear": (lambda m: m.schatten(W, 1), 7),
    "conv_matrix": (lambda m: m.conv_matrix(KERNEL), [[1, 2]]),
    # transfer function 1 + 2 z on a circle of 4 pixels: |1 + 2| = 3, |1 +- 2i| = sqrt 5 twice, |1 - 2| = 1
    "conv_operator": (
        lambda m: m.conv_operator_singular_values(KERNEL, (1, 4)),
        [3, 2.23606797749979, 2.23606797749979, 1],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    measure, expected = CASES[name]
    value = measure(spectrum)
    torch.testing.assert_close(value.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("relative_tail", "return s[..., k:].square().sum(-1) / _living", "return s[..., k:].sum(-1) / _living"),
        ("relative_tail", "s[..., k:].square().sum(-1) / _living", "s[..., k + 1 :].square().sum(-1) / _living"),
        ("tail_curve", "[tails, torch.zeros_like(total)]", "[tails, total]"),
        ("tail_curve root", "curve.sqrt() if root", "curve if root"),
        ("rank_distance", "return s[..., k:].square().sum(-1).sqrt()", "return s[..., k:].sum(-1)"),
        ("stable_rank", "(s / s[..., :1]).square()", "(s / s[..., :1])"),
        ("effective_rank", "q = s / s.sum(-1, keepdim=True)", "q = s**2 / (s**2).sum(-1, keepdim=True)"),
        ("effective_rank", "torch.exp(-", "torch.exp2(-"),
        ("numerical_rank", "s > rtol * s[..., :1]", "s > rtol"),
        ("soft_rank", "** 2 / m", "** 2 / n"),
        ("soft_rank", "math.sqrt(m / n)", "math.sqrt(n / m)"),
        ("schatten", ".pow(p).sum(-1)", ".pow(p).sum(-1) ** (1 / p)"),
        ("conv_operator", "s=image_size", "s=None"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    measure, expected = CASES[name]
    value = measure(mutant(spectrum, old, new)).double()
    expected = torch.tensor(expected, dtype=torch.float64)
    assert value.shape != expected.shape or not torch.allclose(value, expected, rtol=1e-6)


FROM_S = {
    "relative_tail": lambda **w: relative_tail(k=2, **w),
    "tail_curve": tail_curve,
    "rank_distance": lambda **w: rank_distance(k=2, **w),
    "stable_rank": stable_rank,
    "effective_rank": effective_rank,
    "numerical_rank": numerical_rank,
    "schatten": lambda **w: schatten(p=1.5, **w),
}


@pytest.mark.parametrize("name", FROM_S)
def test_exactly_one_of_the_matrix_and_its_singular_values(name):
    measure = FROM_S[name]
    assert torch.equal(measure(W=W), measure(s=singular_values(W)))
    with pytest.raises(ValueError, match="exactly one of W and s must be given, got both"):
        measure(W=W, s=singular_values(W))
    with pytest.raises(ValueError, match="exactly one of W and s must be given, got neither"):
        measure()


def test_soft_rank_with_given_singular_values():
    assert torch.equal(soft_rank(W, s=singular_values(W)), soft_rank(W))


@pytest.mark.parametrize(("m", "n"), [(300, 300), (100, 900), (900, 100)])
def test_soft_rank_of_noise_is_1_and_falls_with_the_width_where_the_stable_rank_is_the_same(m, n):
    noise = torch.randn(2, m, n, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    np.testing.assert_allclose(soft_rank(noise), [1, 1], rtol=0.05)
    padded = torch.nn.functional.pad(W, (0, 5, 0, 5))  # the same singular values in a larger matrix
    assert stable_rank(padded).item() == stable_rank(W).item()
    assert soft_rank(padded).item() < 0.5 * soft_rank(W).item()


def test_soft_rank_is_a_measure_of_rectangular_weights_and_class_means():
    network = torch.nn.Sequential(torch.nn.Linear(6, 4, bias=False), torch.nn.Tanh(), torch.nn.Linear(4, 3, bias=False))
    inputs, labels = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    options = {"layers": ["*"], "num_classes": 3, "matrices": {"soft_rank": soft_rank}}
    found = measure_network(network, {"train": [(inputs, labels)]}, **options).values
    for layer in (0, 2):
        A = network[layer].weight.detach().double().numpy()
        assert found["", str(layer), "weight", "soft_rank"].item() == pytest.approx(naive(A)["soft_rank"], rel=1e-12)
    with torch.no_grad():
        out = network(inputs).double()
    M = torch.stack([out[labels == c].mean(0) for c in range(3)]).numpy()
    assert found["train", "2", "pre", "soft_rank"].item() == pytest.approx(naive(M)["soft_rank"], rel=1e-6)


def naive(A):
    """Each measure from numpy's and scipy's own functions or from loops."""
    s = scipy.linalg.svdvals(A)
    m, n = A.shape
    gaps = [np.linalg.norm(A - best_of_rank(A, k)) for k in range(min(m, n) + 1)]
    edge = n * np.mean(A**2) * (1 + math.sqrt(m / n)) ** 2
    return {
        "relative_tail": (gaps[2] / np.linalg.norm(A)) ** 2,
        "tail_curve": (np.array(gaps) / np.linalg.norm(A)) ** 2,
        "rank_distance": gaps[2],
        "stable_rank": (np.linalg.norm(A, "fro") / np.linalg.norm(A, 2)) ** 2,
        "effective_rank": math.exp(entropy(s)),
        "numerical_rank": np.linalg.matrix_rank(A, tol=1e-2 * s[0]),
        "schatten": sum(x**1.5 for x in s),
        "soft_rank": edge / np.linalg.eigvalsh(A @ A.T)[-1],
    }


def best_of_rank(A, k):
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    return (U[:, :k] * s[:k]) @ Vh[:k]


@pytest.mark.parametrize(("m", "n"), [(5, 5), (3, 8), (8, 3)])
def test_equals_a_naive_twin_replica_by_replica(m, n):
    A = torch.randn(2, 3, m, n, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    A[0, 0] = torch.outer(A[0, 0, :, 0], A[0, 0, 0])  # rank one
    for name, measure in {**FROM_S, "soft_rank": soft_rank}.items():
        values = measure(W=A)
        assert values.dtype == torch.float64
        for i in range(2):
            for j in range(3):
                expected = naive(A[i, j].numpy())[name]
                np.testing.assert_allclose(values[i, j], expected, rtol=1e-10, atol=1e-14, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-2, 1e2))
def test_rotations_transposition_and_scale(seed, scale):
    rng = torch.Generator().manual_seed(seed)
    A = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    U = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64))[0]
    powers = {"rank_distance": 1, "schatten": 1.5}
    for name, measure in {**FROM_S, "soft_rank": soft_rank}.items():
        torch.testing.assert_close(measure(W=(scale * U @ A).mT), measure(W=A) * scale ** powers.get(name, 0))
    curve = tail_curve(A)
    assert (curve.diff() <= 0).all()
    assert curve[[0, -1]].tolist() == [1, 0]
    assert 1 <= stable_rank(A) <= 4
    assert 1 <= effective_rank(A) <= 4


def test_zero_dead_rank_one_and_non_finite_matrices():
    batch = torch.zeros(4, 3, 3)
    batch[1, 0, 0] = 1e-5  # ||W||_F^2 = 1e-10: dead, yet it has a rank
    batch[2] = torch.outer(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 0, 1]))
    batch[3, 1, 1] = torch.nan
    nan = math.nan
    expected = {
        "relative_tail": [nan, nan, 0, nan],
        "rank_distance": [0, 0, 0, nan],
        "stable_rank": [nan, 1, 1, nan],
        "effective_rank": [nan, 1, 1, nan],
        "numerical_rank": [0, 1, 1, nan],
        "schatten": [0, 1e-5**1.5, 28**0.75, nan],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(FROM_S[name](W=batch), values, atol=1e-13, rtol=1e-6, err_msg=name)
    assert tail_curve(batch).isnan().all(-1).tolist() == [True, True, False, True]
    np.testing.assert_allclose(soft_rank(batch), [nan, 4 / 3, 4 / 3, nan])
    assert [relative_tail(W, k).item() for k in (0, 3, 99)] == [1, 0, 0]


def test_tails_keep_their_digits_far_below_float32():
    s = torch.logspace(0, -10, 6, dtype=torch.float64)
    tails = tail_curve(s=s)
    for k in range(6):
        exact = math.fsum(x**2 for x in s[k:].tolist()) / math.fsum(x**2 for x in s.tolist())
        assert tails[k].item() == pytest.approx(exact, rel=1e-12)


def test_half_precision_weights_are_decomposed_in_float64():
    A = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch.testing.assert_close(singular_values(A), torch.from_numpy(scipy.linalg.svdvals(A.double().numpy())))


def test_a_failing_driver_is_replaced_by_the_cpu(monkeypatch):
    true_svdvals, calls = torch.linalg.svdvals, []

    def failing_once(A):
        calls.append(A)
        if len(calls) == 1:
            raise torch.linalg.LinAlgError("cusolver: the algorithm failed to converge")
        return true_svdvals(A)

    monkeypatch.setattr(torch.linalg, "svdvals", failing_once)
    torch.testing.assert_close(singular_values(W), torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert len(calls) == 2
    with pytest.raises(RuntimeError, match="always"):
        _linalg.with_cpu_fallback(lambda A: (_ for _ in ()).throw(RuntimeError("always")), W)


def test_conv_operator_is_the_matrix_of_a_circular_convolution():
    rng = np.random.default_rng(0)
    kernel, (h, w) = rng.normal(size=(3, 2, 3, 2)), (4, 5)
    columns = []
    for c in range(2):
        for pixel in range(h * w):
            image = np.zeros((h, w))
            image.flat[pixel] = 1
            outputs = [convolve2d(image, k, mode="full") for k in kernel[:, c]]
            for out in outputs:  # wrap the overhanging border around
                out[: out.shape[0] - h] += out[h:]
                out[:, : out.shape[1] - w] += out[:, w:]
            columns.append(np.concatenate([out[:h, :w].ravel() for out in outputs]))
    expected = scipy.linalg.svdvals(np.stack(columns, 1))
    values = conv_operator_singular_values(torch.from_numpy(kernel), (h, w))
    assert values.shape == (h * w * 2,)
    np.testing.assert_allclose(values, expected, rtol=1e-10)
    batch = conv_operator_singular_values(torch.from_numpy(kernel).expand(4, 3, 2, 3, 2), (h, w))
    np.testing.assert_allclose(batch[3], expected, rtol=1e-10)


def test_conv_matrix_has_one_row_per_output_channel():
    kernel = torch.randn(2, 3, 4, 5, 5)
    assert torch.equal(conv_matrix(kernel), kernel.reshape(2, 3, 100))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: singular_values(torch.ones(3)), r"W must be a matrix \(..., m, n\) with m, n >= 1"),
        (lambda: singular_values(torch.ones(3, 0)), r"got shape \(3, 0\)"),
        (lambda: relative_tail(W), "k must be given and at least 0, got None"),
        (lambda: rank_distance(W, -1), "k must be given and at least 0, got -1"),
        (lambda: stable_rank(s=torch.ones(2, 0)), "s must hold at least one singular value"),
        (lambda: numerical_rank(W, rtol=1.0), r"rtol must lie in \[0, 1\)"),
        (lambda: schatten(W), "p must be given and positive, got None"),
        (lambda: schatten(W, 0.0), "p must be given and positive, got 0"),
        (lambda: conv_matrix(W), r"kernel must have shape \(..., out, in, kh, kw\)"),
        (lambda: conv_operator_singular_values(KERNEL, (1, 1)), r"<= image_size=\(1, 1\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
