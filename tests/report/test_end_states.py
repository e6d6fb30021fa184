"""Which level each replica ended at: literals, a naive twin, and bugs that have to be seen."""

import math

import numpy as np
import pytest

from ncbench.report import end_states
from ncbench.report.end_states import classify, counted

INF, NAN = math.inf, math.nan
# Stable end states of K = 10, L = 2, n = 5, decay 2^-10 under cross-entropy, and the zero solution.
LEVELS = {"pairs": 0.080013, "t5": 0.081432, "6+2+2": 0.086082, "8+2": 0.088433, "dnc": 0.090662, "zero": math.log(10)}
STILL = 1e-9


def test_literals():
    losses = [0.0800131, 0.0814, 0.0908, 0.0886, 2.302585, 0.0800131, 0.0800131, NAN, INF, 0.08]
    gradients = [STILL, STILL, STILL, STILL, 0.0, 1.1e-5, NAN, STILL, NAN, INF]
    assert classify(losses, gradients, LEVELS) == [
        *("pairs", "t5", "no known level", "no known level", "zero"),
        *("not converged", "not converged", "diverged", "diverged", "diverged"),
    ]


def test_both_bounds_belong_to_what_they_bound():
    """In binary: 0.5 + 2^-10 is exactly 2^-10 from 0.5."""
    inside, outside = 0.5 + 2.0**-10, 0.5 + 2.0**-10 + 2.0**-40
    states = classify([inside, outside, 0.5], [STILL, STILL, 0.25], {"a": 0.5}, absolute=2.0**-10, stationary=0.25)
    assert states == ["a", "no known level", "a"]


def test_the_nearest_of_two_levels_counts_and_of_equal_ones_the_first():
    close = {"far": 0.08337, "near": 0.08346}  # 9e-5 apart: saddles of K = 10, L = 2
    assert classify([0.08344, 0.08338], [STILL] * 2, close) == ["near", "far"]
    assert classify([0.1], [STILL], {"pairs": 0.1, "polygon": 0.1}) == ["pairs"]
    assert classify([0.1], [STILL], {"undefined": NAN, "polygon": 0.1}) == ["polygon"]
    assert classify([0.1], [STILL], {"undefined": NAN}) == classify([0.1], [STILL], {}) == ["no known level"]
    assert classify([], [], LEVELS) == []


def naive(losses, gradients, levels, absolute, stationary):
    states = []
    for loss, gradient in zip(losses, gradients, strict=True):
        if math.isnan(loss) or math.isinf(loss) or math.isinf(gradient):
            states.append("diverged")
        elif math.isnan(gradient) or gradient > stationary:
            states.append("not converged")
        else:
            state, least = "no known level", absolute
            for name, level in levels.items():
                if abs(loss - level) < least:
                    state, least = name, abs(loss - level)
            states.append(state)
    return states


def test_against_a_naive_twin():
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.079, 0.092, 2000)
    gradients = 10 ** rng.uniform(-8, -2, 2000)
    for array, value in ((losses, NAN), (losses, INF), (gradients, NAN), (gradients, INF)):
        array[rng.integers(2000, size=20)] = value
    for absolute, stationary in ((1e-4, 1e-5), (2e-3, 1e-3)):
        found = classify(losses, gradients, LEVELS, absolute=absolute, stationary=stationary)
        assert found == naive(losses, gradients, LEVELS, absolute, stationary)
        assert set(found) > {"diverged", "not converged", "no known level", "pairs"}


@pytest.mark.parametrize(
    ("old", "new", "loss", "gradient"),
    [
        ("(gradient <= stationary)", "~(gradient > stationary)", 0.080013, NAN),  # not recorded is not arrived
        ("arrived & (distance", "(distance", 0.080013, 1.0),
        ("distance.min(axis=1) <= absolute", "distance.min(axis=1) <= 100 * absolute", 0.0895, STILL),
        ("~np.isfinite(loss) | np.isinf(gradient)", "np.isinf(loss) | np.isinf(gradient)", NAN, STILL),
    ],
)
def test_planted_bugs_are_seen(mutant, old, new, loss, gradient):
    right = classify([loss], [gradient], LEVELS)
    assert right == naive([loss], [gradient], LEVELS, 1e-4, 1e-5)
    assert mutant(end_states, old, new).classify([loss], [gradient], LEVELS) != right


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (([0.1], [0.1, 0.2], LEVELS), {}, r"losses of shape \(1,\) and gradients of shape \(2,\) must both be \(R,\)"),
        (([0.1], [0.1], LEVELS), {"absolute": 0.0}, "absolute=0.0 must be positive and finite"),
        (([0.1], [0.1], LEVELS), {"stationary": NAN}, "stationary=nan must be positive and finite"),
        (([0.1], [0.1], {"diverged": 0.1}), {}, r"levels=\['diverged'\] must not have the name of a state"),
    ],
)
def test_bad_input_is_refused(arguments, more, message):
    with pytest.raises(ValueError, match=message):
        classify(*arguments, **more)


def test_counts_are_in_the_order_of_the_levels_then_of_the_states():
    states = ["diverged", "dnc", "not converged", "pairs", "dnc", "no known level"]
    assert list(counted(states, LEVELS).items()) == [
        *(("pairs", 1), ("dnc", 2), ("no known level", 1), ("not converged", 1), ("diverged", 1)),
    ]
