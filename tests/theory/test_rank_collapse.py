"""Lines of neural rank collapse: printed numbers, by hand, twins, trained products at the boundary, refusals."""

import inspect
import math

import numpy as np
import pytest
import scipy.optimize

from ncbench.core import ClassMoments, total_cluster_variation
from ncbench.data import GaussianMixture
from ncbench.theory import rank_collapse
from ncbench.theory.factor_decay import factor_decay_mode
from ncbench.theory.rank_collapse import (
    FORMULAS,
    feedforward_singular_value,
    mixture_tcv,
    mixture_tcv_upper,
    noise_exists,
    noise_global,
    residual_norm_first,
    residual_norm_intermediate,
    residual_norm_last,
    ridge_gap,
)

SINGULAR_VALUES = {10: 1.4793, 2: 1.2606, 1: 1.1773, 0.1: 0.9459, 0.01: 0.7929, 0.001: 0.7268, 0: 0.7071}
NORMS = {  # first, intermediate, last: 6 layers, 4 classes, 5 samples each; as many digits as are known
    1: ("1.512", "0.8128", "1.512"),
    0.1: ("3.4554", "0.4812", "1.0927"),
    0.01: ("7.480", "0.2488", "0.748"),
    10: ("0.637", "1.249", "2.015"),
}
TOY = {"num_classes": 4, "per_class": 5}


@pytest.mark.parametrize(("delta", "value"), SINGULAR_VALUES.items())
def test_feedforward_reference_numbers(delta, value):
    singular_value = feedforward_singular_value(**TOY, num_samples=20, depth=5, first_width=16, delta=delta)
    assert singular_value == pytest.approx(value, abs=5.1e-5)


@pytest.mark.parametrize(("delta", "norms"), NORMS.items())
def test_residual_reference_numbers(delta, norms):
    for line, printed in zip((residual_norm_first, residual_norm_intermediate, residual_norm_last), norms, strict=True):
        digits = len(printed.partition(".")[2])
        assert line(**TOY, depth=6, delta=delta) == pytest.approx(float(printed), abs=0.51 * 10**-digits)


BY_HAND = {
    # sqrt(9) / 4 / (1/4 + 1/2)
    "ridge_gap": (dict(num_classes=1, dimension=10, noise=0.5, weight_decay=0.5, depth=1), 1.0),
    # .25 * 2 * (1 - 2/4)
    "mixture_tcv": (dict(num_samples=4, num_classes=2, dimension=2, noise=0.5), 0.25),
    # f = 2 * 2 = 4, t = 4: 9/4 (4 + 2 * 4 + 8)
    "mixture_tcv_upper": (
        dict(num_samples=4, num_classes=2, dimension=2, noise=3.0, probability=math.exp(-4)),
        45.0,
    ),
    # sqrt(27)/2 lam = sigma^2 (1 + 1/2)^2, sigma = (2/3) sqrt(2.598 lam)
    "noise_exists": (dict(num_samples=80, dimension=20, weight_decay=1e-2, depth=4), 0.10745699318235416),
    # 3 sqrt(3/2) = 3.674
    "noise_global": (dict(num_samples=80, dimension=20, weight_decay=1e-2, depth=4), 0.1277886208492545),
    # delta -> 0: n_1^(-1/(2 m)) = 16^(-1/8)
    "feedforward_singular_value": (
        dict(num_classes=4, per_class=5, num_samples=20, depth=5, first_width=16, delta=0),
        0.7071067811865476,
    ),
    # w (1 + w)^2 = sqrt(4 * 4) = 4 has the root w = 1 for L = 3: W_L has K = 9 values sqrt 2, W_1 those over 2
    "residual_norm_first": (dict(num_classes=9, per_class=4, depth=3, delta=4.0), 2.1213203435596424),
    "residual_norm_intermediate": (dict(num_classes=9, per_class=4, depth=3, delta=4.0), 3.0),
    "residual_norm_last": (dict(num_classes=9, per_class=4, depth=3, delta=4.0), 4.242640687119285),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_worked_by_hand(name):
    arguments, expected = BY_HAND[name]
    value = getattr(rank_collapse, name)(**arguments)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=1e-12)


