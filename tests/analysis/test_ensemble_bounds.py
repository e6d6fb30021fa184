"""Rank bounds of an ensemble: by hand, network by network as `rank_distance_bound`, what is left alone, refusals."""

import math

import pytest
import torch
from torch import nn

from ncbench.analysis import curvature, ensemble_bounds, ensemble_rank_bounds, rank_distance_bound

R, N, K = 3, 24, 3


class Affine(nn.Module):
    """W z + b of R networks at once."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), None if bias is None else nn.Parameter(bias)

    def forward(self, z):
        out = torch.bmm(z, self.weight.mT)
        return out if self.bias is None else out + self.bias[:, None]


class Doubled(Affine):
    """A module of a weight that does more than to apply it."""

    def forward(self, z):
        return 2 * super().forward(z)


class Layer(nn.Module):
    """act(W z + b) of R networks at once, or with `skip` z + act(W z + b)."""

    def __init__(self, weight, bias=None, activation=None, skip=False):
        super().__init__()
        self.affine, self.activation, self.skip = Affine(weight, bias), activation or nn.Identity(), skip

    @property
    def weight(self):
        return self.affine.weight

    @property
    def bias(self):
        return self.affine.bias

    def forward(self, z):
        out = self.activation(self.affine(z))
        return z + out if self.skip else out


class Single(nn.Module):
    """Replica r of a `Layer`."""

    def __init__(self, layer, r):
        super().__init__()
        self.weight, self.activation, self.skip = nn.Parameter(layer.weight[r].detach()), layer.activation, layer.skip
        self.bias = 0.0 if layer.bias is None else layer.bias[r].detach()

    def forward(self, z):
        out = self.activation(z @ self.weight.mT + self.bias)
        return z + out if self.skip else out


def squared(outputs, targets):
    return (outputs - targets).square().sum(1)


def instance(seed=0, inputs=R, dtype=torch.float64):
    """Tanh, residual tanh and linear layer of width 5, uneven noisy clusters, noisy targets, a decay per layer."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    labels = torch.cat([torch.arange(K), torch.randint(0, K, (N - K,), generator=rng) ** 2 // 2])
    x = draw(inputs, K, 5)[:, labels] + 0.3 * draw(inputs, N, 5)
    y = draw(1, K, 5)[:, labels] + 0.2 * draw(1, N, 5)
    layers = [
        Layer(draw(R, 5, 5) / 2, draw(R, 5), nn.Tanh()),
        Layer(draw(R, 5, 5) / 2, draw(R, 5), nn.Tanh(), skip=True),
        Layer(draw(R, 5, 5) / 2),
    ]
    decays = 10 ** (-2 * torch.rand(R, 3, generator=rng, dtype=torch.float64))
    values = torch.tensor([7, -1, 3])  # labels may be any integers
    return [layer.to(dtype) for layer in layers], x, y, values[labels], decays


def difference(module, seed=0, inputs=R):
    """Largest relative deviation from `rank_distance_bound`, network by network."""
    layers, x, y, labels, decays = instance(seed, inputs)
    bounds = module.ensemble_rank_bounds(layers, x, y, labels, decays)
    worst = 0.0
    for r in range(R):
        network = nn.Sequential(*[Single(layer, r) for layer in layers])
        for (l, j), bound in bounds.rank_bound.items():
            twin = rank_distance_bound(network, squared, x[r % inputs], y[0], labels, l, j, decays[r, l - 1].item())
            pairs = [
                (bounds.distance[l - 1, r], twin.distance),
                (bounds.residual[l - 1, r], twin.residual),
                (bound[r], twin.centroid),
                (bounds.tightness[l, j][r], twin.distance / (twin.centroid + twin.residual)),
                (bounds.tcv_bound[l, j][r], twin.curvature),
                (bounds.tcv_tightness[l, j][r], twin.distance / (twin.curvature + twin.residual)),
            ]
            worst = max(worst, *(abs(float(got) / expected - 1) for got, expected in pairs))
    return worst


