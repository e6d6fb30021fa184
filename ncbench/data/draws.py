"""What is drawn at random, as a function of 64 bits: by Python's, numpy's and torch's (CPU) generators alike.

Datasets, networks and transforms of anybody's draw from any of the three.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Draws", "drawing", "seed_generators"]


class Draws:
    """A stream of draws of Python's, numpy's and torch's (CPU) generators, seeded by 64 bits."""

    def __init__(self, word: int) -> None:
        with drawing(word):
            self._states = _states()

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Inside, the generators go on with this stream; afterwards they are as before."""
        before = _states()
        _restore(self._states)
        try:
            yield
        finally:
            self._states = _states()
            _restore(before)


@contextmanager
def drawing(word: int) -> Iterator[None]:
    """Inside, the generators draw what 64 bits seed; afterwards they are as before."""
    before = _states()
    try:
        seed_generators(word)
        yield
    finally:
        _restore(before)


def seed_generators(word: int) -> None:
    """Python's, NumPy's and torch's generators draw from now on what 64 bits seed; those of GPUs are left alone."""
    random.seed(word)
    np.random.seed(word & (2**32 - 1))  # noqa: NPY002 - what transforms and networks draw from
    torch.default_generator.manual_seed(word)  # not torch.manual_seed, which reseeds the GPUs too


def _states() -> tuple[Any, Any, Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _restore(states: tuple[Any, Any, Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
