"""The length map of a wide random network and what follows from it (Poole 2016, Schoenholz 2017).

A layer is z' = W phi(z) + b with W_ij ~ N(0, sigma_w^2 / fan_in) and b_i ~ N(0, sigma_b^2). The length q is the mean square of
a pre-activation; it goes from layer to layer by q' = sigma_w^2 E[phi(z)^2] + sigma_b^2 with z ~ N(0, q). The squared norm of a
gradient, summed over units, goes back through the same layer by the factor chi(q) = sigma_w^2 E[phi'(z)^2]; summed, because
the mean over units would bring in the ratio of the widths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradscope.theory.activations import Nonlinearity
from gradscope.theory.quadrature import gaussian_nodes, root

Floats = NDArray[np.float64]

LENGTHS = np.logspace(-12.0, 9.0, 21 * 16 + 1)
"""Where a fixed point is looked for; below it counts as 0, above as infinity."""

LONGEST = 1e120
"""Where a length that grows without end stops, so that its squares stay finite."""

_NOUGHT = 1e-200  # a length that stands for the limit 0 and whose square roots are still normal numbers
ROUNDING = 1e-13


def mean_square(activation: Nonlinearity, length: Floats | float) -> Floats:
    """E[phi(z)^2] for z ~ N(0, length), of the shape of ``length``."""
    z, w = gaussian_nodes(length, activation.kinks)
    return np.asarray(np.sum(w * activation.phi(z) ** 2, axis=-1))


def mean_square_slope(activation: Nonlinearity, length: Floats | float) -> Floats:
    """E[phi'(z)^2] for z ~ N(0, length), of the shape of ``length``."""
    z, w = gaussian_nodes(length, activation.kinks)
    return np.asarray(np.sum(w * activation.slope(z) ** 2, axis=-1))


def flat_share(activation: Nonlinearity, length: float, flat: float = 0.05) -> float:
    """The share of z ~ N(0, length) where |phi'(z)| is under ``flat`` of its largest on [-3, 3]: units that are saturated."""
    edges = np.linspace(-8.0, 8.0, 16_001)
    density = np.exp(-0.5 * edges * edges)
    slopes = np.abs(activation.slope(math.sqrt(length) * edges))
    steepest = float(np.max(np.abs(activation.slope(np.linspace(-3.0, 3.0, 6001)))))
    return float(np.sum(density[slopes < flat * steepest]) / np.sum(density))


@dataclass(frozen=True, eq=False)
class Moments:
    """Of phi on Gaussian units of given lengths, each (S,): what a layer, and the noise in it, is made of.

    ``square`` is E[phi^2], ``slope`` E[phi'^2]; ``carry`` and ``tilt`` are their logarithmic derivatives by the length; the
    rest are the relative variances of phi^2 and phi'^2 over units, and their relative covariance.
    """

    square: Floats
    slope: Floats
    carry: Floats
    tilt: Floats
    square_variance: Floats
    slope_variance: Floats
    covariance: Floats


def moments(activation: Nonlinearity, lengths: Floats) -> Moments:
    """All of them from one evaluation of phi and phi'; where one of the two is 0 everywhere, so are the rest."""
    lengths = np.maximum(lengths, _NOUGHT)
    z, w = gaussian_nodes(lengths, activation.kinks)
    square, slope = activation.phi(z) ** 2, activation.slope(z) ** 2
    mean, mean_slope = _sum(w * square), _sum(w * slope)
    alive = (mean > 0.0) & (mean_slope > 0.0)
    square = square / np.where(alive, mean, np.inf)[..., None]
    slope = slope / np.where(alive, mean_slope, np.inf)[..., None]
    radial = w * (z * z / lengths[..., None] - 1.0)
    square_w, slope_w = w * square, w * slope
    return Moments(
        mean,
        mean_slope,
        0.5 * _sum(radial * square),
        0.5 * _sum(radial * slope),
        _sum(square_w * square) - alive,
        _sum(slope_w * slope) - alive,
        _sum(square_w * slope) - alive,
    )


def _sum(values: Floats) -> Floats:
    return np.asarray(np.sum(values, axis=-1))


def pair_moment(activation: Nonlinearity, length: float, correlation: float, *, slope: bool = False) -> float:
    """E[phi(z1) phi(z2)], or of phi' with ``slope``, for two Gaussians of this length and correlation."""
    f = activation.slope if slope else activation.phi
    z, w = gaussian_nodes(length, activation.kinks)
    partner, v = gaussian_nodes(length * max(0.0, 1.0 - correlation**2), activation.kinks, correlation * z)
    return float(np.sum(w * f(z) * np.sum(v * f(partner), axis=-1)))


def next_length(activation: Nonlinearity, length: Floats | float, sigma_w: Floats | float, sigma_b: float = 0.0) -> Floats:
    """The length map: sigma_w^2 E[phi(z)^2] + sigma_b^2 (Poole 2016, eq. 3)."""
    return np.square(sigma_w) * mean_square(activation, length) + sigma_b**2


def chi(activation: Nonlinearity, length: Floats | float, sigma_w: Floats | float) -> Floats:
    """The factor of the squared gradient norm through one layer: sigma_w^2 E[phi'(z)^2] (Schoenholz 2017, eq. 5)."""
    return np.square(sigma_w) * mean_square_slope(activation, length)


def trajectory(
    activation: Nonlinearity, depth: int, sigma_w: Floats | float, sigma_b: float = 0.0, input_length: float = 1.0
) -> Floats:
    """The lengths q of the pre-activations of ``depth`` weight layers, from the first, (depth, ...) with sigma_w (...).

    ``input_length`` is the mean square of the input, so the first is sigma_w^2 input_length + sigma_b^2. A length that grows
    without end stops at 1e120.
    """
    lengths = np.empty((depth, *np.shape(sigma_w)))
    lengths[0] = np.square(sigma_w) * input_length + sigma_b**2
    for layer in range(1, depth):
        lengths[layer] = np.minimum(next_length(activation, lengths[layer - 1], sigma_w, sigma_b), LONGEST)
    return lengths


def limit_length(activation: Nonlinearity, sigma_w: float, sigma_b: float = 0.0, start: float = 1.0) -> float:
    """The length that the map tends to from ``start``: a fixed point, 0, or infinity.

    The map is increasing for every activation of the table, so the iterates run monotonically into the nearest fixed point
    that lies their way; it is found as a root, since near a critical point the iteration itself takes for ever.
    """

    def growth(q: float) -> float:
        return float(next_length(activation, q, sigma_w, sigma_b)) - q

    first = growth(start)
    if abs(first) <= ROUNDING * start:
        return start
    growths = _growths(activation, sigma_w, sigma_b)
    if first > 0:
        stops = np.flatnonzero((growths <= 0) & (start < LENGTHS))
        if not len(stops):
            return math.inf
        outer, inner = stops[0], max(start, LENGTHS[stops[0] - 1])
    else:
        stops = np.flatnonzero((growths >= 0) & (start > LENGTHS))
        if not len(stops):
            return 0.0
        outer, inner = stops[-1], min(start, LENGTHS[min(stops[-1] + 1, len(LENGTHS) - 1)])
    return math.exp(root(lambda x: growth(math.exp(x)), math.log(inner), math.log(LENGTHS[outer])))


@dataclass(frozen=True)
class FixedPoint:
    """A length that the map leaves as it is, and what a deep net does there.

    ``slope`` is dq'/dq: below 1 the point is ``stable``, above 1 ``unstable`` (the signal leaves it, as GELU's does near
    length 1 at sigma_w = 1.5335), at 1 ``marginal``. ``chi`` is the gradient's factor per layer, squared norm.
    ``correlation`` is the one that two inputs end up with; their distance to it shrinks by ``correlation_slope`` per layer.
    """

    length: float
    slope: float
    chi: float
    correlation: float
    correlation_slope: float

    @property
    def stability(self) -> Literal["stable", "marginal", "unstable"]:
        if abs(self.slope - 1.0) < 1e-9:
            return "marginal"
        return "stable" if self.slope < 1.0 else "unstable"

    @property
    def length_scale(self) -> float:
        """xi_q in layers: how long the signal's length takes to settle (Schoenholz 2017, eq. 8)."""
        return depth_scale(self.slope)

    @property
    def correlation_scale(self) -> float:
        """xi_c in layers: how far two inputs can be told apart; nets train to about 6 of them (Schoenholz 2017, eq. 9)."""
        return depth_scale(self.correlation_slope)

    @property
    def gradient_scale(self) -> float:
        """xi_grad in layers: the squared gradient norm changes by e over it (Schoenholz 2017, eq. 14)."""
        return depth_scale(self.chi)


def depth_scale(factor: float) -> float:
    """The layers over which a quantity with this factor per layer changes by e: 1 / |ln factor|, infinite at 1, 0 at 0."""
    if abs(factor - 1.0) < 1e-12:
        return math.inf
    return 1.0 / abs(math.log(factor)) if factor > 0.0 else 0.0


def fixed_points(activation: Nonlinearity, sigma_w: float, sigma_b: float = 0.0) -> tuple[FixedPoint, ...]:
    """All finite fixed points of the length map, stable and not, from the smallest length up.

    Where every length of a range is one, as for a critical ReLU, a single marginal point stands for the range.
    """
    growths = _growths(activation, sigma_w, sigma_b)
    signs = np.where(np.abs(growths) <= ROUNDING * LENGTHS, 0.0, np.sign(growths))
    lengths = [0.0] if sigma_b == 0.0 and float(mean_square(activation, _NOUGHT)) < 1e-150 else []
    level = LENGTHS[signs == 0.0]
    if len(level):
        lengths = [*lengths, min(1.0, float(level[-1]))]
    for i in np.flatnonzero(signs[1:] * signs[:-1] < 0):
        low, high = math.log(LENGTHS[i]), math.log(LENGTHS[i + 1])
        lengths.append(
            math.exp(root(lambda x: float(next_length(activation, math.exp(x), sigma_w, sigma_b)) - math.exp(x), low, high))
        )
    return tuple(_fixed_point(activation, q, sigma_w, sigma_b) for q in sorted(lengths))


def unstable_length(activation: Nonlinearity, sigma_w: float, sigma_b: float = 0.0) -> float | None:
    """The smallest length that the map leaves as it is and drives all others away from; None without one."""
    growths = _growths(activation, sigma_w, sigma_b)
    least = ROUNDING * LENGTHS
    rises = np.flatnonzero((growths < -least)[:-1] & (growths > least)[1:])
    if not len(rises):
        return None
    low, high = (math.log(LENGTHS[rises[0] + i]) for i in (0, 1))
    return math.exp(root(lambda x: float(next_length(activation, math.exp(x), sigma_w, sigma_b)) - math.exp(x), low, high))


def _fixed_point(activation: Nonlinearity, length: float, sigma_w: float, sigma_b: float) -> FixedPoint:
    q = max(length, _NOUGHT)
    z, w = gaussian_nodes(q, activation.kinks)
    # Differentiating the Gaussian's density instead of phi holds for activations with jumps too.
    change = activation.phi(z) ** 2 - float(activation.phi(np.zeros(1))[0]) ** 2
    slope = sigma_w**2 * float(np.sum(w * change * (z * z / q - 1.0))) / (2.0 * q)
    factor = float(chi(activation, q, sigma_w))
    correlation = correlation_limit(activation, length, sigma_w, sigma_b)
    if correlation == 1.0:
        return FixedPoint(length, slope, factor, 1.0, factor)
    return FixedPoint(length, slope, factor, correlation, sigma_w**2 * pair_moment(activation, length, correlation, slope=True))


def correlation_limit(activation: Nonlinearity, length: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """c*, the correlation that two inputs tend to at this length: 1 where chi <= 1, less in the chaotic phase (Poole 2016)."""
    if length == 0.0 or float(chi(activation, length, sigma_w)) <= 1.0 + 1e-9:
        return 1.0

    def growth(c: float) -> float:
        return (sigma_w**2 * pair_moment(activation, length, c) + sigma_b**2) / length - c

    if growth(0.0) <= ROUNDING:
        return 0.0
    return root(growth, 0.0, 1.0 - 1e-9) if growth(1.0 - 1e-9) < 0 else 1.0


@cache
def _mean_squares(activation: Nonlinearity) -> Floats:
    return mean_square(activation, LENGTHS)


def _growths(activation: Nonlinearity, sigma_w: float, sigma_b: float) -> Floats:
    return sigma_w**2 * _mean_squares(activation) + sigma_b**2 - LENGTHS