@pytest.mark.parametrize("inputs", [R, 1])
def test_equals_the_bounds_network_by_network(inputs):
    assert difference(ensemble_bounds, seed=inputs, inputs=inputs) < 1e-10
    bounds = ensemble_rank_bounds(*instance(inputs=inputs))
    assert list(bounds.rank_bound) == list(bounds.tightness) == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    assert bounds.distance.shape == bounds.residual.shape == (3, R)
    assert {value.shape for value in bounds.rank_bound.values()} == {(R,)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * torch.where(lam > 0", "4 * torch.where(lam > 0"),
        ("gap / twice[l - 1]", "2 * gap / twice[l - 1]"),
        ("gap / twice[l - 1]", "gap / twice[0]"),
        ("ClassMoments.from_batch(z, cluster", "ClassMoments.from_batch(x, cluster"),
        ("centroids, targets.means, shares", "centroids, targets.shift, shares"),
        ("centroids, targets.means, shares", "centroids, targets.means, torch.full_like(shares, 1 / K)"),
        ("targets.counts.to(torch.float64)", "targets.counts"),
        ("(bound + residual[l - 1])", "bound"),
        ("g + lam[:, None, None] * w", "g + w"),
        ("_norm(full[l - 1] - gradient)", "_norm(full[j] - gradient)"),
        ("_norm(full[l - 1] - gradient)", "_norm(gradient)"),
        ("rank_distance(w, K)", "rank_distance(w, K + 1)"),
        ("* variation[j] / 2", "* variation[j]"),
        ("* variation[j] / 2", "* variation[0] / 2"),
        (" + (y - of_samples[1]).square().sum(-1)", ""),
        ("tcv_tightness=tightness(tcv_bound)", "tcv_tightness=tightness(rank_bound)"),
    ],
)
def test_a_planted_bug_is_caught(mutant, old, new):
    assert not difference(mutant(ensemble_bounds, old, new)) < 1e-8


def test_worked_by_hand():
    """f = 2 * 1 * x on one cluster x = (1, 3), y = (0, 2), lam = (1/2, 1): the gradients are 2 mean((f - y) x) = 14
    times the other weight, at the centroid 2 (4 - 1) 2 = 12 times it, whatever the layer that collapses."""
    layers = [Layer(torch.tensor([[[w]]])) for w in (1.0, 2.0)]
    x, y = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [2.0]]])
    bounds = ensemble_rank_bounds(layers, x, y, torch.tensor([5, 5]), torch.tensor([[0.5, 1.0]]))
    assert bounds.distance.tolist() == [[0.0], [0.0]]  # 1 x 1 matrices have rank 1
    assert bounds.residual.tolist() == [[29.0], [9.0]]  # (28 + 1) / 1 and (14 + 4) / 2
    assert {key: value.item() for key, value in bounds.rank_bound.items()} == {(1, 0): 4.0, (2, 0): 1.0, (2, 1): 1.0}
    assert all(value.item() == 0 for value in bounds.tightness.values())
    # The gradients are quadratic in the deviations (1, 1) and (-1, -1): the remainders are 2 (2 - 1) = 2 times the
    # other weight, and TCV = 2, in every layer.
    expected = {
        "curvature": {(1, 0): 4.0, (2, 0): 2.0, (2, 1): 2.0},
        "tcv_bound": {(1, 0): 4.0, (2, 0): 1.0, (2, 1): 1.0},
    }
    for name, values in expected.items():
        assert {key: value.item() for key, value in getattr(bounds, name).items()} == pytest.approx(values, rel=1e-14)
    # M = 2 (2 + sqrt 5), M TCV / 4.
    assert {key: value.item() for key, value in bounds.tcv_bound_analytic.items()} == {
        (2, 1): pytest.approx(2 + 5**0.5)
    }


def test_the_bound_is_attained():
    """x = (1, +-b), y = (A, +-B), W = diag(A / (1 + lam), b B / (b^2 + lam)) is stationary, and both sides are W_22."""
    b, A, B, lam = torch.tensor([[0.5, 3.0, 0.4, 0.1], [2.0, 1.0, 1.5, 0.3]], dtype=torch.float64).mT
    one, tail = torch.ones_like(b), b * B / (b**2 + lam)
    x, y = (torch.stack([torch.stack([p, q], -1), torch.stack([p, -q], -1)], 1) for p, q in ((one, b), (A, B)))
    layers = [Layer(torch.diag_embed(torch.stack([A / (1 + lam), tail], -1)))]
    bounds = ensemble_rank_bounds(layers, x, y, torch.tensor([0, 0]), lam[:, None])
    torch.testing.assert_close(bounds.distance[0], tail)
    torch.testing.assert_close(bounds.rank_bound[1, 0], tail)
    torch.testing.assert_close(bounds.tightness[1, 0], one)
    torch.testing.assert_close(bounds.tcv_bound[1, 0], tail)
    torch.testing.assert_close(bounds.tcv_tightness[1, 0], one)
    assert bounds.residual.max() < 1e-14


