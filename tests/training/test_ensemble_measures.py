"""Measures of an ensemble on its data: every one against a naive computation, planted bugs, what is measured when."""

import itertools

import pytest
import torch

from ncbench.data import PointSet, RandomPoints
from ncbench.models.replica import Perceptron
from ncbench.training import ensemble_measures

R, N, K = 3, 7, 2
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 1])
DECAYS = torch.tensor([[0.2, 0.1, 0.3], [0.5, 0.4, 0.1], [0.1, 0.1, 0.1]], dtype=torch.float64)


def measured(network, points, decays, *, kind=ensemble_measures, ends=True, last=True, grams=True, kmeans=True):
    measures = kind.EnsembleMeasures(network, points, decays, matched_pairs=(), kmeans=kmeans)
    return measures.measure(ends=ends, last=last, grams=grams)


def instance(dtype=torch.float64):
    """Three tanh networks with a residual layer on points of their own, with biases that are not zero."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(R, N, width, generator=rng, dtype=torch.float64) for width in (3, 3))
    options = dict(depth=3, width=4, activation="tanh", residual=True, seeds=[0, 1, 2])
    network = Perceptron(**options, inputs=x, num_outputs=3, dtype=dtype)
    for b in network.biases:
        b.data = torch.randn(b.shape, generator=rng, dtype=torch.float64).to(dtype)
    return network, PointSet(x, y, LABELS, K), DECAYS


def features_of(network, x, r):
    """z^0 ... z^L of one replica with tanh in the residual layer only."""
    W, b = ([p.detach()[r].double() for p in of] for of in (network.weights, network.biases))
    z = [x, x @ W[0].T + b[0]]
    z.append(z[1] + torch.tanh(z[1] @ W[1].T + b[1]))
    return [*z, z[2] @ W[2].T + b[2]]


def gradients(network, r, x, y, source=0):
    """Those of the fit for every weight and bias of one replica above z^source, which is given."""
    parameters = [
        (W.detach()[r].double(), b.detach()[r].double()) for W, b in zip(network.weights, network.biases, strict=True)
    ]
    leaves = [p.requires_grad_() for pair in parameters for p in pair]
    z = x
    for l, (W, b) in enumerate(parameters, 1):
        if l > source:
            out = z @ W.T + b
            z = z + torch.tanh(out) if l == 2 else out
    return torch.autograd.grad((z - y).square().sum(1).mean(), leaves, allow_unused=True), leaves


def means(points):
    """Every sample replaced by the mean of its class."""
    return torch.stack([points[label == LABELS].mean(0) for label in LABELS])


def curvature(network, r, z, y, l, j):
    """Mhat and the joint variation: remainders of single samples' gradients, first order by a central difference."""
    z_c, y_c = means(z), means(y)

    def gradient(i, t):
        at = [(c + t * (value - c))[i : i + 1] for value, c in ((z, z_c), (y, y_c))]
        return gradients(network, r, *at, source=j)[0][2 * l - 2]

    squares = (z - z_c).square().sum(1) + (y - y_c).square().sum(1)
    h, ratios = 1e-4, []
    for i in range(N):
        first = (8 * (gradient(i, h) - gradient(i, -h)) - gradient(i, 2 * h) + gradient(i, -2 * h)) / (12 * h)
        ratios.append(float(2 * (gradient(i, 1) - gradient(i, 0) - first).norm() / squares[i]))
    return max(ratios), float(squares.mean())


def spread(z, partition):
    """Within-cluster variation of a partition, and relative to the total variance."""
    clusters = [z[[i for i in range(N) if partition[i] == c]] for c in set(partition)]
    within = sum(float((cluster - cluster.mean(0)).square().sum()) for cluster in clusters)
    return within / N, within / float((z - z.mean(0)).square().sum())


