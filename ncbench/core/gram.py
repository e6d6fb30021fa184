"""The block structure of the Gram matrix of all samples: constant on every pair of classes after collapse.

Legend: Z (..., N, d) features, one row per sample; G = Z Z^T (..., N, N); mu_k class means, n_k counts.
"""

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64
from ncbench.core.moments import ClassMoments


def gram_block_deviation(Z: Tensor, labels: Tensor) -> Tensor:
    """Root mean square deviation of G = Z Z^T from its block means, over the standard deviation of its entries.

    Block (k, l) holds <z_i, z_j> for i in class k, j in class l; both averages run over all N^2 entries, the diagonal
    included (1/N^2, no Bessel correction). The picture of arXiv 2402.03991v3, Figure 5, as a number: 0 iff the classes
    have collapsed (DNC1), at most 1, and .92 to .99 in most random networks on random data (20 samples, 4 classes).

    Args:
        Z: (..., N, d), any real floating dtype.
        labels: (N,) integers, shared by the leading axes; any values, one class per different one.

    Returns:
        (...), float64; exactly 0 for identical samples in every class, NaN when G is constant (all samples coincide) or
        not finite. G itself is never formed: memory is O(N d + min(N, d)^2) per leading index.

    Raises:
        ValueError: shapes or dtypes that do not fit, or no samples.
    """
    if Z.ndim < 2 or 0 in Z.shape[-2:]:
        raise ValueError(f"Z must have shape (..., N, d) with N, d >= 1, got {tuple(Z.shape)}")
    Z = as_float64(Z)
    Z = Z / Z.abs().amax((-2, -1), keepdim=True)  # fourth powers of a dying network's features would underflow
    within = _square_deviation(Z, torch.unique(labels, return_inverse=True)[1])
    return (within / _square_deviation(Z, torch.zeros_like(labels))).sqrt()


def _square_deviation(Z: Tensor, labels: Tensor) -> Tensor:
    """||G - B||_F^2, B the block means of G: with D the deviations from the class means, rows M of class means,
    G - B = D D^T + D M^T + M D^T, and D^T M = 0 makes the three terms orthogonal:

        ||G - B||_F^2 = ||D D^T||_F^2 + 2 sum_k n_k ||D mu_k||^2,

    a sum of squares that loses no digits near collapse.
    """
    moments = ClassMoments.from_batch(Z, labels, int(labels.max()) + 1, scatter="none")
    D = (Z - moments.shift[..., labels, :]) - moments.offset[..., labels, :]  # identical rows: exactly 0
    smaller = D @ D.mT if D.shape[-2] <= D.shape[-1] else D.mT @ D
    cross = (moments.counts * (D @ moments.means.mT).square()).sum((-2, -1))
    return smaller.square().sum((-2, -1)) + 2 * cross
