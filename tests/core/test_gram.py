"""Gram blocks: by hand, a naive twin, exact collapse and the way there, invariances, refusals."""

import itertools

import numpy as np
import pytest
import torch

from ncbench.core import gram, gram_block_deviation

# G = [[1, 3, -1], [3, 9, -3], [-1, -3, 1]]: block means 4, -2, 1, squared deviations 36 + 2 * 2 + 0; the mean of all
# entries is 1 and their squares sum to 11^2, so 121 - 9 around it.
Z, LABELS = torch.tensor([[1.0], [3.0], [-1.0]]), torch.tensor([4, 4, 2])
EXPECTED = 0.5976143046671968  # sqrt(40 / 112)


def test_worked_by_hand():
    value = gram_block_deviation(Z, LABELS)
    assert (value.dtype, value.shape) == (torch.float64, ())
    assert value.item() == pytest.approx(EXPECTED, rel=1e-14)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ 2 * cross", "+ cross"),
        ("(moments.counts * (D", "((D"),
        ("smaller.square().sum((-2, -1)) +", ""),
        ("torch.zeros_like(labels))).sqrt()", "torch.zeros_like(labels)))"),
        ("- moments.offset[..., labels, :]", ""),
        ("return (within / _square_deviation(Z, torch.zeros_like(labels)))", "return (within / (Z @ Z.mT).var())"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert mutant(gram, old, new).gram_block_deviation(Z, LABELS).item() != pytest.approx(EXPECTED, rel=1e-6)


def naive(Z, labels):
    G = Z @ Z.T
    blocks = np.empty_like(G)
    for k, l in itertools.product(np.unique(labels), repeat=2):
        block = np.ix_(labels == k, labels == l)
        blocks[block] = G[block].mean()
    return np.sqrt(np.mean((G - blocks) ** 2)) / np.std(G)


@pytest.mark.parametrize("D", [3, 40, 90])
def test_equals_a_naive_twin_replica_by_replica(clusters, D):
    H, labels = clusters(D=D, leading=(2, 3), offset=0.5)
    values = gram_block_deviation(H, labels)
    for i, j in itertools.product(range(2), range(3)):
        assert values[i, j].item() == pytest.approx(naive(H[i, j].numpy(), labels.numpy()), rel=1e-10)
    torch.testing.assert_close(gram_block_deviation(H.float(), labels), values, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_zero_after_collapse_and_undefined_for_a_point(clusters, dtype):
    H, labels = clusters(std=0.0, N=203, D=33, offset=0.1, leading=(2,))
    H = H.to(dtype)
    assert gram_block_deviation(H, labels).tolist() == [0.0, 0.0]
    assert gram_block_deviation(torch.stack([H[0], H[0, :1].expand_as(H[0])]), labels).isnan().tolist() == [False, True]
    assert gram_block_deviation(torch.zeros(5, 2), torch.arange(5)).isnan()
    assert gram_block_deviation(torch.randn(5, 2), torch.arange(5)) == 0  # singletons always have
    assert gram_block_deviation(torch.tensor([[1.0], [torch.inf]]), torch.arange(2)).isnan()


def test_all_digits_on_the_way_to_collapse(clusters):
    """Linear in a small deviation; the naive twin has lost every digit there."""
    (H, labels), (means, _) = clusters(std=1.0, offset=3.0), clusters(std=0.0, offset=3.0)
    near, nearer = (gram_block_deviation(means + eps * (H - means), labels).item() for eps in (1e-5, 1e-12))
    assert nearer / near == pytest.approx(1e-7, rel=1e-3)


def test_scale_rotation_and_order_of_the_samples(clusters):
    H, labels = clusters(D=6)
    value = gram_block_deviation(H, labels)
    order = torch.randperm(len(labels))
    Q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    for scale in (1e-100, 1.0, -1e60):
        torch.testing.assert_close(gram_block_deviation(scale * H[order] @ Q, labels[order]), value)


def test_features_of_random_networks():
    """20 samples of 4 classes through tanh layers that were not trained."""
    labels, values = torch.arange(20) % 4, []
    for _ in range(50):
        z = torch.randn(20, 24) / 24**0.5
        for width in (16, 16, 16):
            z = torch.tanh(z @ torch.randn(z.shape[1], width) / z.shape[1] ** 0.5)
            values.append(gram_block_deviation(z, labels).item())
    np.testing.assert_allclose(np.quantile(values, [0.1, 0.9]), [0.93, 0.985], atol=0.01)


@pytest.mark.parametrize(
    ("Z", "labels", "message"),
    [
        (torch.ones(3), torch.arange(3), r"Z must have shape \(\.\.\., N, d\)"),
        (torch.ones(0, 3), torch.arange(0), r"Z must have shape \(\.\.\., N, d\)"),
        (torch.ones(3, 2), torch.arange(2), "labels must be integers of shape"),
        (torch.ones(3, 2), torch.ones(3), "labels must be integers of shape"),
    ],
)
def test_bad_arguments(Z, labels, message):
    with pytest.raises(ValueError, match=message):
        gram_block_deviation(Z, labels)