def test_every_line_has_a_formula_and_takes_facts_of_a_run_by_name():
    assert set(FORMULAS) == set(BY_HAND) == set(rank_collapse.__all__) - {"FORMULAS"}
    facts = {"num_classes", "per_class", "num_samples", "dimension", "depth", "first_width"}
    facts |= {"weight_decay", "delta", "noise"}
    for name in FORMULAS:
        parameters = inspect.signature(getattr(rank_collapse, name)).parameters.values()
        assert {parameter.name for parameter in parameters if parameter.default is parameter.empty} <= facts


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ridge_gap", "dimension, noise, _decay(", "dimension, noise**2, _decay("),
        ("noise_exists", "lam, factor_decay_thresholds(depth).exists", "lam, factor_decay_thresholds(depth).is_global"),
        ("noise_global", "lam, factor_decay_thresholds(depth).is_global", "lam, factor_decay_thresholds(depth).exists"),
        ("noise_exists", "math.sqrt(threshold * lam)", "threshold * lam"),
        ("noise_exists", "math.sqrt(dimension / num_samples)", "math.sqrt(num_samples / dimension)"),
        ("mixture_tcv", "(1 - num_classes / num_samples)", "(1 - 1 / num_samples)"),
        ("mixture_tcv", "sigma**2 *", "2 * sigma**2 *"),
        ("mixture_tcv", "sigma**2 *", "sigma *"),
        ("mixture_tcv_upper", "math.log(1 / probability)", "1 / probability"),
        ("mixture_tcv_upper", "dimension, num_samples, num_classes", "dimension, num_samples, 1"),
        ("feedforward_singular_value", "depth - 1, delta", "depth, delta"),
        ("residual_norm_first", "[math.sqrt(n)]", "[n]"),
        ("residual_norm_intermediate", "delta).intermediate.norm()", "delta).intermediate[0]"),
        ("residual_norm_last", "delta).last", "delta).first"),
    ],
)
def test_a_planted_bug_is_caught(mutant, name, old, new):
    arguments, expected = BY_HAND[name]
    assert getattr(mutant(rank_collapse, old, new), name)(**arguments) != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("targets", ["inputs", "labels"])
def test_variation_of_drawn_blobs_is_that_of_the_lines(targets):
    """400 draws of the data set itself, measured as a run measures its inputs: `tcv` of the layer `features`."""
    facts = dict(num_samples=60, num_classes=3, dimension=5)
    drawn, joint = [], []
    for seed in range(400):
        data = GaussianMixture(classes=3, num_samples=60, dimension=5, noise=0.3, targets=targets, seed=seed)
        points = data.points()
        of = [ClassMoments.from_batch(x[0], points.labels, 3) for x in (points.inputs, points.targets)]
        drawn.append(total_cluster_variation(of[0]).item())
        joint.append(drawn[-1] + total_cluster_variation(of[1]).item())
    drawn = np.array(drawn)
    expected = mixture_tcv(**facts, noise=0.3)
    assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / 20)
    assert abs(drawn.mean() / expected - 1) < 0.01  # K/N = 5 % would be seen, and the variance around the true means
    np.testing.assert_allclose(joint, (2 if targets == "inputs" else 1) * drawn, rtol=1e-12)
    for probability in (0.3, 0.05, 0.01):
        upper = mixture_tcv_upper(**facts, noise=0.3, probability=probability)
        assert (drawn > upper).mean() <= probability
        assert expected < upper < 1.5 * expected
    assert mixture_tcv_upper(**facts, noise=0.3) == mixture_tcv_upper(**facts, noise=0.3, probability=0.01)
    # The draws are shared: another noise is the same test of the mean.
    data = GaussianMixture(classes=3, num_samples=60, dimension=5, noise=0.3).points([0.1, 0.6])
    ratios = [
        total_cluster_variation(ClassMoments.from_batch(x, data.labels, 3)).item() / mixture_tcv(**facts, noise=noise)
        for x, noise in zip(data.inputs, (0.1, 0.6), strict=True)
    ]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-10)


