"""Measures of a second pass: streamed NC1 against the D x D one, nearest class means."""

import itertools

import pytest
import torch
from torch import nn

from ncbench.core import ClassMoments, nc1, ncc_labels
from ncbench.measure import measure_network, nc1_streaming
from ncbench.measure import second_pass as second

K, D, N = 4, 7, 60


def samples(seed=0, std=0.3, leading=(), dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % K
    means = torch.randn(*leading, K, D, generator=rng, dtype=torch.float64)
    noise = torch.randn(*leading, N, D, generator=rng, dtype=torch.float64)
    return (means[..., labels, :] + std * noise).to(dtype), labels


def batches(H, y, cuts=(13, 14, 40)):
    edges = [0, *cuts, len(y)]
    return [(H[..., a:b, :], y[a:b]) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("convention", ["papyan", "rhubarbwu", "parker", "he-su"])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_equals_nc1_with_the_full_scatter(convention, leading):
    H, y = samples(leading=leading)
    expected, kept = nc1(ClassMoments.from_batch(H, y, K, "full"), convention=convention)
    moments = ClassMoments.from_batch(H, y, K, "none")
    value, rank = nc1_streaming(moments, batches(H, y), convention=convention)
    assert torch.allclose(value, expected, rtol=1e-12)
    assert torch.equal(rank, kept)


def test_worked_by_hand():
    # Means (0, 0) and (2, 0): S_B = diag(1, 0), so S_B^+ = diag(1, 0). Deviations (+-1, +-3), (+-2, 0):
    # S_W's first entry is (1 + 1 + 4 + 4) / 4 = 2.5, and NC1 = 2.5 / K = 1.25 without any of the second direction.
    H = torch.tensor([[1.0, 3.0], [-1.0, -3.0], [4.0, 0.0], [0.0, 0.0]])
    y = torch.tensor([0, 0, 1, 1])
    value, rank = nc1_streaming(ClassMoments.from_batch(H, y, 2), [(H, y)])
    assert value.item() == pytest.approx(1.25, rel=1e-14)
    assert rank.item() == 1


def test_float32_at_full_collapse():
    H, y = samples(std=1e-6, dtype=torch.float32)
    expected, _ = nc1(ClassMoments.from_batch(H.double(), y, K, "full"))
    value, _ = nc1_streaming(ClassMoments.from_batch(H, y, K), batches(H, y))
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_degenerate_input():
    H, y = samples()
    exact = ClassMoments.from_batch(H, y, K).means[y]
    value, rank = nc1_streaming(ClassMoments.from_batch(exact, y, K), [(exact, y)])
    assert (value.item(), rank.item()) == (0.0, K - 1)
    same = torch.randn(N, D)[:1].repeat(N, 1) + 0.1 * torch.randn(N // K, D).repeat_interleave(K, 0)
    value, rank = nc1_streaming(ClassMoments.from_batch(same, y, K), [(same, y)])  # coinciding means
    assert value.isnan()
    assert rank.item() == 0
    empty = ClassMoments.from_batch(H, y, K + 1)
    value, rank = nc1_streaming(empty, [(H, y)])
    assert value.isnan()
    assert rank.item() == 0
    value, _ = nc1_streaming(ClassMoments.from_batch(H, torch.zeros_like(y), 1), [(H, torch.zeros_like(y))])
    assert value.isnan()


def test_other_samples_than_those_of_the_moments_are_refused():
    H, y = samples()
    moments = ClassMoments.from_batch(H, y, K)
    with pytest.raises(ValueError, match="batches must hold the 60 samples of the moments once more, but hold 59"):
        nc1_streaming(moments, [(H[1:], y[1:])])
    with pytest.raises(ValueError, match="features must have the width 7 of the moments, not 6"):
        nc1_streaming(moments, [(H[:, :6], y)])
    with pytest.raises(ValueError, match="rtol must lie"):
        nc1_streaming(moments, [(H, y)], rtol=1.5)


def test_invariances():
    H, y = samples()
    Q = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64))[0]
    order = torch.randperm(N)
    value, _ = nc1_streaming(ClassMoments.from_batch(H, y, K), [(H, y)])
    for moved, labels in ((H @ Q, y), (5 * H, y), (H + 3, y), (H[order], y[order]), (H, K - 1 - y)):
        other, _ = nc1_streaming(ClassMoments.from_batch(moved, labels, K), batches(moved, labels))
        assert other.item() == pytest.approx(value.item(), rel=1e-10)


@pytest.mark.parametrize("bug", ["self.sums = squares", "self.sums = self.sums + squares.sqrt()"])
def test_planted_bugs_are_seen(mutant, bug):
    H, y = samples()
    wrong = mutant(second, "self.sums = self.sums + squares", bug).nc1_streaming
    moments = ClassMoments.from_batch(H, y, K)
    assert wrong(moments, batches(H, y))[0] != pytest.approx(nc1_streaming(moments, [(H, y)])[0].item(), rel=1e-3)


def test_on_request_for_every_layer_and_split():
    torch.manual_seed(0)
    H, y = samples(dtype=torch.float32, std=1.0)
    net = nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, K))
    splits = {"train": batches(H, y), "test": [(H[:30], y[:30])]}
    names = ["nc1", "separation_fuzziness", "ncc_accuracy"]
    found = measure_network(net, splits, layers=["1", "2"], num_classes=K, measures=names)
    found = found.set_index(["split", "layer", "measure"]).value
    features = {"1": net[:2](H), "2": net(H)}
    for split, count in (("train", N), ("test", 30)):
        for layer, x in features.items():
            moments = ClassMoments.from_batch(x[:count], y[:count], K, "full")
            for name, convention, rank_name in (
                ("nc1", "rhubarbwu", "nc1_rank"),
                ("separation_fuzziness", "he-su", "separation_rank"),
            ):
                value, rank = nc1(moments, convention=convention)
                assert found[split, layer, name].item() == pytest.approx(value.item(), rel=1e-6)
                assert found[split, layer, rank_name].item() == rank.item()
            nearest = ncc_labels(x[:count], moments.means)
            naive = torch.cdist(x[:count].double(), moments.means).argmin(1)
            assert torch.equal(nearest, naive)
            share = (naive == y[:count]).double().mean()
            assert found[split, layer, "ncc_accuracy"].item() == pytest.approx(share.item())
