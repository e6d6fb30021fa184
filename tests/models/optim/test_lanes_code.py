"""The compiled code of the engine in lanes: exp against mpmath, the cache, and the same bits for every processor."""

import os
import subprocess
import sys

import mpmath
import numba
import numpy as np
import pytest
import torch

from ncbench.models.replica import DUFM
from ncbench.models.replica.optim.lanes import cache, descent, step
from ncbench.models.replica.optim.lanes.exponential import constants, exponential
from ncbench.models.replica.optim.lanes.registers import block_of, lanes_for
from ncbench.models.replica.optim.lanes.vectors import load, store

PROCESSORS = {
    "native": {},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "skylake": {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx512f,+avx512vl,+avx512dq,+avx2,+fma"},
    "generic": {"NUMBA_CPU_NAME": "generic"},  # without fma: it is a function of the C library
}
TRAIN = """
import hashlib, sys
import torch
from ncbench.models.replica import DUFM
from ncbench.models.replica.optim.lanes import LaneDescent
loss, dtype, depth, steps, R, lanes, block = sys.argv[1:]
R, lanes, block = int(R), eval(lanes), eval(block)
model = DUFM(depth=int(depth), width=20, activation="relu", init_scale=0.7, num_classes=10, num_samples=50,
             seeds=range(R), dtype=getattr(torch, dtype))
model.features.value.data[0] *= 1e-25  # products of what is left here are below the smallest normal number
decays = {"weight_decays": torch.full((R, int(depth)), 2e-3), "feature_decays": torch.full((R,), 2e-3)}
descent = LaneDescent(model, torch.arange(10).repeat_interleave(5), loss=loss, rates=torch.full((R,), 0.5),
                      momentum=0.9, lanes=lanes, block=block, tile=17, threads=2, **decays)
momenta = [torch.zeros_like(p) for p in descent.parameters]
descent.advance(int(steps), momenta, torch.arange(R))
tensors = [*descent.parameters, *momenta, descent.norms(torch.arange(R))]
assert all(x.isfinite().all() for x in tensors)
print(hashlib.sha256(b"".join(x.numpy().tobytes() for x in tensors)).hexdigest())
"""


@numba.njit
def _apply(x, y, numbers, shape):
    for i in range(len(x) // len(shape[0])):
        store(y, i, exponential(load(x, i, shape), numbers, shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_is_within_one_unit_in_the_last_place(dtype):
    numbers = constants(dtype)
    lowest = float(numbers[0])
    rng = np.random.default_rng(5)
    x = np.concatenate([-rng.uniform(0, -0.999 * lowest, 3000), -np.geomspace(1e-12, -0.999 * lowest, 1000)]).astype(
        dtype
    )
    x[:4] = 0.0, -0.0, np.nextafter(dtype(lowest), dtype(0)), -np.log(2) / 2
    y = np.empty_like(x)
    _apply(x, y, numbers, ((0,) * 8, (), ()))
    with mpmath.workprec(120):
        exact = [mpmath.exp(float(value)) for value in x]
        errors = [abs(float(b) - e) / float(np.spacing(b)) for b, e in zip(y, exact, strict=True)]
    assert max(errors) < 1
    assert y[0] == y[1] == 1
    assert y.min() >= np.finfo(dtype).tiny


def test_exp_where_it_is_nothing_and_where_there_is_no_number():
    x = np.array([-np.inf, -88.0, -1e30, np.nan, 0, 0, 0, 0], np.float32)
    y = np.empty_like(x)
    _apply(x, y, constants(np.float32), ((0,) * 8, (), ()))
    np.testing.assert_array_equal(y, [0, 0, 0, np.nan, 1, 1, 1, 1])


def test_the_parts_of_log_2():
    with mpmath.workprec(200):
        for dtype, rest in ((np.float32, 1e-13), (np.float64, 1e-27)):
            high, low = (-mpmath.mpf(float(x)) for x in constants(dtype)[3:5])
            assert abs(high + low - mpmath.log(2)) < rest


def test_nothing_in_the_code_may_be_fused_or_reordered(monkeypatch):
    anew = numba.njit(step.descend.py_func)  # what comes from the cache has no code that can be read
    monkeypatch.setattr(descent, "_descend", anew)
    of_data = {"num_classes": 2, "num_samples": 2, "seeds": [0]}
    network = DUFM(depth=1, width=2, activation="relu", init_scale=1.0, dtype=torch.float64, **of_data)
    problem = {"weight_decays": torch.ones(1, 1), "feature_decays": torch.ones(1), "rates": torch.ones(1)}
    descent.LaneDescent(network, torch.arange(2), loss="mse", momentum=0.5, block=(1, 1), **problem)
    (code,) = anew.inspect_llvm().values()
    body = [line for line in code.splitlines() if " fmul " in line or " fadd " in line or " fsub " in line]
    assert body
    flags = ("fast", "contract", "reassoc", "nnan", "ninf", "nsz", "arcp", "afn")
    assert not [line for line in body if set(flags) & set(line.split())]


@pytest.mark.parametrize(("lanes", "itemsize"), [(16, 4), (8, 4), (8, 8), (4, 8)])
def test_a_block_fits_into_the_registers(lanes, itemsize):
    rows, columns = block_of(lanes, itemsize)
    assert rows * columns + min(rows, columns) + 1 <= 32


def test_lanes_are_halved_where_a_thread_would_have_nothing_to_do():
    full = lanes_for(4, 1000, 1)
    assert lanes_for(4, full, 1) == lanes_for(4, 2 * full, 2) == lanes_for(4, 1, 2) == full
    assert lanes_for(4, full, 2) == full // 2


def _digest(processor, loss, dtype, depth, steps, block, folder, replicas=9, lanes=None):
    environment = {**os.environ, **PROCESSORS[processor], "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", TRAIN, loss, dtype, *map(str, (depth, steps, replicas, lanes, block))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_same_bits_with_and_without_instructions_for_fma(tmp_path):
    digests = {name: _digest(name, "ce", "float32", 3, 40, (2, 2), folder=tmp_path) for name in ("haswell", "generic")}
    assert len(set(digests.values())) == 1
    # The code of each is kept beside that of the other.
    assert len([*tmp_path.rglob("*.nbc")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "dtype"), [("mse", "float32"), ("ce", "float32"), ("mse", "float64")])
def test_the_same_bits_on_every_processor_after_20_000_steps(loss, dtype, tmp_path):
    digests = {}
    for name in PROCESSORS:
        # A call of a function for every multiply-add takes its time: no lane without a replica.
        lanes, block = (2, (2, 2)) if name == "generic" else (None, (4, 5) if name == "skylake" else None)
        digests[name] = _digest(name, loss, dtype, 4, 20_000, block, folder=tmp_path, replicas=2, lanes=lanes)
    assert len(set(digests.values())) == 1, digests
    assert len([*tmp_path.rglob("*.nbc")]) == len(PROCESSORS)


@numba.njit
def _doubled(x, shape):
    x[0] += len(shape)


def test_code_is_kept_for_every_shape_and_anything_wrong_with_it_is_no_error(tmp_path, monkeypatch):
    x = np.zeros(1)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kept = cache.Cached(numba.njit(_doubled.py_func))
    kept(x, (0,))
    kept(x, (0, 0))
    assert x[0] == 3
    codes = [*tmp_path.rglob("*.nbc")]
    assert len(codes) == 2
    for path in codes:
        path.write_bytes(b"no code")
    cache.Cached(numba.njit(_doubled.py_func))(x, (0, 0))
    assert x[0] == 5
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(codes[0]))  # a file: no directory can be made there
    cache.Cached(numba.njit(_doubled.py_func))(x, (0,))
    assert x[0] == 6


def test_the_directory_is_another_one_for_other_sources(monkeypatch, tmp_path):
    before = cache.cache_directory()
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    (tmp_path / "step.py").write_text("other")
    assert cache.cache_directory() != before
