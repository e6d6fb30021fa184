"""Normal random numbers with the same bits on every machine: a counter-based generator and a transform of our own.

Sources: Philox4x64-10 of J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC 2011, as numpy has it; the inverse of the normal distribution by M. J. Wichura, Algorithm AS 241 (PPND16),
Applied Statistics 37 (1988) 477-484.

A generator that fills a vector at a time, as torch's does, takes another path on another processor, and logarithm,
sine and cosine of the C library differ in their last bit from one library to the next. Here every operation on a
number is one that IEEE 754 rounds correctly: +, -, *, / and the square root, each a numpy ufunc of its own on float64,
so that no compiler makes one operation of two. Sums are taken from the first summand to the last, by a running sum, as
`numpy.sum` and products of matrices take theirs in an order that depends on the processor.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["normals", "orthonormal", "random_words"]

Array = NDArray[np.float64]

# AS 241, coefficients from the constant term on. Numerator and denominator for |q| <= 0.425, in 0.425^2 - q^2; for
# r = sqrt(-ln p) <= 5, in r - 1.6; beyond it in r - 5.
# fmt: off
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)
# fmt: on
_LN2, _ROOT_HALF = 0.6931471805599453, 0.7071067811865476
_WORD = 2**64


def random_words(seed: int, stream: int, count: int, purpose: int = 0) -> NDArray[np.uint64]:
    """`count` random 64-bit words: the blocks of Philox4x64-10 at the counters (b, 0, 0, purpose), b = 0, 1, 2, ...

    The key is (seed, stream), each modulo 2^64. So words of another seed, stream or purpose are independent of these,
    and the first words stay whatever the count.
    """
    # numpy counts up before it makes a block, so that the first one is that of counter + 1.
    before_first = ((purpose % _WORD << 192) - 1) % 2**256
    generator = np.random.Philox(counter=before_first, key=seed % _WORD | stream % _WORD << 64)
    words: NDArray[np.uint64] = generator.random_raw(count)
    return words


def normals(seed: int, stream: int, shape: tuple[int, ...], purpose: int = 0) -> Array:
    """Independent N(0, 1) numbers of this shape, row by row, one of each of `random_words`.

    The upper 52 bits k of a word make p = (2 k + 1) / 2^53, of which the number is the p-quantile: at most 8.21 from
    zero, symmetric about it, and within 1e-15 (relative) of the exact quantile.

    >>> normals(0, 0, (2, 2)).tolist() == normals(0, 0, (4,)).reshape(2, 2).tolist()
    True
    """
    count = 1
    for size in shape:
        count *= size
    upper = (random_words(seed, stream, count, purpose) >> np.uint64(12)).astype(np.float64)
    q = (upper - (2.0**51 - 0.5)) * 2.0**-52  # p - 1/2, exactly
    return _quantiles(q).reshape(shape)


def orthonormal(seed: int, stream: int, rows: int, columns: int, purpose: int = 0) -> Array:
    """Q (rows, columns) with orthonormal columns, or rows where there are fewer, Haar-distributed.

    Gram-Schmidt on `normals` of the larger number of rows: from each vector its projections on those before are taken
    twice, which leaves them orthogonal to rounding (Giraud, Langou, Rozloznik, van den Eshof 2005). The diagonal of R
    is positive, which is what makes Q = G R^-1 uniform among all orthonormal frames (Mezzadri 2007).
    """
    tall = rows >= columns
    G = normals(seed, stream, (max(rows, columns), min(rows, columns)), purpose)
    Q = np.zeros_like(G)
    for j in range(G.shape[1]):
        v, before = G[:, j].copy(), Q[:, :j]
        for _ in range(2):
            if j:
                v = v - _sum(before * _sum(before * v[:, None])[None], axis=1)
        Q[:, j] = v / np.sqrt(_sum(v * v))
    return Q if tall else np.ascontiguousarray(Q.T)


def _sum(x: Array, axis: int = 0) -> Array:
    """The sum along an axis, from the first summand to the last: what is kept of a running sum is its end."""
    total: Array = np.add.accumulate(x, axis=axis).take(-1, axis=axis)
    return total


def _quantiles(q: Array) -> Array:
    """The (q + 1/2)-quantiles of N(0, 1), |q| < 1/2."""
    z = np.empty_like(q)
    size = np.abs(q)
    centre = size <= 0.425
    inner = q[centre]
    z[centre] = _ratio(_CENTRE, 0.180625 - inner * inner) * inner
    r = np.sqrt(-_log(0.5 - size[~centre]))
    tail = np.where(r <= 5.0, _ratio(_TAIL, r - 1.6), _ratio(_FAR, r - 5.0))
    z[~centre] = np.copysign(tail, q[~centre])
    return z


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    numerator, denominator = (_polynomial(coefficients, x) for coefficients in polynomials)
    return numerator / denominator


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """sum_i c_i x^i by Horner's rule."""
    value = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value


def _log(x: Array) -> Array:
    """ln x for 0 < x < 0.1, within 4e-16 (relative).

    x = m 2^e with m in [sqrt(1/2), sqrt(2)), and ln x = e ln 2 + 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172, by
    ten terms s^(2k + 1) / (2k + 1) of the series after the first: what is left out is below 7e-19 of it.
    """
    m, e = np.frexp(x)
    low = m < _ROOT_HALF
    m, e = np.where(low, m + m, m), np.where(low, e - 1, e).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    squared = s * s
    series = _polynomial(tuple(1.0 / (2 * k + 1) for k in range(11)), squared)
    return e * _LN2 + (s + s) * series
