"""exp of vectors of numbers <= 0, for the softmax, made of operations whose rounding is fixed.

    x = n log 2 + r,  |r| <= log(2)/2,    exp(x) = 2^n sum_{k=0}^d r^k/k!,    d = 7 (float32), 13 (float64)

n is x/log 2 rounded to the nearest whole number, log 2 is the sum of two numbers of which the first has so few bits
that n times it is exact, and the sum is taken by Horner's rule: fused multiply-adds throughout. What Taylor's series
leaves out is below 5.3e-9 and 4.2e-18 of exp(x), a tenth and a fiftieth of half a unit in the last place, so that the
whole is within one unit in the last place of exp(x). Where exp(x) is at most sqrt 2 times the smallest
normal number, it is 0.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from ncbench.models.replica.optim.lanes.vectors import at_most, fma, multiply, power_of_two, splat, subtract

__all__ = ["constants", "exponential"]

# log 2 = 0x1.62e42fefa39ef35793c7673007e5...p-1: the leading 15 and 36 bits, and the rest.
_LOG2_HIGH = {4: float.fromhex("0x1.62e4p-1"), 8: float.fromhex("0x1.62e42fefa0p-1")}
_LOG2_LOW = {4: float.fromhex("0x1.7f7d1cf79abcap-20"), 8: float.fromhex("0x1.cf79abc9e3b39p-40")}


def constants(dtype: DTypeLike) -> NDArray[Any]:
    """What `exponential` needs, as numbers of this type.

    The number below which exp is 0, 1/log 2, what rounds to a whole number, log 2 negative in two parts, 1/d! ... 1/0!.
    """
    kind = np.dtype(dtype)
    size, normal = kind.itemsize, np.finfo(kind)
    degree, mantissa = (7, 23) if size == 4 else (13, 52)
    # Half a log 2 above the logarithm of the smallest normal number: from there on 2^n and exp(x) are normal numbers.
    first = [math.log(float(normal.tiny)) + math.log(2) / 2, 1 / math.log(2), 1.5 * 2.0**mantissa]
    series = [1 / math.factorial(k) for k in range(degree, -1, -1)]
    return np.array([*first, -_LOG2_HIGH[size], -_LOG2_LOW[size], *series], kind)


@njit(inline="always")
def exponential(x: Any, numbers: Any, shape: Any) -> Any:
    """exp(x) of a vector, x <= 0 or no number, with `numbers` from `constants`."""
    shift = splat(numbers[2], shape)
    shifted = fma(x, splat(numbers[1], shape), shift)
    n = subtract(shifted, shift)
    r = fma(n, splat(numbers[4], shape), fma(n, splat(numbers[3], shape), x))
    total = splat(numbers[5], shape)
    for k in range(6, len(numbers)):
        total = fma(total, r, splat(numbers[k], shape))
    value = multiply(total, power_of_two(shifted))
    return at_most(x, splat(numbers[0], shape), subtract(shift, shift), value)
