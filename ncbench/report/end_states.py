"""Which solution of the theory each replica has ended at, by its final loss; a name is given only to what has arrived.

A loss that is still falling passes every level above its end, so that a level names nothing before the gradient is
zero: a replica whose gradient is larger than the bound is `not converged`, whatever its loss.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ncbench.claims.rules import NO_LEVEL

__all__ = ["ABSOLUTE", "DIVERGED", "NOT_CONVERGED", "NO_KNOWN_LEVEL", "STATES", "STATIONARY", "classify", "counted"]

STATES = NO_LEVEL  # what a replica is that has ended at no level
NO_KNOWN_LEVEL, NOT_CONVERGED, DIVERGED = STATES

ABSOLUTE = 1e-4  # the nearest two stable losses at K = 10, L = 2, n = 5, decay 2^-10 are 1.4e-3 apart
STATIONARY = 1e-6  # of grad_max, the largest entry of the gradient


def classify(
    losses: Sequence[float],
    gradients: Sequence[float],
    levels: Mapping[str, float],
    *,
    absolute: float = ABSOLUTE,
    stationary: float = STATIONARY,
) -> list[str]:
    """The level at which each replica has ended, or why it has none.

    Args:
        losses: final loss of every replica, shape (R,).
        gradients: the largest entry of |gradient of the objective| of every replica at the end (`grad_max`), shape
            (R,); NaN where it is not recorded.
        levels: the losses of known solutions by name. One that is not finite (the theory gives none) takes no part.
        absolute: a level is reached within this distance, |loss - level| <= absolute; > 0.
        stationary: a replica has converged where its gradient is at most this; > 0.

    Returns one text per replica, by the first rule that applies:

    - "diverged": the loss is NaN or infinite, or the gradient is infinite;
    - "not converged": the gradient is above `stationary`, or NaN, so that nothing says that it has arrived;
    - the name of the nearest level, if that is within `absolute`; of two equally near ones the first named. A network
      that is dead has converged like any other: it is at the level log K, where `levels` names one;
    - "no known level".

    Raises ValueError where the lengths differ, a bound is not positive and finite, or a level has the name of a state.

    >>> classify([0.08, 0.2, 0.0803], [1e-9, 1e-9, 1e-3], {"pairs": 0.08001})
    ['pairs', 'no known level', 'not converged']
    """
    loss, gradient = np.asarray(losses, dtype=float), np.asarray(gradients, dtype=float)
    if loss.ndim != 1 or loss.shape != gradient.shape:
        raise ValueError(f"losses of shape {loss.shape} and gradients of shape {gradient.shape} must both be (R,)")
    for name, bound in (("absolute", absolute), ("stationary", stationary)):
        if not 0 < bound < np.inf:
            raise ValueError(f"{name}={bound} must be positive and finite")
    taken = [name for name in levels if name in STATES]
    if taken:
        raise ValueError(f"levels={taken} must not have the name of a state: {', '.join(STATES)}")
    known = {name: value for name, value in levels.items() if np.isfinite(value)}
    names, values = list(known), np.array(list(known.values()), dtype=float)
    lost = ~np.isfinite(loss) | np.isinf(gradient)
    arrived = ~lost & (gradient <= stationary)  # NaN is not <=
    states = np.where(lost, DIVERGED, np.where(arrived, NO_KNOWN_LEVEL, NOT_CONVERGED)).astype(object)
    if names:
        distance = np.abs(np.where(lost, 0.0, loss)[:, None] - values)
        nearest = distance.argmin(axis=1)
        for replica in np.flatnonzero(arrived & (distance.min(axis=1) <= absolute)):
            states[replica] = names[nearest[replica]]
    return [str(state) for state in states]


def counted(states: Iterable[str], levels: Iterable[str]) -> dict[str, int]:
    """How many replicas ended at each level, in the order of `levels`, and in each other state; never 0.

    >>> counted(["not converged", "dnc", "dnc"], ["pairs", "dnc"])
    {'dnc': 2, 'not converged': 1}
    """
    counts = Counter(states)
    return {name: counts[name] for name in (*levels, *STATES) if counts[name]}