def naive(network, points, decays):
    """Every measure of `instance`, network by network."""
    rows: dict = {}
    for r in range(R):
        x, y, lam = points.inputs[r], points.targets[r], decays[r]
        grads, leaves = gradients(network, r, x, y)
        of_layers = [lam[i // 2] for i in range(6)]
        full = [g + 2 * d * p.detach() for g, d, p in zip(grads, of_layers, leaves, strict=True)]
        row = {("train", "", "", "grad_max"): max(float(g.abs().max()) for g in full)}
        row["", "", "", "dead_layers"] = sum(float(W.detach().square().sum()) < 1e-8 for W in leaves[::2])
        z = features_of(network, x, r)
        names = [("features", "post"), ("head.1", "pre"), ("head.2", "post"), ("head.3", "pre")]
        for name, of_layer in zip(names, z, strict=True):
            G = of_layer @ of_layer.T
            blocks = torch.stack([torch.stack([G[a == LABELS][:, b == LABELS].mean() for b in LABELS]) for a in LABELS])
            row["train", *name, "gram_block"] = float((G - blocks).square().mean().sqrt() / G.std(correction=0))
            row[name] = G
            best = [spread(of_layer, p) for p in itertools.product(range(K), repeat=N)]
            row["train", *name, "tcv_kmeans"], row["train", *name, "tcv_kmeans_relative"] = min(best)
        for l in (1, 2, 3):
            W, grad = leaves[2 * l - 2].detach(), grads[2 * l - 2]
            distance = float(torch.linalg.svdvals(W)[K:].square().sum().sqrt())
            residual = float((grad + 2 * lam[l - 1] * W).norm() / (2 * lam[l - 1]))
            row["", f"head.{l}", "weight", "distance"] = distance
            row["", f"head.{l}", "weight", "residual"] = residual
            for j in range(l):
                collapsed, _ = gradients(network, r, means(z[j]), means(y), source=j)
                bound = float((grad - collapsed[2 * l - 2]).norm() / (2 * lam[l - 1]))
                source = f"head.{j}" if j else "features"
                row["", f"head.{l}", "weight", "rank_bound", source] = bound
                row["", f"head.{l}", "weight", "tightness", source] = distance / (bound + residual)
                M, variation = curvature(network, r, z[j], y, l, j)
                bound = M * variation / (4 * float(lam[l - 1]))
                row["", f"head.{l}", "weight", "curvature", source] = M
                row["", f"head.{l}", "weight", "tcv_bound", source] = bound
                row["", f"head.{l}", "weight", "tcv_tightness", source] = distance / (bound + residual)
        # M of the last layer: distance, residual and variation are still those of l = 3, j = 2.
        norm = float(torch.linalg.matrix_norm(leaves[4].detach(), 2))
        bound = 2 * (norm + (1 + norm**2) ** 0.5) * variation / (4 * float(lam[2]))
        row["", "head.3", "weight", "tcv_bound_analytic", "head.2"] = bound
        row["", "head.3", "weight", "tcv_tightness_analytic", "head.2"] = distance / (bound + residual)
        for key, value in row.items():
            rows.setdefault(key, []).append(torch.as_tensor(value, dtype=torch.float64))
    return {key: torch.stack(of_replicas) for key, of_replicas in rows.items()}


def difference(kind=ensemble_measures):
    """The largest relative distance from the naive computation, or infinity where one has what the other has not."""
    arguments = instance()
    found, expected = measured(*arguments, kind=kind), naive(*arguments)
    ours = {**found.values, **found.of_sources, **found.sample_grams}
    if ours.keys() != expected.keys():
        return float("inf")
    return max(float((ours[key] - value).norm() / (value.norm() + 1e-12)) for key, value in expected.items())


def test_equals_the_naive_computation():
    assert difference() <= 1e-10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gradient.abs().amax(1)", "gradient.amax(1)"),
        ("self.points.targets, self.decays, everyone", "self.points.targets, 0 * self.decays, everyone"),
        ("(squares < DEAD_NORM_SQUARED)", "(squares > DEAD_NORM_SQUARED)"),
        ("bounds.distance[l]", "bounds.distance[l - 1]"),
        ("bounds.residual[l]", "bounds.distance[l]"),
        ("measure, names[j]]", "measure, names[l]]"),
        ("(z, points.num_classes, labels", "(z, points.num_classes + 1, labels"),
        ("variation.value, variation.relative", "variation.value, variation.value"),
        (
            "core.gram_block_deviation(z, self.points.labels)",
            "core.gram_block_deviation(z, self.points.labels.flip(0))",
        ),
        ("(z @ z.mT)", "(z - z.mean(1, keepdim=True)) @ z.mT"),
        ('"pre" if plain else "post"', '"post"'),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    assert not difference(mutant(ensemble_measures, old, new)) <= 1e-6


def test_dead_layers_are_counted_and_have_no_tightness():
    network, points, decays = instance()
    before = measured(network, points, decays, kmeans=False)
    network.weights[0].data[1] *= 1e-6
    network.weights[2].data[1] *= 1e-6
    found = measured(network, points, decays, kmeans=False)
    assert found.values["", "", "", "dead_layers"].tolist() == [0.0, 2.0, 0.0]
    for (_, layer, _, measure, source), value in found.of_sources.items():
        dead = "tightness" in measure and layer != "head.2"
        assert value.isnan().tolist() == [False, dead, False]
        unchanged = before.of_sources["", layer, "weight", measure, source]
        assert torch.allclose(value[[0, 2]], unchanged[[0, 2]], rtol=1e-13)


def test_what_is_measured_when():
    ends = {"distance", "residual", "tcv_kmeans", "tcv_kmeans_relative"}
    for when, expected in (
        (dict(ends=False, last=False), set()),
        (dict(ends=True, last=False), ends - {"tcv_kmeans", "tcv_kmeans_relative"}),
        (dict(ends=True, last=True), ends),
        (dict(ends=True, last=True, kmeans=False), ends - {"tcv_kmeans", "tcv_kmeans_relative"}),
    ):
        found = measured(*instance(), **when)
        assert {key[3] for key in found.values} == {"grad_max", "dead_layers", "gram_block"} | expected
        assert {key[3] for key in found.of_sources} == (set(ensemble_measures.OF_PAIRS) if expected else set())
    assert not measured(*instance(), grams=False).sample_grams


@pytest.mark.parametrize(("per_class", "always"), [(16, True), (17, False)])
def test_blocks_of_at_most_64_samples_are_measured_at_every_point(per_class, always):
    """Between the ends too, with the value of the network as it is then; of more samples at the ends."""
    points = RandomPoints(classes=4, per_class=per_class, dimension=3, orthonormal=False).points()
    network = Perceptron(depth=2, width=5, activation="relu", inputs=points.inputs, num_outputs=4, seeds=[0])
    decays, of_inputs = torch.ones(1, 2, dtype=torch.float64), ("train", "features", "post", "gram_block")
    at_ends = measured(network, points, decays, kmeans=False).values
    between = measured(network, points, decays, ends=False, last=False, grams=False).values
    layers = {key[1:3] for key in at_ends if key[3] == "gram_block"}
    assert layers == {("features", "post"), ("head.1", "post"), ("head.2", "pre")}
    assert {key[1:3] for key in between if key[3] == "gram_block"} == (layers if always else set())
    if always:
        assert between[of_inputs].item() == at_ends[of_inputs].item()
        network.weights[0].data *= -1
        moved = measured(network, points, decays, ends=False, last=False).values
        assert moved[of_inputs].item() == at_ends[of_inputs].item()
        behind = ("train", "head.1", "post", "gram_block")
        assert moved[behind].item() != at_ends[behind].item()


@pytest.mark.parametrize(("per_class", "kept"), [(16, True), (17, False)])
def test_gram_matrices_of_at_most_64_samples_sorted_by_class(per_class, kept):
    points = RandomPoints(classes=4, per_class=per_class, dimension=3, orthonormal=False).points()
    points = points.with_centroids([True])  # collapsed: blocks that are constant, class by class
    network = Perceptron(depth=2, width=5, activation="relu", inputs=points.inputs, num_outputs=4, seeds=[0])
    found = measured(network, points, torch.ones(1, 2, dtype=torch.float64), kmeans=False).sample_grams
    assert list(found) == ([("features", "post"), ("head.1", "post"), ("head.2", "pre")] if kept else [])
    for gram in found.values():
        blocks = gram[0].reshape(4, 16, 4, 16)
        assert gram.shape == (1, 64, 64)
        assert torch.allclose(blocks, blocks[:, :1, :, :1].expand_as(blocks), rtol=1e-12, atol=1e-15)
        assert len(gram[0, ::16].round(decimals=6).unique(dim=0)) == 4


def test_a_float32_network_is_measured_in_double_precision_and_left_alone():
    network, points, decays = instance(torch.float32)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = measured(network, points, decays)
    everything = (*found.values.values(), *found.of_sources.values(), *found.sample_grams.values())
    assert {value.dtype for value in everything} == {torch.float64}
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    expected = naive(network, points, decays)
    for key in found.values:
        close = key[3] not in ("gram_block", "tcv_kmeans", "tcv_kmeans_relative")  # on inputs as the network has them
        assert torch.allclose(found.values[key], expected[key], rtol=1e-12 if close else 1e-6, atol=1e-13), key
