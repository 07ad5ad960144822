"""What normalisation does to a gradient at initialisation.

Layer and rms norm divide each sample by its own length, so the gradient is divided by the length too. Batch norm divides each
unit by its spread over the batch: the part of the signal that all samples share is thrown away, and what is left is
blown up to length 1; that is why a plain batch-normalised net explodes at any init (Yang 2019). In a wide net whose
inputs are equally correlated, a unit's normalised values over a batch of B are a vector uniform on a sphere in the B - 1
dimensions that sum to 0, and all expectations here are over it; they are exact in B, not only as B grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from gradscope.errors import UnsupportedError
from gradscope.theory.activations import Nonlinearity
from gradscope.theory.meanfield import chi, mean_square, mean_square_slope, next_length, pair_moment
from gradscope.theory.quadrature import sphere_nodes

SMALLEST_BATCH = 4
"""With 3 samples or fewer the gradient through batch norm has no finite mean square."""


@dataclass(frozen=True)
class BatchMoments:
    """Expectations of an activation of batch-normalised values z.

    ``mean_square`` is E[phi(z_s)^2], ``overlap`` E[phi(z_s) phi(z_t)] for two samples, and ``slope_square`` what is left of a
    squared gradient through phi and then the projection of batch norm, relative to the projection alone: E[phi'^2] as the
    batch grows, 1 for the identity at any batch.
    """

    mean_square: float
    overlap: float
    slope_square: float


@cache
def batch_moments(activation: Nonlinearity, batch: int | None = None) -> BatchMoments:
    """The moments after batch norm over ``batch`` samples; None is the limit of a large batch.

    Raises:
        UnsupportedError: the batch is smaller than 4.
    """
    if batch is None:
        square, slope_square = float(mean_square(activation, 1.0)), float(mean_square_slope(activation, 1.0))
        return BatchMoments(square, pair_moment(activation, 1.0, 0.0), slope_square)
    _check(batch)
    n = float(batch)
    edge = np.sqrt(n - 1.0)
    z, w = sphere_nodes(batch - 1, edge, activation.kinks)
    across = -1.0 / (n - 1.0)  # the correlation of two samples once their mean is gone
    reach = np.sqrt(np.maximum((1.0 - across**2) * (edge**2 - z * z), 0.0))
    partner, v = sphere_nodes(batch - 2, reach, activation.kinks, across * z)
    phi, slope = activation.phi(z), activation.slope(z)
    overlap = float(np.sum(w * phi * np.sum(v * activation.phi(partner), axis=-1)))
    slopes = activation.slope(partner)
    square, pair = float(np.sum(w * slope**2)), float(np.sum(w * slope * np.sum(v * slopes, axis=-1)))
    radial = float(np.sum(w * (z * slope) ** 2))
    radial_pair = float(np.sum(w * z * slope * np.sum(v * partner * slopes, axis=-1)))
    trace = (n - 1.0) / n * ((n - 1.0) * square + pair - radial + radial_pair)
    return BatchMoments(float(np.sum(w * phi**2)), overlap, trace / (n - 2.0))


def batch_norm_gain(variance: float, batch: int | None = None) -> float:
    """The factor of the squared gradient norm through batch norm of values with this variance over the batch.

    The division alone gives 1 / variance; the mean and the radial direction that are projected out, and the spread of
    a unit's variance over B samples, make it B (B - 2) / ((B - 1)(B - 3)) of that.

    Raises:
        UnsupportedError: the batch is smaller than 4.
    """
    if batch is None:
        return 1.0 / variance
    _check(batch)
    return batch * (batch - 2.0) / ((batch - 1.0) * (batch - 3.0) * variance)


def plain_batch_norm_factor(activation: Nonlinearity, batch: int | None = None) -> float:
    """The factor per layer of phi(BN(W h)) deep in the net, at any weight scale: pi / (pi - 1) for ReLU (Yang 2019, Thm 8).

    For the identity it is (B - 2) / (B - 3). The first layer differs: its variance is the input's.
    """
    moments = batch_moments(activation, batch)
    return moments.slope_square * batch_norm_gain(moments.mean_square - moments.overlap, batch)


def plain_layer_norm_factor(activation: Nonlinearity, sigma_w: float = 1.0, sigma_b: float = 0.0) -> float:
    """The factor per layer of phi(LN(W h + b)): chi(1) over the length of W h + b; without biases free of the weight scale."""
    return float(chi(activation, 1.0, sigma_w)) / float(next_length(activation, 1.0, sigma_w, sigma_b))


def _check(batch: int) -> None:
    if batch < SMALLEST_BATCH:
        raise UnsupportedError(
            f"batch norm over {batch} samples has no finite expected gradient", hint=f"use {SMALLEST_BATCH} samples or more"
        )