def test_holds_on_random_networks():
    """The chain of bounds; and M of the last layer, derived without the samples, is at least what they show."""
    for seed in range(50):
        bounds = ensemble_rank_bounds(*instance(seed))
        for ratios in (bounds.tightness, bounds.tcv_tightness, bounds.tcv_tightness_analytic):
            assert all((value > 0).all() and (value < 1).all() for value in ratios.values())
        assert all((bounds.tcv_bound[pair] >= value).all() for pair, value in bounds.rank_bound.items())
        assert list(bounds.tcv_bound_analytic) == list(bounds.tcv_tightness_analytic) == [(3, 2)]
        assert (bounds.tcv_bound_analytic[3, 2] >= bounds.tcv_bound[3, 2]).all()
    layers, *rest = instance()
    layers[2].activation = nn.Tanh()  # M is derived for a linear last layer
    assert not ensemble_rank_bounds(layers, *rest).tcv_bound_analytic


def chain_holds(curvature_module, monkeypatch):
    """Whether (i) <= (iii) <= (iii) with M of the last layer on random networks, with the constants of this module."""
    monkeypatch.setattr(ensemble_bounds, "curvatures", curvature_module.curvatures)
    for seed in range(10):
        bounds = ensemble_rank_bounds(*instance(seed))
        below = all((bounds.rank_bound[pair] <= value).all() for pair, value in bounds.tcv_bound.items())
        if not below or not (bounds.tcv_bound[3, 2] <= bounds.tcv_bound_analytic[3, 2]).all():
            return False
    return True


@pytest.mark.parametrize(
    ("old", "new", "breaks_the_chain"),
    [
        ("2 * norms / squares", "norms / squares", False),
        ("2 * norms / squares", "4 * norms / squares", True),
        ("D_zeta - zeta_first", "D_zeta", True),
        ("D_delta - delta_first", "D_delta", True),
        (", (D_delta, D_zeta)]", "]", True),
        ("centroids[:, part], targets[:, part]", "centroids[:, part.flip(0)], targets[:, part]", False),
        ("ratios.amax(-1)", "ratios.mean(-1)", False),
        ("for u, v in products for p, q in products", "for u, v in products for p, q in [(u, v)]", False),
    ],
)
def test_a_planted_bug_in_the_curvature_is_caught(mutant, monkeypatch, old, new, breaks_the_chain):
    planted = mutant(curvature, old, new)
    assert not (breaks_the_chain and chain_holds(planted, monkeypatch))
    monkeypatch.setattr(ensemble_bounds, "curvatures", planted.curvatures)
    assert not difference(ensemble_bounds) < 1e-8


def test_samples_may_be_taken_in_parts(monkeypatch):
    whole = ensemble_rank_bounds(*instance())
    monkeypatch.setattr(curvature, "MOST_NUMBERS", 7 * R * 30)  # two layers have 20 numbers a sample, three have 30
    parts = ensemble_rank_bounds(*instance())
    for pair, value in whole.tcv_bound.items():
        torch.testing.assert_close(parts.tcv_bound[pair], value, rtol=1e-12, atol=0)


def test_the_bound_falls_with_the_square_of_the_deviations_down_to_rounding():
    """Deviations of samples and targets shrink together: TCV and the bound as their square, Mhat towards its limit."""
    layers, x, y, labels, decays = instance()
    member = (labels[:, None] == labels).double()
    mean = member / member.sum(1)
    of = {}
    for scale in (1e-2, 1e-3, 1e-5, 1e-9, 1e-13):
        near = (mean @ z + scale * (z - mean @ z) for z in (x, y))
        of[scale] = ensemble_rank_bounds(layers, *near, labels, decays)
    for pair in of[1e-2].tcv_bound:
        torch.testing.assert_close(of[1e-3].curvature[pair], of[1e-5].curvature[pair], rtol=0.05, atol=0)
        torch.testing.assert_close(of[1e-5].tcv_bound[pair] * 1e4, of[1e-3].tcv_bound[pair], rtol=0.05, atol=0)
        for scale in (1e-9, 1e-13):  # a ratio of two roundings, not taken for a curvature
            assert (of[scale].curvature[pair] == 0).all()
            assert (of[scale].tcv_bound[pair] < 1e-12).all()


def test_beyond_a_kink_there_is_no_constant():
    """ReLU at x = +-eps around 0 (and a sample at 1): the remainder is of first order, so Mhat is of order 1/eps."""
    found = []
    for eps in (1e-2, 1e-4):
        layers = [Layer(torch.ones(1, 1, 1), None, nn.ReLU()), Layer(torch.ones(1, 1, 1))]
        x = torch.tensor([[[-eps], [3 * eps], [1.0], [1.0]]])
        bounds = ensemble_rank_bounds(layers, x, torch.ones(1, 4, 1), torch.tensor([0, 0, 1, 1]), torch.ones(1, 2))
        found.append(bounds.curvature[2, 0].item())
        assert bounds.tcv_bound[2, 0] >= bounds.rank_bound[2, 0]
    assert found[1] == pytest.approx(100 * found[0], rel=0.05)


