"""Within-class variability against between-class separation: NC1 / DNC1 in its published forms, TCV, CDNV.

Legend: mu_c class means, mu_G their unweighted mean, n_c counts, N samples, K classes;
Sigma_W = 1/N sum_i (h_i - mu_c)(h_i - mu_c)^T, Sigma_B = 1/K sum_c (mu_c - mu_G)(mu_c - mu_G)^T.
Every function takes ClassMoments and returns float64 of shape (...), one value per replica.

Unchecked moments (see `ClassMoments.finalise`) with an empty class, a label out of range or non-finite
features give NaN, never a number; an empty class alone leaves the total cluster variation defined.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ncbench.core._linalg import as_float64, thin_svd
from ncbench.core.geometry import centred_rows
from ncbench.core.moments import ClassMoments

Convention = Literal["papyan", "rhubarbwu", "parker", "he-su"]


def total_cluster_variation(moments: ClassMoments, scale_free: bool = False) -> Tensor:
    """Total cluster variation under the partition by labels: (1/N) sum_c sum_{i in c} ||h_i - mu_c||^2.

    arXiv 2402.03991, Section 3. An upper bound on the minimum over partitions; the label part of the joint
    variation is zero, since labels agree within a class. An empty class adds nothing: "at most K sets".

    Args:
        moments: with scatter "trace" or "full".
        scale_free: divide by the total variance (1/N) sum_i ||h_i - hbar||^2, hbar the mean of all samples:
            a number in [0, 1] that does not shrink with the features.

    Returns:
        (...); exactly 0 for identical samples in every class; NaN for scale_free when all samples coincide.
    """
    shares = moments.counts.to(torch.float64) / moments.counts.sum()
    within = moments.required_within_trace().sum(-1) / moments.counts.sum()
    if not scale_free:
        return within
    # The mean of an empty class is NaN, and its share is none: that of another class stands in its place.
    present = moments.counts > 0
    other = moments.means.index_select(-2, present.to(torch.int8).argmax(keepdim=True))
    deviation = centred_rows(torch.where(present[:, None], moments.means, other), shares)
    return within / (within + (shares * deviation.square().sum(-1)).sum(-1))


def scatter_ratio(moments: ClassMoments) -> Tensor:
    """DNC1, recorded as the measure `dnc1`: tr Sigma_W / tr Sigma_B.

    arXiv 2405.14468, Section 6; "quotient" of rhubarbwu/neural-collapse. Class means are weighted equally
    in Sigma_B. The headline measure of collapse: it needs no inverse, so it stays meaningful when the class
    means have low rank.

    Returns:
        (...); 0 for zero within-class variance, inf when only the means coincide (K = 1 included), NaN for
        0/0.
    """
    deviation = centred_rows(moments.means)
    between = deviation.square().sum((-2, -1)) / deviation.shape[-2]
    return moments.required_within_trace().sum(-1) / moments.counts.sum() / between


def rounding_floor(moments: ClassMoments, dtype: torch.dtype) -> Tensor:
    """The total cluster variation that rounding the features to `dtype` can make or hide.

    (u^2 / N) sum_c n_c ||mu_c||^2 with the unit roundoff u = eps/2 of `dtype`, the dtype the features had
    before `from_batch`: a smaller `total_cluster_variation` cannot be told from 0 (or from this) and should
    be flagged. At float32 and means of norm 1 it is 3.6e-15, at norm 1e3 3.6e-9.

    Returns:
        (...), float64.
    """
    unit = torch.finfo(dtype).eps / 2
    shares = moments.counts.to(torch.float64) / moments.counts.sum()
    return unit**2 * (shares * moments.means.square().sum(-1)).sum(-1)


def nc1(moments: ClassMoments, rtol: float = 1e-2, convention: Convention = "rhubarbwu") -> tuple[Tensor, Tensor]:
    """NC1, tr(Sigma_W Sigma_B^+) up to the convention's factor, by the thin SVD of the K x D class means.

    With B = centred class means (weighted, see below), B = U S V^T, Sigma_B = B^T B and r kept directions:
    value = factor * sum_{i<=r} (v_i^T Sigma_W v_i) / s_i^2. Published forms (Sigma_W = 1/N sum in all of
    them):

    - "rhubarbwu" (default): factor 1/K, rows of B = (mu_c - mu_G) / sqrt(K). The form of Papyan, Han &
      Donoho (2020), Figure 6, and of most codes (rhubarbwu/neural-collapse, tding1/Neural-Collapse).
    - "papyan": factor 1, same B: their notebook (neuralcollapse/neuralcollapse) does not divide by K.
    - "parker": as "papyan" (arXiv 2308.02760's code). That code adds 1e-2 to eigenvalues that are exactly
      zero; their directions are arbitrary, so this function drops them instead.
    - "he-su": factor 1, rows of B = sqrt(n_c / N) (mu_c - hbar), hbar the mean of all samples (arXiv
      2210.17020).

    Args:
        moments: with scatter="full".
        rtol: directions with s_i > rtol * s_1 are kept, at most K - 1. The published codes cut otherwise: a
            fixed number of K - 1 components (here rtol = 0), or float32 `pinv` on Sigma_B, which at D = 512
            keeps s_i > 8e-3 s_1. The default is the cut of `numerical_rank`.
        convention: one of the four names.

    Returns:
        (value, kept_rank), each (...), kept_rank int64. value is 0 for zero within-class variance, never
        negative, and NaN with kept_rank 0 when the class means coincide (K = 1 included).

    Raises:
        ValueError: no full scatter, or bad rtol or convention.
    """
    scatter = moments.required_scatter()
    V, weights, kept_rank = nc1_directions(moments, rtol, convention)
    quadratic = ((V @ scatter) * V).sum(-1).clamp(min=0) / moments.counts.sum()
    return torch.where(kept_rank > 0, (weights * quadratic).sum(-1), torch.nan), kept_rank


def nc1_directions(
    moments: ClassMoments, rtol: float = 1e-2, convention: Convention = "rhubarbwu"
) -> tuple[Tensor, Tensor, Tensor]:
    """What `nc1` needs of the class means, for a second pass that cannot hold a D x D scatter.

    nc1 = sum_i weights_i (1/N) sum_n (v_i . (h_n - mu_{c(n)}))^2, with arguments as in `nc1` (any scatter).

    Returns:
        (directions (..., p, D), weights (..., p), kept_rank (...)), p = min(K, D); weights are factor /
        s_i^2, and 0 for directions that are not kept.

    Raises:
        ValueError: rtol lies outside [0, 1), or another convention.
    """
    if not 0 <= rtol < 1:
        raise ValueError(f"rtol must lie in [0, 1), got {rtol}")
    if convention not in ("papyan", "rhubarbwu", "parker", "he-su"):
        raise ValueError(f'convention must be "papyan", "rhubarbwu", "parker" or "he-su", got {convention!r}')
    means = moments.means
    K = means.shape[-2]
    shares = moments.counts.to(torch.float64) / moments.counts.sum()
    if convention != "he-su":
        shares = torch.full_like(shares, 1 / K)
    s, V = thin_svd(shares.sqrt()[:, None] * centred_rows(means, shares))
    keep = s > rtol * s[..., :1]
    keep[..., K - 1 :] = False  # centred means have rank K - 1 at most: the last value is rounding
    factor = 1 / K if convention == "rhubarbwu" else 1.0
    weights = torch.where(keep, factor / s.square(), 0.0)
    return V, weights, keep.sum(-1)


def cdnv(moments: ClassMoments) -> Tensor:
    """Class-distance normalised variance: mean over pairs c < k of (v_c + v_k) / (2 ||mu_c - mu_k||^2).

    v_c = (1/n_c) sum_{i in c} ||h_i - mu_c||^2. Galanti, Gyorgy & Hutter (ICLR 2022), Section 2.

    Returns:
        (...); 0 for zero within-class variance, inf when the means of a pair with variance coincide, NaN
        when means of a pair without variance coincide, and for K = 1, which has no pairs.
    """
    means, v = moments.means, moments.class_variances
    K = v.shape[-1]
    ratios = (v[..., :, None] + v[..., None, :]) / (2 * _square_distances(means))
    diagonal = torch.eye(K, dtype=torch.bool, device=v.device)
    return ratios.masked_fill_(diagonal, 0.0).sum((-2, -1)) / ratios.new_tensor(K * (K - 1))


def _square_distances(means: Tensor) -> Tensor:
    """||mu_c - mu_k||^2, (..., K, K), to a relative 1e-10 off the diagonal.

    For many classes by the Gram matrix of the centred means, ||a||^2 + ||b||^2 - 2 a.b, several times faster
    than differences; it loses means that nearly coincide, and then the differences are taken after all.
    """
    if means.shape[-2] > 64:
        M = centred_rows(means)
        squares = M.square().sum(-1)
        total = squares[..., :, None] + squares[..., None, :]
        distances = total - 2 * (M @ M.mT)
        diagonal = torch.eye(M.shape[-2], dtype=torch.bool, device=M.device)
        if bool(((distances > 1e-5 * total) | diagonal).all()):
            return distances
    return torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()


def separation_fuzziness(moments: ClassMoments, rtol: float = 1e-2) -> Tensor:
    """Separation fuzziness D = tr(SS_W SS_B^+) of He & Su, "A law of data separation" (arXiv 2210.17020).

    `nc1` with convention "he-su": class means weighted by n_c / N, no division by K. (Not its logarithm.)
    """
    return nc1(moments, rtol, "he-su")[0]


class SeparationLaw(NamedTuple):
    """D_l ~ decay_ratio^l: the fitted ratio per layer, and the Pearson correlation of log D_l with l."""

    decay_ratio: Tensor
    correlation: Tensor


def law_of_separation(fuzziness: Tensor) -> SeparationLaw:
    """Least-squares line through log D_l, l = 0, 1, ...: the law of data separation (arXiv 2210.17020).

    Args:
        fuzziness: (..., L), `separation_fuzziness` of L >= 2 consecutive layers.

    Returns:
        Two tensors (...): decay_ratio = exp(slope), and the correlation, -1 for a perfect geometric decay,
        NaN when all D_l are equal. Both NaN when some D_l is 0, negative or not finite: its logarithm is
        undefined.

    Raises:
        ValueError: fewer than 2 layers.
    """
    if fuzziness.ndim < 1 or fuzziness.shape[-1] < 2:
        raise ValueError(f"fuzziness must hold 2 layers or more, (..., L), got {tuple(fuzziness.shape)}")
    y = as_float64(fuzziness).log()
    y = y - y.mean(-1, keepdim=True)
    x = torch.arange(y.shape[-1], dtype=y.dtype, device=y.device)
    x = x - x.mean()
    covariance, x_square, y_square = (x * y).sum(-1), x.square().sum(), y.square().sum(-1)
    return SeparationLaw((covariance / x_square).exp(), covariance / (x_square * y_square).sqrt())
