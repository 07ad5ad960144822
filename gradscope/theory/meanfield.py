"""The length map of a wide random network and what follows from it (Poole 2016, Schoenholz 2017).

A layer is z' = W phi(z) + b with W_ij ~ N(0, gain^2 / fan_in) and b_i ~ N(0, bias_std^2). The length q is the mean square of
a pre-activation; it goes from layer to layer by q' = gain^2 E[phi(z)^2] + bias_std^2 with z ~ N(0, q). The squared norm of a
gradient, summed over units, goes back through the same layer by chi(q) = gain^2 E[phi'(z)^2].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory.activations import Activation, find_activation
from gradscope.theory.quadrature import gaussian_nodes

Floats = NDArray[np.float64]

_LENGTHS = np.logspace(-12.0, 9.0, 21 * 16 + 1)  # where a fixed point is looked for; beyond, it counts as 0 or infinity
_ROUNDING = 1e-13


def mean_square(activation: Activation, length: Floats | float) -> Floats:
    """E[phi(z)^2] for z ~ N(0, length), of the shape of ``length``."""
    z, w = gaussian_nodes(length, activation.kinks)
    return np.asarray(np.sum(w * activation.phi(z) ** 2, axis=-1))


def mean_square_slope(activation: Activation, length: Floats | float) -> Floats:
    """E[phi'(z)^2] for z ~ N(0, length), of the shape of ``length``."""
    z, w = gaussian_nodes(length, activation.kinks)
    return np.asarray(np.sum(w * activation.slope(z) ** 2, axis=-1))


def limit_length(activation: Activation, gain: float, bias_std: float = 0.0, start: float = 1.0) -> float:
    """The length that the map tends to from ``start``: a fixed point, 0, or infinity.

    The map is increasing for every activation of the table, so the iterates run monotonically into the nearest fixed point
    that lies their way; it is found as a root, since near a critical point the iteration itself takes for ever.
    """

    def growth(q: Floats | float) -> Floats:
        return gain**2 * mean_square(activation, q) + bias_std**2 - q

    first = float(growth(start))
    if abs(first) <= _ROUNDING * start:
        return start
    growths = gain**2 * _mean_squares(activation) + bias_std**2 - _LENGTHS
    if first > 0:
        stops = np.flatnonzero((growths <= 0) & (start < _LENGTHS))
        if not len(stops):
            return math.inf
        outer, inner = stops[0], max(start, _LENGTHS[stops[0] - 1])
    else:
        stops = np.flatnonzero((growths >= 0) & (start > _LENGTHS))
        if not len(stops):
            return 0.0
        outer, inner = stops[-1], min(start, _LENGTHS[min(stops[-1] + 1, len(_LENGTHS) - 1)])
    return _root(lambda x: float(growth(math.exp(x))), math.log(inner), math.log(_LENGTHS[outer]), exponential=True)


@dataclass(frozen=True)
class CriticalPoint:
    """Where gradients are level in a deep net: the ``gain`` (sigma_w), the ``length`` there and the factor ``chi`` per layer.

    ``kind`` is ``critical`` where chi at the limit of the length map passes through 1 continuously, ``boundary`` where it jumps
    over 1 because the limit itself jumps: at that gain unit length is an *unstable* fixed point, any less and the signal
    dies, any more and it grows without end. GELU, SiLU, Mish and Hardswish are of that kind without biases.
    """

    gain: float
    length: float
    chi: float
    kind: Literal["critical", "boundary"]


@cache
def critical_point(activation: Activation, bias_std: float = 0.0) -> CriticalPoint:
    """The smallest gain at which chi, at the limit of the length map from unit length, reaches 1 (Schoenholz 2017, eq. 5).

    Raises:
        UnsupportedError: chi stays below 1 at any gain up to 100.
    """

    def chi(gain: float) -> float:
        return gain**2 * _limit_slope(activation, limit_length(activation, gain, bias_std))

    gains = np.logspace(-2.0, 2.0, 201)
    above = next((i for i, gain in enumerate(gains) if chi(gain) >= 1.0 - _ROUNDING), None)
    if not above:
        raise UnsupportedError(f"no gain gives {activation.name} level gradients: each layer loses some at any gain")
    low, high = float(gains[above - 1]), float(gains[above])
    while high - low > 1e-14 * high and low < (middle := 0.5 * (low + high)) < high:
        low, high = (low, middle) if chi(middle) >= 1.0 - _ROUNDING else (middle, high)
    if chi(high) - chi(low) > 1e-3:
        return CriticalPoint(high, 1.0, high**2 * float(mean_square_slope(activation, 1.0)), "boundary")
    gain = high / math.sqrt(chi(high))
    return CriticalPoint(gain, limit_length(activation, gain, bias_std), chi(gain), "critical")


def critical_gain(activation: str, bias_std: float = 0.0, **options: float) -> float:
    """The gain (sigma_w = std * sqrt(fan_in)) at which theory predicts level gradients: relu sqrt 2, tanh 1, gelu 1.5335.

    That is where chi at the limit of the length map is 1 (the edge of chaos; Poole 2016, Schoenholz 2017). It always is a
    statement about deep layers: a sigmoid's is 10.1, a saturated net. Where there is no such point, because the limit
    jumps (gelu, silu, mish, hardswish), it is the gain that keeps unit length; chi is then 1.06 to 1.08 per layer there.
    ``options`` are the activation's own, named as torch's (``negative_slope=0.1``).

    Raises:
        UsageError: the activation or an option of it is unknown, or ``bias_std`` is negative or not finite.
        UnsupportedError: no gain comes within 10 % per layer of level gradients (tanhshrink, softshrink, hardshrink).
    """
    if not (math.isfinite(bias_std) and bias_std >= 0.0):
        raise UsageError(f"bias_std is a standard deviation, 0 or more (got {bias_std})")
    point = critical_point(find_activation(activation, **options), bias_std)
    if abs(point.chi - 1.0) > 0.1:
        raise UnsupportedError(
            f"{activation} has no critical gain: at its boundary of {point.gain:.4g} a layer multiplies the squared gradient "
            f"by {point.chi:.3g}",
            hint="give the gain as a number, or choose another activation",
        )
    return point.gain


@cache
def _mean_squares(activation: Activation) -> Floats:
    return mean_square(activation, _LENGTHS)


@cache
def _limit_slope(activation: Activation, length: float) -> float:
    return float(mean_square_slope(activation, min(length, _LENGTHS[-1] ** 2)))


def _root(f: Callable[[float], float], a: float, b: float, *, exponential: bool = False) -> float:
    """A root of ``f`` between ``a`` and ``b``, where its signs differ (Brent's idea in the form of Chandrupatla 1997)."""
    fa, fb = f(a), f(b)
    c, fc, t = a, fa, 0.5
    while fb != 0.0 and abs(b - a) > 4e-16 * max(1.0, abs(b)):
        x = a + t * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = x, fx
        if fa == 0.0:
            b, fb = a, fa
            break
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        inverse = phi**2 < xi and (1 - phi) ** 2 < 1 - xi
        t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb) if inverse else 0.5
        edge = 2e-16 * max(1.0, abs(a)) / abs(b - a)
        t = min(max(t, edge), 1.0 - edge) if edge < 0.5 else 0.5
    return math.exp(b) if exponential else b
