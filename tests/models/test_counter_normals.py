"""The counter-based normals: known answers of the generator, the transform against mpmath, moments, literal bits."""

import hashlib
import importlib
import math
import os
import statistics
import subprocess
import sys
from functools import cache

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

from ncbench.models import counter_normals
from ncbench.models.counter_normals import normals, orthonormal, random_words

MASK = 2**64 - 1
CORE_1 = "numpy.core._multiarray_umath"  # of numpy 1


def philox_by_hand(counter, key, rounds=10):
    """Philox4x64 with Python's integers, after Section 3.3 of Salmon et al. 2011."""
    c, (k0, k1) = list(counter), key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k0, low1, high0 ^ c[3] ^ k1, low0]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c


# philox4x64 10 of the file kat_vectors of the Random123 distribution: counter, key, block.
KNOWN = [
    ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    ([MASK] * 4, [MASK] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_known_answers(counter, key, block):
    words = [int(word, 16) for word in block.split()]
    assert philox_by_hand(counter, key) == words
    before = (sum(c << 64 * i for i, c in enumerate(counter)) - 1) % 2**256
    assert np.random.Philox(counter=before, key=key[0] | key[1] << 64).random_raw(4).tolist() == words


@pytest.mark.parametrize("seed", [0, 7, MASK, -1])
@pytest.mark.parametrize(("stream", "purpose"), [(0, 0), (3, 0), (0, 2), (5, 1)])
def test_the_words_are_the_blocks_of_these_counters(seed, stream, purpose):
    words = [word for b in range(3) for word in philox_by_hand([b, 0, 0, purpose], [seed & MASK, stream])]
    assert random_words(seed, stream, 11, purpose).tolist() == words[:11]


def test_the_first_known_block_is_that_of_the_first_words():
    assert random_words(0, 0, 4).tolist() == [int(word, 16) for word in KNOWN[0][2].split()]


def quantile(k):
    """The ((2 k + 1) / 2^53)-quantile to 40 digits: Newton's iteration on the tail that is not rounded away."""
    with mpmath.workdps(40):
        p = (2 * mpmath.mpf(int(k)) + 1) / 2**53
        tail = min(p, 1 - p)
        x = mpmath.mpf(statistics.NormalDist().inv_cdf(float(tail)))
        for _ in range(3):
            x -= (mpmath.ncdf(x) - tail) / mpmath.npdf(x)
        return x if p < 0.5 else -x


def at(k, module=counter_normals):
    """What `normals` makes of words whose upper 52 bits are these."""
    words = np.asarray(k, dtype=np.uint64) << np.uint64(12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "random_words", lambda *_: words)
        return module.normals(0, 0, words.shape)


@cache
def exact():
    """The numbers of `some_bits`, to 40 digits."""
    return [quantile(k) for k in some_bits()]


def largest_error(module):
    """Relative, of the numbers of `some_bits`."""
    with mpmath.workdps(40):
        pairs = zip(map(mpmath.mpf, at(some_bits(), module)), exact(), strict=True)
        return max(abs(float(z / right - 1)) for z, right in pairs)


def some_bits():
    generator = np.random.default_rng(0)
    anywhere = generator.integers(0, 2**52, 150)
    small = np.exp2(generator.uniform(0, 51, 100)).astype(np.int64)  # tails, as far as they go
    edges = [0, 1, 2, 2**51 - 1, 2**51, 2**52 - 1]
    # Where the rational functions change: |q| = 0.425, r = 5.
    joints = [int((0.5 - 0.425) * 2**52) + i for i in (-1, 0, 1)] + [int(math.exp(-25) * 2**52) + i for i in (-1, 0, 1)]
    return np.concatenate([anywhere, small, 2**52 - 1 - small, edges, joints]).astype(np.uint64)


def test_the_transform_is_the_quantile_function():
    assert largest_error(counter_normals) < 1e-15
    ends = scipy.special.ndtri(2.0**-53)
    assert at([0, 2**52 - 1]).tolist() == pytest.approx([ends, -ends], rel=1e-15)


def by_python(k):
    """The same transform with Python's floats, one operation after the other."""

    def ratio(polynomials, x):
        values = []
        for coefficients in polynomials:
            value = coefficients[-1]
            for c in coefficients[-2::-1]:
                value = value * x + c
            values.append(value)
        return values[0] / values[1]

    q = (2 * int(k) + 1 - 2**52) / 2**53
    if abs(q) <= 0.425:
        return ratio(counter_normals._CENTRE, 0.180625 - q * q) * q
    m, e = math.frexp(0.5 - abs(q))
    m, e = (2 * m, e - 1) if m < math.sqrt(0.5) else (m, e)
    s = (m - 1) / (m + 1)
    series = 0.0
    for term in range(10, -1, -1):
        series = series * (s * s) + 1 / (2 * term + 1)
    r = math.sqrt(-(e * math.log(2) + 2 * s * series))
    z = ratio(counter_normals._TAIL, r - 1.6) if r <= 5 else ratio(counter_normals._FAR, r - 5)
    return math.copysign(z, q)


def test_the_bits_are_those_of_single_operations():
    """No vector instruction, and none that takes two operations in one, changes a bit."""
    generator = np.random.default_rng(2)
    bits = np.concatenate([some_bits(), generator.integers(0, 2**52, 20000, dtype=np.uint64)])
    assert at(bits).tolist() == [by_python(k) for k in bits]


def test_the_bits_are_the_same_without_the_vector_instructions_of_this_processor():
    """numpy chooses its loops by what the processor can do; all that it may choose from is taken away."""
    core = importlib.import_module("numpy._core._multiarray_umath" if np.__version__[0] > "1" else CORE_1)
    there = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    script = (
        "import hashlib, runpy, sys\n"
        "made = runpy.run_path(sys.argv[1])\n"
        "drawn = made['normals'](3, 1, (300, 200)).tobytes() + made['orthonormal'](3, 1, 60, 40).tobytes()\n"
        "print(hashlib.sha256(drawn).hexdigest())\n"
    )
    line = [sys.executable, "-c", script, counter_normals.__file__]
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(there)}
    found = subprocess.run(line, env=plain, capture_output=True, text=True, check=True).stdout.strip()
    drawn = normals(3, 1, (300, 200)).tobytes() + orthonormal(3, 1, 60, 40).tobytes()
    assert (
        found == hashlib.sha256(drawn).hexdigest() == "c479b9af78da15e582ee766dde2784548eb6a4ffe2253ee8e85a50983a403540"
    )


def test_the_transform_is_symmetric_and_increases():
    bits = np.sort(some_bits())
    assert (at(bits) == -at(2**52 - 1 - bits)).all()
    assert (np.diff(at(np.unique(bits))) > 0).all()


def test_the_logarithm_has_the_accuracy_that_it_states():
    generator = np.random.default_rng(1)
    x = np.concatenate([0.1 * generator.random(300), np.exp2(-generator.uniform(3.4, 53, 300)), [2.0**-53, 2.0**-4]])
    with mpmath.workdps(40):
        pairs = [(mpmath.mpf(l), mpmath.log(mpmath.mpf(v))) for v, l in zip(x, counter_normals._log(x), strict=True)]
        assert max(abs(float(found / right - 1)) for found, right in pairs) < 4e-16


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.3871328727963666080e0", "3.3871328727963766080e0"),
        ("(_TAIL, r - 1.6)", "(_TAIL, r - 1.59999999999)"),
        ("1.42151175831644588870e-7", "1.42151175831644588870e-6"),
        ("for k in range(11)", "for k in range(7)"),
        ("2.0**51 - 0.5", "2.0**51"),
        ("np.copysign(tail, q[~centre])", "tail"),
    ],
)
def test_planted_bugs_are_found(mutant, old, new):
    assert largest_error(mutant(counter_normals, old, new)) > 1e-15


