"""Expectations under a Gaussian and on a sphere, exact to 1e-9 or better for smooth, kinked and saturating functions.

Plain Gauss-Hermite nodes miss what happens on another scale than the Gaussian's own: a kink, or a saturation at |z| of
about 1 when the standard deviation is 100. So the line is cut at the kinks and at a few fixed places on both scales, and
Gauss-Legendre nodes are laid in each piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_REACH = 12.0  # standard deviations; what lies beyond weighs less than 1e-31
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_GAUSSIAN_CUTS = np.array([-12.0, -6.0, -3.0, -1.5, 0.0, 1.5, 3.0, 6.0, 12.0])
_FUNCTION_CUTS = np.array([s * x for x in (1.0, 4.0, 16.0, 64.0, 512.0, 4096.0, 32768.0) for s in (-1.0, 1.0)])
_SMALLEST_STD = 1e-150


def gaussian_nodes(variance: Floats | float, kinks: Sequence[float] = (), mean: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Nodes z and weights w, each (..., K), with ``sum(w * f(z))`` = E[f(z)], z ~ N(mean, variance).

    ``variance`` and ``mean`` are broadcast to (...). A variance of 0 is taken as the limit from above, so that a kink at
    the mean counts half from either side.
    """
    std, mean = np.broadcast_arrays(np.maximum(np.sqrt(np.asarray(variance, dtype=np.float64)), _SMALLEST_STD), mean)
    std, mean = std[..., None], np.asarray(mean, dtype=np.float64)[..., None]
    u, w = _composite(_edges((_cuts(kinks) - mean) / std, _GAUSSIAN_CUTS))
    return mean + std * u, w * np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)


def sphere_nodes(
    dimension: int, radius: Floats | float, kinks: Sequence[float] = (), mean: Floats | float = 0.0
) -> tuple[Floats, Floats]:
    """The same for z = mean + one coordinate of a vector uniform on the sphere of this radius in ``dimension`` >= 2.

    In the angle with z - mean = radius sin(angle) the density is cos(angle)^(dimension - 2), without a singular edge.
    """
    radius, mean = np.broadcast_arrays(np.asarray(radius, dtype=np.float64), mean)
    radius, mean = np.maximum(radius, _SMALLEST_STD)[..., None], np.asarray(mean, dtype=np.float64)[..., None]
    scale = math.sqrt(dimension)
    placed = np.arcsin(np.clip((_cuts(kinks) - mean) / radius, -1.0, 1.0))
    angle, w = _composite(_edges(placed, np.arcsin(np.clip(_GAUSSIAN_CUTS / scale, -1.0, 1.0))))
    w = w * np.cos(angle) ** (dimension - 2)
    return mean + radius * np.sin(angle), w / w.sum(axis=-1, keepdims=True)


def root(f: Callable[[float], float], a: float, b: float, tolerance: float = 1e-14) -> float:
    """A root of ``f`` between ``a`` and ``b``, where its signs differ, to within the tolerance (Chandrupatla 1997).

    The tolerance is absolute below 1 and relative above.
    """
    fa, fb = f(a), f(b)
    c, fc, t = a, fa, 0.5
    while fa != 0.0 and fb != 0.0 and abs(b - a) > tolerance * max(1.0, abs(b)):
        x = a + t * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = x, fx
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        t = 0.5
        if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:  # inverse quadratic interpolation is safe here
            t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        edge = min(0.5 * tolerance * max(1.0, abs(a)) / abs(b - a), 0.5)
        t = min(max(t, edge), 1.0 - edge)
    return a if abs(fa) < abs(fb) else b


def _cuts(kinks: Sequence[float]) -> Floats:
    return np.concatenate([_FUNCTION_CUTS, np.asarray(kinks, dtype=np.float64)])


def _edges(placed: Floats, fixed: Floats) -> Floats:
    """All cuts of each row in order, those beyond the outermost of ``fixed`` drawn in to it (an empty piece weighs 0)."""
    placed = np.clip(placed, fixed[0], fixed[-1])
    return np.sort(np.concatenate([np.broadcast_to(fixed, (*placed.shape[:-1], len(fixed))), placed], axis=-1), axis=-1)


def _composite(edges: Floats) -> tuple[Floats, Floats]:
    half = 0.5 * np.diff(edges)[..., None]
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])[..., None]
    u = (middle + half * _NODES).reshape(*edges.shape[:-1], -1)
    return u, np.broadcast_to(half * _WEIGHTS, (*half.shape[:-1], len(_NODES))).reshape(u.shape)