def test_collapsed_layers_bound_those_above():
    """Identical samples in every class: gap 0 for all pairs; identical features z^2 only: gap 0 for layer 3, j = 2."""
    layers, x, y, labels, decays = instance()
    first = (labels[:, None] == labels).int().argmax(1)
    bounds = ensemble_rank_bounds(layers, x[:, first], y[:, first], labels, decays)
    assert max(value.max() for value in bounds.rank_bound.values()) < 1e-12
    assert max(value.max() for value in (*bounds.tcv_bound.values(), *bounds.tcv_bound_analytic.values())) < 1e-12
    with torch.no_grad():  # a constant second layer, and one class: z^2 is a point
        layers[1].weight.zero_()
        layers[1].skip = False
    bounds = ensemble_rank_bounds(layers, x, y, torch.zeros_like(labels), decays)
    assert bounds.rank_bound[3, 2].max() < 1e-12
    assert bounds.rank_bound[2, 1].min() > 1e-3


def test_dead_layers_missing_decay_and_diverged_replicas():
    layers, x, y, labels, decays = instance()
    before = ensemble_rank_bounds(layers, x, y, labels, decays)
    with torch.no_grad():
        layers[1].weight[0] *= 1e-6
        layers[0].weight[1] = torch.nan
    decays[2, 0] = 0
    bounds = ensemble_rank_bounds(layers, x, y, labels, decays)
    for (l, j), tightness in bounds.tightness.items():
        assert tightness.isnan().tolist() == [l == 2, True, l == 1]
        assert bounds.rank_bound[l, j].isnan().tolist() == [False, True, l == 1]
        assert bounds.tcv_bound[l, j].isnan().tolist() == [False, True, l == 1]
        assert bounds.tcv_tightness[l, j].isnan().tolist() == [l == 2, True, l == 1]
        if l > 1:
            assert tightness[2] == before.tightness[l, j][2]
    assert bounds.tcv_bound_analytic[3, 2].isnan().tolist() == [False, True, False]
    assert bounds.distance.isnan().tolist() == [[False, True, False], [False] * 3, [False] * 3]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_leaves_a_float32_network_alone(mode):
    layers, x, y, labels, decays = instance(dtype=torch.float32)
    layers[1].requires_grad_(False)
    state = [{name: p.clone() for name, p in layer.named_parameters()} for layer in layers]
    with mode():
        bounds = ensemble_rank_bounds(nn.Sequential(*layers), x.float(), y + 0, labels, decays)
    for layer, values in zip(layers, state, strict=True):
        for name, p in layer.named_parameters():
            assert torch.equal(p, values[name])
            assert p.grad is None
            assert p.requires_grad == (layer is not layers[1])
    twin = ensemble_rank_bounds([layer.double() for layer in layers], x.float(), y, labels, decays)
    for got, expected in zip(bounds, twin, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
        for value in got.values() if isinstance(got, dict) else [got]:
            assert value.dtype == torch.float64
            assert not value.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [nn.Tanh()]}, r"layers must have exactly one weight \(R, n_l, n_\(l-1\)\) each, got 0 in layer 1"),
        (
            {
                "layers": [
                    nn.Sequential(Affine(torch.ones(R, 5, 5), None), nn.Tanh()),
                    Doubled(torch.ones(R, 5, 5), None),
                ],
                "decays": torch.ones(R, 2),
            },
            r"layers must apply W_l as W_l z \(\+ b_l\) in a module of its own, layer 2 does not",
        ),
        ({"x": torch.ones(2, N, 5)}, r"x must have shape \(R or 1, N, features\) with R=3, got \(2, 24, 5\)"),
        ({"y": torch.ones(1, N - 1, 5)}, r"y must have shape \(R or 1, N, features\) with R=3, got \(1, 23, 5\)"),
        ({"labels": torch.tensor([1])}, "labels must be integers of shape"),
        ({"decays": torch.ones(3)}, r"decays must be \(R, L\) = \(3, 3\) numbers of at least 0, got shape \(3,\)"),
        ({"decays": -torch.ones(3, 3)}, "min -1.0"),
        ({"decays": torch.full((3, 3), math.nan)}, "min nan"),
    ],
)
def test_bad_arguments(change, message):
    arguments = dict(zip(("layers", "x", "y", "labels", "decays"), instance(), strict=True))
    with pytest.raises(ValueError, match=message):
        ensemble_rank_bounds(**(arguments | change))
