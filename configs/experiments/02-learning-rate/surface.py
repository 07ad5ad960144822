"""A surface of one number with two minima, for what a learning rate does at each of them."""

from __future__ import annotations

import math

WIDE, NARROW, SPREAD = 2.0, -1.0, 0.3


def height(x: float) -> float:
    """A bowl whose minimum, at ``WIDE``, is next to 0; set into its slope near ``NARROW`` a narrow minimum, which is higher."""
    return 0.1 * (x - WIDE) ** 2 - 0.5 * _dent(x)


def slope(x: float) -> float:
    """The derivative of ``height``."""
    return 0.2 * (x - WIDE) + 0.5 * (x - NARROW) / SPREAD**2 * _dent(x)


def curvature(x: float) -> float:
    """The second derivative of ``height``."""
    return 0.2 + 0.5 / SPREAD**2 * (1 - ((x - NARROW) / SPREAD) ** 2) * _dent(x)


def descend(rate: float, start: float = -1.6, steps: int = 2000) -> list[float]:
    """The places of gradient descent, the start first."""
    places = [start]
    for _ in range(steps):
        places.append(places[-1] - rate * slope(places[-1]))
    return places


def narrow_minimum() -> float:
    """Where it is."""
    return descend(0.1, NARROW)[-1]


def largest_rate_that_settles(tolerance: float) -> float:
    """The middle of two rates so near to each other, of which one ends in the narrow minimum and the other does not."""
    at = narrow_minimum()
    low, high = 1.0 / curvature(at), 4.0 / curvature(at)
    while high > (1 + tolerance) * low:
        rate = (low + high) / 2
        low, high = (rate, high) if abs(descend(rate)[-1] - at) < 1e-3 else (low, rate)
    return (low + high) / 2


def _dent(x: float) -> float:
    return math.exp(-((x - NARROW) ** 2) / (2 * SPREAD**2))