def test_the_numbers_are_normal():
    x = normals(12, 3, (400, 500)).ravel()
    n = len(x)
    # Five standard deviations of each moment of n normal numbers.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 5 * math.sqrt(variance / n)
    assert scipy.stats.kstest(x, scipy.stats.norm.cdf).pvalue > 1e-3
    for lag in (1, 2, 3, 4, 500):
        assert abs((x[lag:] * x[:-lag]).mean()) < 5 / math.sqrt(n - lag)


def test_streams_are_independent_of_one_another():
    drawn = [normals(seed, stream, (20000,), purpose) for seed in (0, 1) for stream in (0, 1) for purpose in (0, 1)]
    correlations = np.corrcoef(drawn) - np.eye(8)
    assert abs(correlations).max() < 5 / math.sqrt(20000)


def test_literal_bits():
    """The numbers of all records with this generator: these bits must never change."""
    assert [x.hex() for x in normals(0, 0, (3,))] == [
        "-0x1.5ba2e15bc7868p+0",
        "0x1.0ff93c9f86040p+0",
        "0x1.02284ecd25888p+0",
    ]
    assert [x.hex() for x in normals(7, 2, (2,), 1)] == ["0x1.24252a3a35a18p-1", "0x1.c27b8b04be4c3p-1"]
    # The first of them by hand: k = 16554d9eca363, p = (2 k + 1) / 2^53 = 0.0872391.
    assert math.isclose(normals(0, 0, (1,))[0], statistics.NormalDist().inv_cdf((2 * 0x16554D9ECA363 + 1) / 2**53))


