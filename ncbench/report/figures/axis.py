"""An axis of swept numbers: logarithmic where they span much, with the numbers themselves as ticks."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

WIDE = 8  # numbers that span a larger factor stand on a logarithmic axis
CLOSE = 0.055  # of the axis: ticks that are nearer to one another than this are left out
GOLDEN = (math.sqrt(5) - 1) / 2


def is_wide(values: Sequence[float]) -> bool:
    """Whether numbers are positive and span more than a factor of 8.

    >>> is_wide([12, 64]), is_wide([2**-12, 2**-8]), is_wide([0, 100])
    (False, True, False)
    """
    return min(values) > 0 and max(values) > WIDE * min(values)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether numbers stand on a logarithmic axis: powers of 2 do, and what spans more than a factor of 8."""
    return is_wide(values) or is_power_of_two(values)


def number_axis(ax: Axes, values: Sequence[float]) -> None:
    """The x axis of swept numbers; where they are small powers of 2, as decays may be, the ticks are those powers."""
    ordered = sorted(set(values))
    if not is_logarithmic(ordered):
        return
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    places = np.log(ordered)
    places = (places - places[0]) / (places[-1] - places[0])
    kept = [0]
    for place in range(1, len(ordered)):
        if places[place] - places[kept[-1]] >= CLOSE:
            kept.append(place)
    ticks = [ordered[place] for place in kept]
    powers = is_power_of_two(ordered)
    ax.set_xticks(ticks, [power_of_two(tick) if powers else f"{tick:g}" for tick in ticks])


def is_power_of_two(values: Sequence[float]) -> bool:
    """Whether all numbers are powers of 2, some of them below 1/16: 2^-10 says more than 0.000976562, 0.5 says enough.

    >>> is_power_of_two([2**-12, 2**-8]), is_power_of_two([0.5, 1, 2]), is_power_of_two([0.001, 0.002])
    (True, False, False)
    """
    return 0 < min(values) < 1 / 16 and all(math.frexp(value)[0] == 0.5 for value in values)


def power_of_two(value: float) -> str:
    """A power of 2 as 2 with its exponent.

    >>> power_of_two(2**-10)
    '$\\\\mathregular{2^{-10}}$'
    """
    return f"$\\mathregular{{2^{{{math.frexp(value)[1] - 1}}}}}$"


def jittered(
    number: float, count: int, values: Sequence[float], curve: int = 0, curves: int = 1
) -> npt.NDArray[np.float64]:
    """`count` places around a number of the axis, for dots that would lie on one another; the same every time.

    They keep within a fifth of the distance to the nearest other number, on the axis that `number_axis` makes of the
    values; each of several curves has a part of that room for itself.
    """
    wide = is_logarithmic(values)
    places = np.log(values) if wide else np.asarray(values, dtype=float)
    place = math.log(number) if wide else number
    others = np.abs(places - place)
    reach = 0.2 * float(min(others[others > 0], default=1.0))
    spread = (curve + (0.5 + GOLDEN * np.arange(count)) % 1) / curves
    shifted = place + reach * (2 * spread - 1)
    return np.asarray(np.exp(shifted) if wide else shifted, dtype=np.float64)


def edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Borders of cells around ascending positive values: geometric means, and as far again at the ends.

    >>> edges(np.array([1.0, 4.0])).tolist(), edges(np.array([2.0])).tolist()
    ([0.5, 2.0, 8.0], [1.0, 4.0])
    """
    logs = np.log2(values)
    middle = (logs[1:] + logs[:-1]) / 2 if len(logs) > 1 else logs + 1
    first = 2 * logs[0] - middle[0]
    found = [first, middle] if len(logs) == 1 else [first, *middle, 2 * logs[-1] - middle[-1]]
    return np.asarray(np.exp2(np.hstack(found)), dtype=np.float64)