def test_noise_ratios_of_four_factors():
    """sigma / sqrt(lam) = (1.61, 1.92) / (1 + sqrt(d/N)), whatever lam; (1.22, 1.46) at N = 200, d = 20."""
    for lam in (3e-4, 1e-2):
        facts = dict(num_samples=200, dimension=20, weight_decay=lam, depth=4)
        ratios = [line(**facts) / math.sqrt(lam) for line in (noise_exists, noise_global)]
        np.testing.assert_allclose(ratios, [1.22, 1.46], atol=0.006)
        np.testing.assert_allclose(np.array(ratios) * (1 + math.sqrt(0.1)), [1.61, 1.92], atol=0.005)
    assert noise_exists(200, 20, 0.01, 1) == 0
    assert noise_exists(200, 20, 0.01, 2) == noise_global(200, 20, 0.01, 2)


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_at_the_boundary_the_largest_noise_mode_of_a_sample_appears(depth):
    """Naive twin: the sigma at which the first mode of drawn noise gets a minimum, and at which that is global."""
    N, d, lam = 4000, 200, 2e-3
    noise = np.random.default_rng(0).standard_normal((N, d))
    largest = np.linalg.eigvalsh(noise.T @ noise / N)[-1]
    for line, minimum in ((noise_exists, "local_minimiser"), (noise_global, "global_minimiser")):

        def alive(sigma, minimum=minimum):
            return float(getattr(factor_decay_mode(sigma**2 * largest, lam, depth), minimum) > 0) - 0.5

        twin = scipy.optimize.bisect(alive, 1e-3, 1.0)
        assert line(N, d, lam, depth) == pytest.approx(twin, rel=0.01)