def test_the_first_numbers_stay_whatever_follows():
    long = normals(5, 1, (30, 7))
    assert (normals(5, 1, (10, 7)) == long[:10]).all()
    assert (normals(5, 1, (210,)) == long.ravel()).all()


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40), (30, 30), (1, 1), (5, 1), (1, 5)])
def test_orthonormal(rows, columns):
    Q = orthonormal(3, 1, rows, columns)
    assert Q.shape == (rows, columns)
    gram = Q.T @ Q if rows >= columns else Q @ Q.T
    assert abs(gram - np.eye(min(rows, columns))).max() < 1e-14
    # Householder's Q of LAPACK, its columns turned so that R has a positive diagonal, is the same matrix.
    G = normals(3, 1, (max(rows, columns), min(rows, columns)))
    expected, R = np.linalg.qr(G)
    expected = expected * np.sign(np.diag(R))
    assert abs((Q if rows >= columns else Q.T) - expected).max() < 1e-11


def test_orthonormal_by_hand_and_in_its_bits():
    G = normals(4, 2, (3, 2))
    first = [x / math.sqrt(math.fsum(y * y for y in G[:, 0])) for x in G[:, 0]]
    inner = math.fsum(a * b for a, b in zip(first, G[:, 1], strict=True))
    rest = [b - inner * a for a, b in zip(first, G[:, 1], strict=True)]
    second = [x / math.sqrt(math.fsum(y * y for y in rest)) for x in rest]
    Q = orthonormal(4, 2, 3, 2)
    assert Q[:, 0].tolist() == pytest.approx(first, rel=1e-15)
    assert Q[:, 1].tolist() == pytest.approx(second, rel=1e-14)
    assert [x.hex() for x in Q[0]] == ["-0x1.962bd4df4b933p-1", "-0x1.e1a653d5b1d19p-2"]


def test_nearly_dependent_vectors_are_made_orthogonal_all_the_same(monkeypatch):
    """Once is not enough: of columns 1e-9 apart a single turn leaves an error of 1e-7."""
    v = np.random.default_rng(0).standard_normal((50, 1))
    G = v + 1e-9 * np.random.default_rng(1).standard_normal((50, 4))
    monkeypatch.setattr(counter_normals, "normals", lambda *_: G)
    Q = orthonormal(0, 0, 50, 4)
    assert abs(Q.T @ Q - np.eye(4)).max() < 1e-14


def test_sums_are_taken_from_the_first_to_the_last():
    """1 + 2^-53 + 2^-53 + ... stays 1 from the left, and is more in every other order."""
    x = np.full((64, 3), 2.0**-53)
    x[0] = 1.0
    assert counter_normals._sum(x).tolist() == [1.0] * 3
    assert counter_normals._sum(np.ascontiguousarray(x.T), axis=1).tolist() == [1.0] * 3
    assert x[:, 0].copy().sum() > 1.0
