"""Where random initial values come from, by the name of a generator that a configuration gives."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ncbench.models.counter_normals import normals, orthonormal

__all__ = ["GENERATORS", "check_generator", "fan_in_deviation", "orthonormal_matrix", "standard_normals", "start_draws"]

GENERATORS = ("torch", "philox")
_VALUES, _NOISE, _FRAMES = range(3)  # what words of the counter-based generator are drawn for

Noise = Callable[[int, Sequence[int]], Tensor]  # of parameter number i, of this shape
Frames = Callable[[int, int, int], Tensor]  # Q_l of l and its rows and columns


def check_generator(generator: str) -> None:
    """ValueError of one line for a name that is none of GENERATORS."""
    if generator not in GENERATORS:
        raise ValueError(f"init_generator={generator} must be {' or '.join(GENERATORS)}")


def standard_normals(generator: str, seed: int, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """N(0, 1) numbers in float64 for the parameters 0, 1, 2, ... of one network, a tensor of each shape.

    "torch": from one torch.Generator with this seed, one parameter after the other, so that the values of a parameter
    depend on the shapes before it; which bits they have depends on the processor. "philox": `normals` of (seed,
    number of the parameter), the same bits on every machine, whatever the other shapes.
    """
    if generator == "philox":
        return [torch.from_numpy(normals(seed, number, shape, _VALUES)) for number, shape in enumerate(shapes)]
    drawing = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=drawing, dtype=torch.float64) for shape in shapes]


def fan_in_deviation(scale: float, fan_in: int) -> float:
    """g / sqrt(fan_in), by a division and a square root that are correctly rounded."""
    return scale / math.sqrt(fan_in)


def orthonormal_matrix(seed: int, number: int, rows: int, columns: int) -> Tensor:
    """Parameter `number` of a network as `orthonormal` makes it, in float64: the same bits on every machine."""
    return torch.from_numpy(orthonormal(seed, number, rows, columns, _VALUES))


def start_draws(generator: str, seed: int) -> tuple[torch.Generator | Frames, Noise]:
    """What draws the frames and the noise of a start at a solution, in this order.

    Of "torch" both are one generator with this seed. Of "philox" frame l and the noise of parameter i have words of
    their own, which are none of those of `standard_normals`.
    """
    if generator == "philox":
        return (
            lambda l, rows, columns: torch.from_numpy(orthonormal(seed, l, rows, columns, _FRAMES)),
            lambda i, shape: torch.from_numpy(normals(seed, i, tuple(shape), _NOISE)),
        )
    drawing = torch.Generator().manual_seed(seed)
    return drawing, lambda i, shape: torch.randn(*shape, generator=drawing, dtype=torch.float64)
