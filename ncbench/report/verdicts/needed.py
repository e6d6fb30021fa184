"""Why an interval does not decide, and about how many replicas would: the reason of a claim that is undecided."""

import math

__all__ = ["across", "across_share", "replicas_for_share"]

Z = 1.959963984540054  # the 97.5 % point of the normal distribution, as in Wilson's interval of 95 %
TINY = 1e-300  # "below zero" is a bound of the next number to 0


def replicas_for_share(share: float, at_least: float) -> int | None:
    """With how many replicas Wilson's 95 % interval of `share` lies on one side of `at_least`; None if never.

    The interval is the inversion of the score test, so that it holds `at_least` = a as long as
    |share - a| < z sqrt(a (1 - a) / n): n = z^2 a (1 - a) / (share - a)^2, z = 1.95996, rounded up. A share of 1 is
    that of replicas of which none fails.

    >>> replicas_for_share(1.0, 0.9)
    35
    """
    if math.isclose(share, at_least, abs_tol=1e-12):
        return None
    exact = Z**2 * at_least * (1 - at_least) / (share - at_least) ** 2
    return max(1, math.ceil(exact - 1e-9))


def across_share(hits: int, size: int, at_least: float) -> str:
    """The reason where the interval of a share reaches both sides of `at_least`."""
    return _said(f"{100 * at_least:g} %", "share", replicas_for_share(hits / size, at_least))


def across(
    estimate: float,
    interval: tuple[float, float],
    allowed: tuple[float | None, float | None],
    size: int | None,
) -> str:
    """The reason where an interval reaches both sides of bounds of `allowed`.

    Its ends come closer to the estimate with 1 / sqrt(n): an end at distance d from the estimate passes a bound at
    distance b < d with n d^2 / b^2 replicas. `size` is n, None where places are resampled and not replicas: then no
    number is said.
    """
    low, high = interval
    bounds = [bound for bound in allowed if bound is not None and low <= bound <= high]
    crossed = [0.0 if abs(bound) < TINY else bound for bound in bounds]
    named = " and ".join(f"{bound:.4g}" for bound in crossed)
    if size is None:
        return f"the interval reaches both sides of {named}, more places decide"
    if estimate in crossed:
        return _said(named, "estimate", None)
    ends = [(estimate - low if estimate > bound else high - estimate, abs(estimate - bound)) for bound in crossed]
    return _said(named, "estimate", math.ceil(size * max((end / bound) ** 2 for end, bound in ends)))


def _said(threshold: str, what: str, number: int | None) -> str:
    if number is None:
        more = f"no number of replicas decides while the {what} is exactly that"
    else:
        more = f"about {number} replicas decide if the {what} stays"
    return f"the interval reaches both sides of {threshold}, {more}"
