"""Measures of an ensemble on its data: by hand in one dimension, and where networks were trained to stationarity."""

import math
from functools import partial

import pytest
import torch

from ncbench.analysis import ensemble_bounds
from ncbench.data import GaussianMixture, PointSet
from ncbench.models.replica import LBFGS, EnsembleLBFGS, Layout, LBFGSState, Perceptron, SquaredError
from ncbench.training import ensemble_measures as stack_measures

NAN = math.nan


def measured(network, points, decays, *, matched_pairs=(), kmeans=False, grams=False, kind=stack_measures):
    measures = kind.EnsembleMeasures(network, points, decays, matched_pairs=matched_pairs, kmeans=kmeans)
    return measures.measure(ends=True, last=True, grams=grams)


def one_dimension(w_1, w_2, decays):
    """Linear autoencoders w_2 w_1 of the points 1, 3 and -1, -3: class means 2 and -2."""
    x = torch.tensor([[[1.0], [3.0], [-1.0], [-3.0]]], dtype=torch.float64)
    points = PointSet(x, x, torch.tensor([0, 0, 1, 1]), 2, autoencoder=True)
    options = dict(depth=2, width=1, activation="linear", num_outputs=1, biases=False)
    network = Perceptron(**options, inputs=x, seeds=range(len(w_1)))
    for W, values in zip(network.weights, (w_1, w_2), strict=True):
        W.data[:, 0, 0] = torch.tensor(values, dtype=torch.float64)
    return network, points, torch.tensor(decays, dtype=torch.float64)


def test_worked_by_hand():
    # p = w_2 w_1 = 1/2, so f - y = -x/2; the mean of x^2 is 5, of the class means' 4: dL/dp = -5, there -4. With the
    # decay the gradients are -5/2 + 2 = -1/2 and -5 + 1 = -4.
    found = measured(*one_dimension([1.0], [0.5], [[1.0, 1.0]]), kmeans=True, grams=True)
    expected = {
        ("train", "", "", "grad_max"): 4.0,
        ("", "", "", "dead_layers"): 0.0,
        ("", "head.1", "weight", "distance"): 0.0,
        ("", "head.2", "weight", "distance"): 0.0,
        ("", "head.1", "weight", "residual"): 0.25,
        ("", "head.2", "weight", "residual"): 2.0,
        ("", "head.1", "weight", "rank_bound", "features"): 0.25,  # |-5 + 4| w_2 / 2
        ("", "head.2", "weight", "rank_bound", "features"): 0.5,
        ("", "head.2", "weight", "rank_bound", "head.1"): 0.5,
        ("", "head.1", "weight", "tightness", "features"): 0.0,
        ("", "head.2", "weight", "tightness", "features"): 0.0,
        ("", "head.2", "weight", "tightness", "head.1"): 0.0,
        # The gradients 2 (p x - y) x times the other weight have the remainders 2 |p - 1| = 1 times it; TCV = 1 + 1.
        ("", "head.1", "weight", "curvature", "features"): 0.5,
        ("", "head.2", "weight", "curvature", "features"): 1.0,
        ("", "head.2", "weight", "curvature", "head.1"): 1.0,
        ("", "head.1", "weight", "tcv_bound", "features"): 0.25,
        ("", "head.2", "weight", "tcv_bound", "features"): 0.5,
        ("", "head.2", "weight", "tcv_bound", "head.1"): 0.5,
        ("", "head.2", "weight", "tcv_bound_analytic", "head.1"): 0.5 + 1.25**0.5,
        ("", "head.1", "weight", "tcv_tightness", "features"): 0.0,
        ("", "head.2", "weight", "tcv_tightness", "features"): 0.0,
        ("", "head.2", "weight", "tcv_tightness", "head.1"): 0.0,
        ("", "head.2", "weight", "tcv_tightness_analytic", "head.1"): 0.0,
        # c = 5 and two factors: the mode wants 1 - lam/c = .8, is .5, and 0 is farther.
        ("train", "", "", "mode_error"): 0.3,
        ("train", "", "", "modes_alive"): 1.0,
    }
    for layer, stage, scale in (("features", "post", 1.0), ("head.1", "pre", 1.0), ("head.2", "pre", 0.25)):
        # x_i x_j: variance 400/16, of its deviations from the block means (16 + 128)/16; the classes are 1 wide.
        expected["train", layer, stage, "gram_block"] = 0.6
        expected["train", layer, stage, "tcv_kmeans"] = scale
        expected["train", layer, stage, "tcv_kmeans_relative"] = 0.2
        gram = scale * torch.tensor([[1, 3, -1, -3], [3, 9, -3, -9], [-1, -3, 1, 3], [-3, -9, 3, 9]]).double()
        assert torch.equal(found.sample_grams[layer, stage][0], gram)
    values = {key: value.item() for key, value in {**found.values, **found.of_sources}.items()}
    assert values == pytest.approx(expected, rel=1e-12, abs=1e-12)


