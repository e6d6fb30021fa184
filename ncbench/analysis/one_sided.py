"""Does a function fall along rays from a point: for points on a kink, where derivatives from both sides differ.

At a kink of the ReLU a Hessian says nothing and an automatic gradient is one choice of many. Function values on the
ray x + t d, t > 0, need neither: the point is no local minimum if one of them falls however short the ray.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["OneSided", "one_sided_descent", "random_directions"]


class OneSided(NamedTuple):
    """Per direction d of unit norm, (D,) float64 each.

    slopes: (4 f(x + h d/2) - f(x + h d) - 3 f(x)) / h, the one-sided derivative up to h^2 f''' / 12.
    curvatures: (f(x + h d) - 2 f(x + h d/2) + f(x)) / (h/2)^2, the one-sided second derivative up to h f''' / 2.
    changes: f(x + h d) - f(x).
    """

    slopes: Tensor
    curvatures: Tensor
    changes: Tensor


def one_sided_descent(
    objective: Callable[..., Tensor],
    point: Sequence[Tensor],
    directions: Sequence[Sequence[Tensor]],
    step: float = 1e-4,
) -> OneSided:
    """How the objective changes along each direction, on its side t > 0 alone, from three function values.

    A negative change at steps that become short shows that the point is no local minimum: with a negative slope it is
    not even stationary, with a slope of 0 and a negative curvature it is a saddle on that ray. Positive changes on
    any number of directions prove nothing (a narrow cone can be missed): they are evidence, as many as there are.
    Rounding adds about 1e-15 |f| / step to slopes and 1e-14 |f| / step^2 to curvatures.

    Args:
        objective: function of the parameters that returns a 0-dimensional tensor.
        point: float64 tensors.
        directions: sequences of tensors of the point's shapes; each is divided by its norm over all of them.
        step: h > 0, the length of the ray.

    Raises:
        ValueError: not float64, shapes differ, a direction is zero, step not positive.
    """
    if not step > 0:
        raise ValueError(f"step must be positive, got {step}")
    if not point or any(p.dtype != torch.float64 for p in point):
        raise ValueError(f"point must be float64 tensors, got {[str(p.dtype) for p in point]}")
    shapes = [tuple(p.shape) for p in point]
    rows = []
    with torch.no_grad():
        start = float(objective(*point))
        for direction in directions:
            if [tuple(d.shape) for d in direction] != shapes:
                raise ValueError(
                    f"directions must have the point's shapes {shapes}, got {[d.shape for d in direction]}"
                )
            norm = float(torch.cat([d.flatten() for d in direction]).norm())
            if not norm > 0:
                raise ValueError(f"directions must not be zero, got one of norm {norm}")
            half, full = (
                float(objective(*[p + t / norm * d for p, d in zip(point, direction, strict=True)])) - start
                for t in (step / 2, step)
            )
            rows.append(((4 * half - full) / step, (full - 2 * half) / (step / 2) ** 2, full))
    return OneSided(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 3).unbind(1))


def random_directions(point: Sequence[Tensor], count: int, seed: int = 0) -> list[list[Tensor]]:
    """`count` directions of independent standard normal entries in the point's shapes, reproducible from the seed."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in point] for _ in range(count)]