@pytest.mark.parametrize("delta", [0.01, 1.0, 10.0])
def test_lines_are_the_least_cost(delta):
    """Naive twins: the costs minimised over one number for K equal modes."""
    K, n, L, n_1 = 4, 5, 5, 16
    N, m = K * n, L - 1

    def feedforward(t):
        s = (math.sqrt(K / (n_1 * N)) * math.sqrt(n) / math.tanh(math.exp(t))) ** (1 / m)
        return m * K * s**2 + delta * N * n_1 * math.exp(2 * t), s

    best = scipy.optimize.minimize_scalar(lambda t: feedforward(t)[0], bracket=(-3, -1), tol=1e-12)
    assert feedforward_singular_value(K, n, N, L, n_1, delta) == pytest.approx(feedforward(best.x)[1], rel=1e-6)

    def residual(x):
        first, w = math.exp(x[0]), math.exp(x[1])
        last = math.sqrt(n) / first / (1 + w) ** (L - 2)
        return delta * first**2 + (L - 2) * w**2 + last**2

    best = scipy.optimize.minimize(residual, [0.0, -1.0], options={"gtol": 1e-9})
    first, w = np.exp(best.x)
    last = math.sqrt(n) / first / (1 + w) ** (L - 2)
    norms = [line(K, n, L, delta) for line in (residual_norm_first, residual_norm_intermediate, residual_norm_last)]
    np.testing.assert_allclose(norms, math.sqrt(K) * np.array([first, w, last]), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ridge_gap(5, 4, 0.1, 0.1, 1), "dimension must be an integer of at least 5.*, got 4"),
        (lambda: ridge_gap(2, 4, 0.0, 0.1, 1), "noise must be positive.*, got 0.0"),
        (lambda: ridge_gap(2, 4, 0.1, 0.1, 4), r"depth must be 1 for ridge on the product \(one matrix\), got 4"),
        (lambda: mixture_tcv(3, 4, 5, 0.1), "num_samples must be an integer of at least 4.*, got 3"),
        (lambda: mixture_tcv(4, 0, 5, 0.1), "num_classes must be an integer of at least 1.*, got 0"),
        (lambda: mixture_tcv(4, 2, 0, 0.1), "dimension must be an integer of at least 1.*, got 0"),
        (lambda: mixture_tcv(4, 2, 5, 0.0), "noise must be positive.*, got 0.0"),
        (lambda: mixture_tcv_upper(4, 2, 5, 0.1, 1.0), r"probability must lie in \(0, 1\), got 1.0"),
        (lambda: mixture_tcv_upper(4, 2, 5, 0.1, 0.0), r"probability must lie in \(0, 1\), got 0.0"),
        (lambda: noise_exists(0, 4, 0.1, 4), "num_samples must be an integer of at least 1.*, got 0"),
        (lambda: noise_exists(9, 0, 0.1, 4), "dimension must be an integer of at least 1.*, got 0"),
        (lambda: noise_global(9, 4, 0.0, 4), "weight_decay must be positive.*, got 0.0"),
        (lambda: noise_global(9, 4, 0.1, 0), "depth must be an integer of at least 1.*, got 0"),
        (
            lambda: feedforward_singular_value(4, 5, 20, 1, 16, 1.0),
            "regularised_layers must be an integer of at least 1.*, got 0",
        ),
        (
            lambda: feedforward_singular_value(4, 5, 20, 5, 3, 1.0),
            "first_width must be an integer of at least 4.*, got 3",
        ),
        (lambda: residual_norm_first(4, 0, 6, 1.0), "per_class must be positive.*, got 0.0"),
        (lambda: residual_norm_last(0, 5, 6, 1.0), "num_classes must be an integer of at least 1.*, got 0"),
        (lambda: residual_norm_last(4, 5, 6, 0.0), "delta must be positive.*, got 0.0"),
        (lambda: residual_norm_intermediate(4, 5, 2, 1.0), "depth must be an integer of at least 3.*, got 2"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("delta", "factor"), [(1 / 16, 1 / 2), (1.0, 1.0), (16.0, 2.0)])
def test_the_first_layers_decay_counts_with_its_root(delta, factor):
    """delta^(1/4) is 1/2, 1 and 2, and sigma goes with the root of the decay."""
    facts = dict(num_samples=80, dimension=20, weight_decay=1e-2, depth=4)
    for line, of_one in ((noise_exists, 0.10745699318235416), (noise_global, 0.1277886208492545)):
        assert line(**facts, delta=delta) == pytest.approx(of_one * math.sqrt(factor), rel=1e-12)
    one = dict(num_classes=2, dimension=6, noise=0.5, depth=1)
    assert ridge_gap(**one, weight_decay=0.1, delta=delta) == ridge_gap(**one, weight_decay=0.1 * delta)


@pytest.mark.parametrize("delta", [1e-2, 5.0])
def test_a_noise_mode_is_best_from_the_line_on(delta):
    """Naive: one mode of variance s^2 through L scalar factors, s^2 (1 - w_1 ... w_L)^2 + lam (delta w_1^2 + ...)."""
    lam, L, N, d = 1e-2, 4, 80, 20

    def least(variance):
        weights = np.array([lam * delta] + [lam] * (L - 1))
        cost = lambda w: variance * (1 - w.prod()) ** 2 + (weights * w**2).sum()  # noqa: E731
        balanced = (weights.prod() ** (1 / L) / weights) ** 0.5
        ends = [
            scipy.optimize.minimize(cost, scale * balanced, method="BFGS", tol=1e-12).fun for scale in (0.7, 1.0, 1.3)
        ]
        return min(ends) - variance  # the mode given up

    edge = (noise_global(N, d, lam, L, delta) * (1 + math.sqrt(d / N))) ** 2
    assert least(1.02 * edge) < -1e-6
    assert least(0.98 * edge) > -1e-9