DECAYS = [[1.0, 1.0], [0.5, 2.0], [0.0, 1.0]]


def of_products(kind=stack_measures):
    """mode_error and centroid_distance of p = 1/2, .85 and .7; the first two are matched_pairs."""
    found = measured(*one_dimension([1.0, 0.5, 1.0], [0.5, 1.7, 0.7], DECAYS), matched_pairs=[(0, 1)], kind=kind).values
    return [found["train", "", "", name].tolist() for name in ("mode_error", "centroid_distance")]


# The least of .5 w_1^2 + 2 w_2^2 at w_1 w_2 = p is 2 |p|, as with decay 1 on both; without decay there is no theory.
EXPECTED = [pytest.approx([0.3, 0.05, NAN], rel=1e-12, nan_ok=True), pytest.approx([0.35, NAN, NAN], nan_ok=True)]


def test_matched_pairs_and_unequal_decays_by_hand():
    assert of_products() == EXPECTED
    assert ("train", "", "", "centroid_distance") not in measured(*one_dimension([1.0], [0.5], DECAYS[:1])).values


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.decays.log().mean(1).exp()", "self.decays[:, -1]"),
        ("self.decays.log().mean(1).exp()", "self.decays.mean(1)"),
        ("(P[on_samples] - P[on_means])", "(P[on_samples] + P[on_means])"),
        ("distance[on_samples] =", "distance[on_means] ="),
        ("error.where(lam > 0, torch.nan)", "error"),
    ],
)
def test_planted_bugs_are_found(old, new, mutant):
    assert of_products(mutant(stack_measures, old, new)) != EXPECTED


def trained(points, depth, decays, seeds, **options):
    """Networks at a stationary point."""
    network = Perceptron(depth=depth, inputs=points.inputs, num_outputs=points.targets.shape[2], seeds=seeds, **options)
    layout = Layout(network)
    state = LBFGSState(len(seeds), layout.size, 20, torch.float64)
    state.restart(layout.gather(network))
    problem_of = partial(SquaredError, network, layout, points.inputs, points.targets, decays)
    EnsembleLBFGS(problem_of, points.inputs.shape[1], state, LBFGS(), 1e-10).advance(5000)
    assert state.code.tolist() == [1] * len(seeds)
    layout.scatter(state.x, network)
    return network


def test_modes_of_trained_autoencoders_are_those_of_the_geometric_mean_of_the_decays():
    points = GaussianMixture(classes=3, num_samples=30, dimension=4, noise=0.3).points()
    decays = torch.tensor([[0.02, 0.02, 0.02], [0.2, 0.02, 0.02], [0.002, 0.02, 0.02]], dtype=torch.float64)
    network = trained(points, 3, decays, [0, 1, 2], width=6, activation="linear", biases=False, init_scale=2.0)
    found = measured(network, points, decays).values
    assert found["train", "", "", "grad_max"].max() <= 1.01e-10
    assert found["train", "", "", "mode_error"].max() <= 1e-7
    assert found["train", "", "", "modes_alive"].min() >= 2


def attained():
    """x = (1, +-b), y = (A, +-B): one layer's W_22 = b B / (b^2 + lam) is both sides of the bound at its minimum."""
    b, A, B, lam = 0.5, 4.0, 3.0, 0.4
    x, y = torch.tensor([[[1.0, b], [1.0, -b]], [[A, B], [A, -B]]], dtype=torch.float64)
    points = PointSet(x[None], y[None], torch.tensor([0, 0]), 1)
    decays = torch.full((1, 1), lam, dtype=torch.float64)
    return (
        trained(points, 1, decays, [0], width=[], activation="tanh", biases=False),
        points,
        decays,
        b * B / (b**2 + lam),
    )


def test_the_bound_holds_and_a_smaller_one_is_found_out(mutant, monkeypatch):
    *arguments, W_22 = attained()
    key = ("", "head.1", "weight", "tightness", "features")
    found = measured(*arguments)
    assert found.values["", "head.1", "weight", "distance"].item() == pytest.approx(W_22, rel=1e-8)
    assert found.of_sources["", "head.1", "weight", "rank_bound", "features"].item() == pytest.approx(W_22, rel=1e-8)
    assert found.of_sources[key].item() == pytest.approx(1.0, rel=1e-8)
    half = mutant(ensemble_bounds, "gap / twice[l - 1]", "gap / (2 * twice[l - 1])")
    monkeypatch.setattr(stack_measures, "ensemble_rank_bounds", half.ensemble_rank_bounds)
    assert measured(*arguments).of_sources[key].item() == pytest.approx(2.0, rel=1e-8)
