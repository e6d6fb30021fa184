"""Draws from 64 bits, of Python's, numpy's and torch's generators, which are afterwards as they were."""

# ruff: noqa: NPY002 - numpy's global generator is what transforms draw from
import random

import numpy as np
import pytest
import torch

from ncbench.data import draws
from ncbench.data.draws import Draws, drawing


def three():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_draws_are_seeded_and_leave_the_generators_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = [three(), three()]
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert three() == expected[0]
    with drawing(-5):
        inside = [three(), three()]
    assert three() == expected[1]
    stream = Draws(-5)
    with stream.resumed():
        first = three()
    three()
    with stream.resumed():
        assert [first, three()] == inside
    with pytest.raises(RuntimeError, match="planted"), drawing(3):
        raise RuntimeError("planted")
    with drawing(-5):
        assert three() == inside[0]


@pytest.mark.parametrize("generator", ["random.setstate(states[0])", "np.random.set_state(states[1])"])
def test_a_generator_that_is_not_restored_is_seen(mutant, generator):
    broken = mutant(draws, generator, "pass")
    random.seed(1)
    np.random.seed(1)
    before = three()[:2]
    random.seed(1)
    np.random.seed(1)
    with broken.drawing(0):
        three()
    assert three()[:2] != before
