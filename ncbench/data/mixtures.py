"""Points that are drawn: Gaussian mixtures, and random or orthonormal inputs.

Source: arXiv 2402.03991, Section 4, Proposition 4.1 (Gaussian mixtures); Section 4 of its version 3 (small sets with a
few points per class). What the paper does not give (N, d, the radius of the means) is an argument here.
Letters: K classes, N samples, d dimensions, sigma the noise.
"""

import math
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from ncbench.data.order import hash64
from ncbench.data.points import PointSet, one_hot_targets, refuse_noises

__all__ = ["GaussianMixture", "RandomPoints"]

# The word of this purpose, after those of `ncbench.data.order`. Networks seed their generators with the plain seed:
# with the same one here, the first rows of W_1 would be parallel to the means.
POINTS = 4


class _Drawn(pl.LightningDataModule):
    """K balanced classes of drawn points, sorted by class; nothing to prepare and nothing to set up."""

    def __init__(self, classes: int, per_class: int, dimension: int) -> None:
        super().__init__()
        self.num_classes = classes
        self.per_class = per_class
        self.dimension = dimension

    @override
    def setup(self, stage: str | None = None) -> None:
        pass  # the points are drawn when the object is made

    @property
    def labels(self) -> Tensor:
        """(N,) int64"""
        return torch.arange(self.num_classes).repeat_interleave(self.per_class)


class GaussianMixture(_Drawn):
    """x_i = m_{y_i} + sigma eps_i, i = 1 ... N: K means m on a sphere of R^d, eps standard normal.

    The means are uniform on the sphere. Means and eps are drawn once, in float64, from a generator of their own: the
    same seed gives the same of both at every noise, and the same means for every `num_samples`.

    Args:
        classes: K >= 2.
        num_samples: N, a multiple of K.
        dimension: d >= 1.
        noise: sigma >= 0, of `points()` without noise levels.
        radius: of the sphere, > 0; 2 by default (the paper's value is not given).
        targets: "inputs" for an autoencoder, "labels" for one-hot targets.
        seed: of the draw.

    Attributes: `means` (K, d), `eps` (N, d), `labels` (N,), `num_classes`, `per_class`, `dimension`.

    Raises:
        ValueError: an argument out of its range.

    >>> data = GaussianMixture(classes=2, num_samples=6, dimension=3, noise=0.1)
    >>> data.points([0.0, 0.1, 0.5]).inputs.shape
    torch.Size([3, 6, 3])
    """

    def __init__(
        self,
        *,
        classes: int,
        num_samples: int,
        dimension: int,
        noise: float,
        radius: float = 2.0,
        targets: str = "inputs",
        seed: int = 0,
    ) -> None:
        _at_least(classes=(classes, 2), num_samples=(num_samples, 1), dimension=(dimension, 1))
        if num_samples % classes:
            raise ValueError(f"num_samples={num_samples} must be a multiple of the number of classes ({classes})")
        if not (math.isfinite(radius) and radius > 0):
            raise ValueError(f"radius={radius} must be positive and finite")
        if targets not in ("inputs", "labels"):
            raise ValueError(f"targets={targets} must be inputs or labels")
        super().__init__(classes, num_samples // classes, dimension)
        self.noise = _checked_noise("noise", noise)
        self.targets = targets
        generator = _generator(seed)
        directions = torch.randn(classes, dimension, generator=generator, dtype=torch.float64)
        self.means = radius * directions / directions.norm(dim=1, keepdim=True)
        self.eps = torch.randn(num_samples, dimension, generator=generator, dtype=torch.float64)

    def points(self, noises: Sequence[float] | None = None) -> PointSet:
        """The points at the noise of the configuration, one set (1, N, d); with `noises` one replica each (R, N, d).

        Raises ValueError for no noise level, or one that is negative or not finite.
        """
        levels = [self.noise] if noises is None else [_checked_noise("noises", sigma) for sigma in noises]
        if not levels:
            raise ValueError("noises=[] must hold at least one noise level")
        sigma = torch.tensor(levels, dtype=torch.float64)[:, None, None]
        labels = self.labels
        inputs = self.means[labels] + sigma * self.eps
        if self.targets == "inputs":
            return PointSet(inputs, inputs, labels, self.num_classes, autoencoder=True)
        return PointSet(inputs, one_hot_targets(labels, self.num_classes), labels, self.num_classes)


class RandomPoints(_Drawn):
    """K classes of n inputs each in R^d that know nothing of their class, with one-hot targets.

    `orthonormal`: the N = K n inputs are orthonormal, uniformly (the Q of a Gaussian d x N matrix), N <= d; otherwise
    their entries are independent N(0, 1/d). Drawn once, in float64, from a generator of its own with the seed `seed`.

    Raises ValueError for classes < 2, per_class < 1, dimension < 1, or more orthonormal inputs than dimensions.

    >>> x = RandomPoints(classes=2, per_class=2, dimension=5).points().inputs[0]
    >>> (x @ x.T).round(decimals=12).abs().diagonal().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self, *, classes: int, per_class: int, dimension: int, orthonormal: bool = True, seed: int = 0
    ) -> None:
        _at_least(classes=(classes, 2), per_class=(per_class, 1), dimension=(dimension, 1))
        N = classes * per_class
        if orthonormal and dimension < N:
            raise ValueError(f"dimension={dimension} must be at least {N}, as {N} inputs are to be orthonormal")
        super().__init__(classes, per_class, dimension)
        G = torch.randn(dimension, N, generator=_generator(seed), dtype=torch.float64)
        if orthonormal:
            Q, upper = torch.linalg.qr(G)
            # With the diagonal of R positive the factors are unique: uniform, and the same from every LAPACK.
            self.inputs = (Q * upper.diagonal().sign()).mT.contiguous()
        else:
            self.inputs = G.mT.contiguous() / dimension**0.5

    def points(self, noises: Sequence[float] | None = None) -> PointSet:
        """The points, one set (1, N, d). Raises ValueError where noise levels are asked for: there are none."""
        refuse_noises(noises)
        labels = self.labels
        return PointSet(self.inputs[None], one_hot_targets(labels, self.num_classes), labels, self.num_classes)


def _at_least(**bounds: tuple[int, int]) -> None:
    for argument, (value, low) in bounds.items():
        if not isinstance(value, int) or value < low:
            raise ValueError(f"{argument}={value} must be an integer, at least {low}")


def _checked_noise(argument: str, sigma: float) -> float:
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"{argument}={sigma} must be finite and at least 0")
    return float(sigma)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(hash64(seed, POINTS)))
