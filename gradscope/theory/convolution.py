"""Convolutions at initialisation: the signal of an image, place by place (Xiao 2018).

A matrix of k x k taps and C channels, drawn with variance sigma_w^2 / (k k C), makes at each place sigma_w^2 times the mean of
the lengths under its taps, and a squared gradient goes back to these places in equal parts. Zeros that are put around an image
are taps without a signal, and what goes back to them is lost. So each layer loses some at the border: deep in a plain net of
3 x 3 taps over 8 x 8 places the factor per layer is 0.92 of a fully connected one's, over 32 x 32 places 0.994 of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory.finite_width import Response
from gradscope.theory.layers import Passage, Signal
from gradscope.theory.meanfield import LONGEST

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: ``taps``, how far apart they are and their places, and the zeros before and after."""

    taps: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    def matrix(self, size: int) -> Floats:
        """Which input each tap of each output reads, as a mean over taps: (outputs, ``size``)."""
        outputs = (size + self.before + self.after - self.dilation * (self.taps - 1) - 1) // self.stride + 1
        if outputs < 1:
            raise UsageError(f"{self.taps} taps do not fit on {size} places")
        found = np.zeros((outputs, size))
        for tap in range(self.taps):
            read = np.arange(outputs) * self.stride - self.before + tap * self.dilation
            inside = (read >= 0) & (read < size)
            found[np.flatnonzero(inside), read[inside]] += 1.0 / self.taps
        return found


@dataclass(frozen=True)
class Convolution:
    """W * h + b over ``axes``, with W of variance sigma_w^2 / (channels_in times taps) and b of variance sigma_b^2.

    The noise of finite width is taken as that of a matrix between as many units as there are channels. That is the most it can
    be: where places differ from each other, what one place has too much of another lacks.
    """

    channels_in: int
    channels_out: int
    sigma_w: float
    axes: tuple[Axis, ...]
    sigma_b: float = 0.0

    def __post_init__(self) -> None:
        if min(self.channels_in, self.channels_out) < 1 or not self.axes:
            raise UsageError(f"a convolution has channels on both sides and taps (got {self})")
        if not (0.0 <= self.sigma_w < math.inf and 0.0 <= self.sigma_b < math.inf):
            raise UsageError(f"a convolution has finite scales, 0 or more (got {self})")

    def through(self, signal: Signal, batch: int | None) -> Passage:
        sizes = signal.lengths.shape[1:]
        if len(sizes) != len(self.axes) or signal.width != self.channels_in:
            raise UsageError(f"a convolution of {self.channels_in} channels over {len(self.axes)} axes takes no such signal")
        maps = [axis.matrix(size) for axis, size in zip(self.axes, sizes, strict=True)]
        kept = self.sigma_w**2 * _spread(signal.lengths, maps)
        lengths = np.minimum(kept + self.sigma_b**2, LONGEST)
        share = float(np.mean(kept) / np.mean(lengths)) if np.mean(lengths) > 0.0 else 0.0
        own, noise = share**2 * signal.length_noise / signal.width, 2.0 / self.channels_in
        back = [m.T for m in maps]
        return Passage(
            Signal(lengths, math.nan, self.channels_out, 2.0),
            lambda gradient: self.sigma_w**2 * _spread(gradient, back),
            Response(share, 0.0, own, noise, 0.0, -0.5 * own, -0.5 * noise),
        )


@dataclass(frozen=True)
class Mean:
    """The mean over all places of an image.

    A gradient that comes back is shared out, so that its square is divided by the number of places. How long the mean is
    depends on how alike the places are, which theory does not follow: what comes after may be a matrix, and no more.
    """

    def through(self, signal: Signal, batch: int | None) -> Passage:
        if signal.lengths.ndim == 1:
            raise UnsupportedError("theory does not know what a mean is taken over")
        shape, share = signal.lengths.shape, signal.places**-2.0
        alike = (-1, *[1] * (len(shape) - 1))
        return Passage(
            Signal(np.full(len(signal.lengths), math.nan), math.nan, signal.width),
            lambda gradient: np.broadcast_to(share * gradient.reshape(alike), shape),
            Response(),
        )


def _spread(values: Floats, maps: Sequence[Floats]) -> Floats:
    """Values (S, ...) with one matrix along each axis but the first; each product puts its axis last, in the end all."""
    return reduce(lambda found, m: np.tensordot(found, m, axes=(1, 1)), maps, values)
