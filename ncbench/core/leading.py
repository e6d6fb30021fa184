"""The large singular values themselves, where a theory predicts them one by one or on average.

Legend and calling convention as in `ncbench.core.spectrum`: W (..., m, n) with singular values s_1 >= ... >= s_p, p =
min(m, n), or its precomputed `s` (..., p), exactly one of the two; results are float64 of shape (...), NaN for a matrix
with a non-finite entry.
"""

from torch import Tensor

from ncbench.core.spectrum import given_values


def singular_value(W: Tensor | None = None, index: int | None = None, *, s: Tensor | None = None) -> Tensor:
    """The index-th largest singular value s_index, counted from 1.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or index missing or outside 1..p.
    """
    s = given_values(W, s)
    return s[..., _position("index", index, s) - 1]


def mean_singular_value(W: Tensor | None = None, k: int | None = None, *, s: Tensor | None = None) -> Tensor:
    """Mean of the k largest singular values, (1/k) sum_{j<=k} s_j.

    What the common value of the K nonzero singular values predicted by arXiv 2402.03991v3, Section 4, is compared with
    (k = K).

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or k missing or outside 1..p.
    """
    s = given_values(W, s)
    return s[..., : _position("k", k, s)].mean(-1)


def leading_mass(W: Tensor | None = None, k: int | None = None, *, s: Tensor | None = None) -> Tensor:
    """Mass of the k largest singular values, sum_{j<=k} s_j^2, in the squared units of W; all of ||W||_F^2 for k >= p.

    How much of the leading bulk of a spectrum is there, whatever the tail does: arXiv 2402.03991v1, Figure 3, says that
    training preserves it, which a claim tests by this mass relative to that at the start (`relative_to_first: true`).
    It is not 1 - `relative_tail`, in which a bulk that shrinks together with its tail is preserved. 0 for the zero
    matrix, which is a mass and not undefined.

    Raises:
        ValueError: not exactly one of W (..., m, n) and s (..., p), or k missing or below 1.
    """
    s = given_values(W, s)
    if k is None or k < 1:
        raise ValueError(f"k must be given and at least 1, got {k}")
    return s[..., :k].square().sum(-1)


def _position(name: str, value: int | None, s: Tensor) -> int:
    if value is None or not 1 <= value <= s.shape[-1]:
        raise ValueError(f"{name} must be given and lie in 1..{s.shape[-1]}, got {value}")
    return value
