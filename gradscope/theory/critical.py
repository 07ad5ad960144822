"""Gains at which gradients are level: in the limit of depth (the critical line), and for a net of a given depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UnsupportedError, UsageError
from gradscope.numbers import number
from gradscope.theory.activations import Nonlinearity, find_activation
from gradscope.theory.meanfield import LENGTHS, ROUNDING, chi, limit_length, mean_square_slope, trajectory
from gradscope.theory.quadrature import root

Floats = NDArray[np.float64]

LEVEL = 0.1
"""How far from 1 the factor of the squared gradient norm may be, per layer, at a gain that is called level."""


@dataclass(frozen=True)
class CriticalPoint:
    """Where gradients are level in a deep net: sigma_w, the ``length`` there and the factor ``chi`` per layer.

    ``kind`` is ``critical`` where chi at the limit of the length map passes through 1 continuously, ``boundary`` where it jumps
    over 1 because the limit itself jumps: at that gain unit length is an *unstable* fixed point, any less and the signal
    dies, any more and it grows without end. GELU, SiLU, Mish and Hardswish are of that kind without biases.
    """

    sigma_w: float
    length: float
    chi: float
    kind: Literal["critical", "boundary"]

    @property
    def level(self) -> bool:
        """Whether gradients are level here to ``LEVEL`` per layer."""
        return abs(self.chi - 1.0) <= LEVEL


@cache
def critical_point(activation: Nonlinearity, sigma_b: float = 0.0) -> CriticalPoint:
    """The smallest gain at which chi, at the limit of the length map from unit length, reaches 1 (Schoenholz 2017, eq. 5).

    Raises:
        UnsupportedError: chi stays below 1 at any gain up to 100.
    """

    def limit_chi(sigma_w: float) -> float:
        return sigma_w**2 * _limit_slope(activation, limit_length(activation, sigma_w, sigma_b))

    gains = np.logspace(-2.0, 2.0, 41)
    above = next((i for i, gain in enumerate(gains) if limit_chi(gain) >= 1.0 - ROUNDING), None)
    if not above:
        raise UnsupportedError(f"no gain gives {activation.name} level gradients: each layer loses some at any gain")
    gain = root(lambda x: limit_chi(x) - 1.0 + ROUNDING, float(gains[above - 1]), float(gains[above]), tolerance=1e-13)
    if limit_chi(gain * (1.0 + 1e-9)) - limit_chi(gain * (1.0 - 1e-9)) > 1e-3:
        return CriticalPoint(gain, 1.0, float(chi(activation, 1.0, gain)), "boundary")
    gain /= math.sqrt(limit_chi(gain))
    return CriticalPoint(gain, limit_length(activation, gain, sigma_b), limit_chi(gain), "critical")


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
    if not point.level:
        raise UnsupportedError(
            f"{activation} has no critical gain: at its boundary of {number(point.sigma_w, 4)} a layer multiplies the squared "
            f"gradient by {number(point.chi)}",
            hint="give the gain as a number, or choose another activation",
        )
    return point.sigma_w


def level_gain(activation: str, depth: int, bias_std: float = 0.0, input_length: float = 1.0, **options: float) -> float:
    """The smallest gain at which the gradient of ``depth`` weight layers has the same norm at the first as at the last.

    Unlike ``critical_gain`` it counts the way to the limit too: the product of chi along the lengths that a net with inputs of
    mean square ``input_length`` really goes through. A tanh net of depth 30 needs 1.236 instead of 1.

    Raises:
        UsageError: the activation or an option of it is unknown, or ``depth`` is below 2.
        UnsupportedError: no gain up to 100 does it.
    """
    if depth < 2:
        raise UsageError(f"a gradient needs two weight layers to fall between (got depth {depth})")
    found = find_activation(activation, **options)

    def excess(log_gain: Floats | float) -> Floats:
        sigma_w = np.exp(log_gain)
        factors = chi(found, trajectory(found, depth - 1, sigma_w, bias_std, input_length), sigma_w)
        return np.asarray(np.mean(np.log(np.maximum(factors, 1e-300)), axis=0))

    grid = np.linspace(math.log(0.1), math.log(100.0), 31)
    rises = np.flatnonzero(np.diff(excess(grid) >= 0.0))
    if not len(rises):
        raise UnsupportedError(f"no gain gives {activation} level gradients over {depth} layers")
    return math.exp(root(lambda x: float(excess(x)), grid[rises[0]], grid[rises[0] + 1], tolerance=1e-11))


@cache
def _limit_slope(activation: Nonlinearity, length: float) -> float:
    return float(mean_square_slope(activation, min(length, LENGTHS[-1] ** 2)))
