"""Layers as theory sees them: plain data, each of which says what it does to a signal and to a gradient at initialisation.

A net is a sequence of them, in forward order. ``through`` takes the signal in front of a layer and gives the one behind it,
what becomes of a squared gradient on its way back through the layer, and the layer's response to a signal that finite width
has made too long or too short. What convolutions add, a signal that differs from place to place, is in ``convolution.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory.activations import Nonlinearity, find_activation
from gradscope.theory.finite_width import Response, activation_response
from gradscope.theory.meanfield import LONGEST, Moments, moments, pair_moment
from gradscope.theory.normalisation import batch_moments, batch_norm_gain

Floats = NDArray[np.float64]
Weights = Literal["gaussian", "uniform", "orthogonal"]
Norm = Literal["batch", "layer", "rms"]


@dataclass(frozen=True, eq=False)
class Signal:
    """What theory follows of the values at one place in the net, over random weights.

    ``lengths`` (S, ...) are the mean squares of S samples over ``width`` units, at each place of an image where it is one, NaN
    where nothing is known of them; ``overlap`` is the mean product of two different samples, NaN where nothing later needs it;
    ``length_noise`` / width is the relative variance of a mean square around its expectation (2 for free Gaussian units);
    ``over_batch`` says that batch norm has just been passed.
    """

    lengths: Floats
    overlap: float
    width: int
    length_noise: float = 0.0
    over_batch: bool = False

    @property
    def length(self) -> float:
        """The mean of the lengths over samples and places."""
        return float(np.mean(self.lengths))

    @property
    def places(self) -> int:
        """Of one sample: 1 where it is no image."""
        return math.prod(self.lengths.shape[1:])

    @property
    def of_image(self) -> bool:
        """Whether a sample is an image, or the mean over one; else it may be one of several that a matrix takes together."""
        return self.lengths.ndim > 1 or bool(np.isnan(self.lengths).any())


@dataclass(frozen=True, eq=False)
class Passage:
    """One layer passed: the signal behind it, and ``back``, which gives the squared gradient in front of the layer from that
    behind it, each summed over units, at every sample and place.
    """

    signal: Signal
    back: Callable[[Floats], Floats]
    response: Response


def times(gains: Floats) -> Callable[[Floats], Floats]:
    """What a layer does to a squared gradient that it passes back from every place to the same place."""
    return lambda gradient: gains * gradient


def over_places(values: Floats) -> Floats:
    """The sum over all places of a sample, (S,)."""
    return np.asarray(values.reshape(len(values), -1).sum(axis=1))


class Layer(Protocol):
    """One layer: what it does to a signal and, on the way back, to a gradient."""

    def through(self, signal: Signal, batch: int | None) -> Passage:
        """Pass the layer; ``batch`` is the number of samples that batch norm sees, None for many."""


@dataclass(frozen=True)
class Linear:
    """W h + b with W_ij of variance sigma_w^2 / fan_in and b_i of variance sigma_b^2 (He 2015; Glorot 2010).

    Uniform entries do as Gaussian ones; ``orthogonal`` matrices have the same mean factor without the noise (Saxe 2013). A
    matrix's own sigma_w is |W|_F / sqrt(fan_out).
    """

    fan_in: int
    fan_out: int
    sigma_w: float
    sigma_b: float = 0.0
    weights: Weights = "gaussian"

    def __post_init__(self) -> None:
        if min(self.fan_in, self.fan_out) < 1 or not (0.0 <= self.sigma_w < math.inf and 0.0 <= self.sigma_b < math.inf):
            raise UsageError(f"a matrix has units on both sides and finite scales, 0 or more (got {self})")

    def through(self, signal: Signal, batch: int | None) -> Passage:
        if self.fan_in != signal.width * signal.places and (signal.of_image or self.fan_in % signal.width):
            raise UsageError(f"a matrix of {self.fan_in} inputs takes {signal.width} units at {signal.places} places")
        lengths = np.minimum(self.sigma_w**2 * over_places(signal.lengths) / signal.places + self.sigma_b**2, LONGEST)
        share = 1.0 - self.sigma_b**2 / float(np.mean(lengths)) if np.all(lengths > 0.0) else 0.0
        own = share**2 * signal.length_noise / signal.width
        orthogonal = self.weights == "orthogonal"
        noise = max(0.0, 2.0 / self.fan_in - 2.0 / self.fan_out) if orthogonal else 2.0 / self.fan_in
        # An orthogonal matrix keeps the length of what it maps; what fluctuates is the bias.
        loose = 2.0 * (1.0 - share**2) if orthogonal and self.fan_out >= self.fan_in else 2.0
        overlap = min(self.sigma_w**2 * signal.overlap + self.sigma_b**2, LONGEST)
        after = Signal(lengths, overlap, self.fan_out, loose)
        response = Response(share, 0.0, own, noise, 0.0, -0.5 * own, -0.5 * noise)
        gain, shape = self.sigma_w**2 / signal.places, signal.lengths.shape
        alike = (-1, *[1] * (len(shape) - 1))  # every place of an image gets as much back as any other
        return Passage(after, lambda gradient: np.broadcast_to(gain * gradient.reshape(alike), shape), response)


@dataclass(frozen=True)
class Activation:
    """phi, elementwise, on Gaussian values; ``options`` are pairs of an option of torch and its value."""

    name: str
    options: tuple[tuple[str, float], ...] = ()

    def through(self, signal: Signal, batch: int | None) -> Passage:
        phi = find_activation(self.name, **dict(self.options))
        if np.isnan(signal.lengths).any():
            raise UnsupportedError(f"theory does not know the length of what {self.name} takes here")
        of = _moments(phi, signal.lengths)
        lengths, slopes, overlap = of.square, of.slope, signal.overlap
        if signal.over_batch:
            exact, wide = batch_moments(phi, batch), batch_moments(phi)
            lengths, slopes = lengths * exact.mean_square / wide.mean_square, slopes * exact.slope_square / wide.slope_square
            overlap = exact.overlap
        elif not math.isnan(overlap) and signal.length > 0.0:
            overlap = pair_moment(phi, signal.length, min(1.0, max(-1.0, overlap / signal.length)))
        response = activation_response(of, signal.width, signal.length_noise)
        return Passage(Signal(lengths, overlap, signal.width), times(slopes), response)


def _moments(phi: Nonlinearity, lengths: Floats) -> Moments:
    """Those of an image's many lengths to the nearest percent, which is off by half of one at most, either way."""
    if lengths.ndim == 1:
        return moments(phi, lengths)
    near, at = np.unique(np.round(np.log(np.maximum(lengths, 1e-200)), 2), return_inverse=True)
    few = moments(phi, np.exp(near))
    return Moments(*(getattr(few, f.name)[at].reshape(lengths.shape) for f in fields(Moments)))


@dataclass(frozen=True)
class Normalise:
    """Batch, layer or rms norm at initialisation: scale 1, shift 0, ``eps`` as torch has it.

    Of an image, ``layer`` is over all its units and places (torch's group norm of one group).
    """

    kind: Norm
    eps: float = 1e-5

    def through(self, signal: Signal, batch: int | None) -> Passage:
        if self.kind == "batch":
            return self._over_the_batch(signal, batch)
        everywhere = tuple(range(1, signal.lengths.ndim))
        divisors = np.mean(signal.lengths, axis=everywhere, keepdims=True) + self.eps
        share = float(np.mean(signal.lengths / divisors))
        after = Signal(signal.lengths / divisors, signal.overlap / float(np.mean(divisors)), signal.width)
        units = signal.width * signal.places
        lost = (2.0 if self.kind == "layer" else 1.0) / units  # the mean and the radial direction pass no gradient
        return Passage(after, times(1.0 / divisors), self._response(signal, share, lost))

    def _over_the_batch(self, signal: Signal, batch: int | None) -> Passage:
        if signal.lengths.ndim > 1:
            raise UnsupportedError("theory does not know batch norm over images")
        if math.isnan(signal.overlap):
            raise UsageError("batch norm needs the overlap of the samples", hint="let predict() follow it from input_overlap")
        variance = signal.length - signal.overlap
        share = variance / (variance + self.eps) if variance > 0.0 else 0.0
        # A sample that is longer than the others stays so: what it has in common with them grows with its own length.
        lengths = share * signal.lengths / signal.length if share else np.zeros_like(signal.lengths)
        gain = share * batch_norm_gain(variance, batch) if share else 0.0
        overlap = -share / (batch - 1.0) if batch else 0.0
        after = Signal(lengths, overlap, signal.width, over_batch=True)
        return Passage(after, times(np.full_like(lengths, gain)), self._response(signal, share, 0.0))

    @staticmethod
    def _response(signal: Signal, share: float, lost: float) -> Response:
        own = signal.length_noise / signal.width
        left, gain_variance = (1.0 - share) ** 2 * own, share**2 * own
        return Response(1.0 - share, -share, left, gain_variance, 0.0, -0.5 * left, 0.5 * gain_variance - lost)


@dataclass(frozen=True)
class Dropout:
    """Values kept with probability 1 - ``rate`` and scaled up by its inverse, in training."""

    rate: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise UsageError(f"a dropout rate is at least 0 and below 1 (got {self.rate})")

    def through(self, signal: Signal, batch: int | None) -> Passage:
        kept = 1.0 - self.rate
        own = self.rate / kept / signal.width
        after = replace(signal, lengths=signal.lengths / kept)
        return Passage(
            after, times(np.full_like(signal.lengths, 1.0 / kept)), Response(1.0, 0.0, own, own, own, -0.5 * own, -0.5 * own)
        )


@dataclass(frozen=True)
class Residual:
    """h + scale * branch(h), where the branch holds a random matrix, so that it is uncorrelated with the stream.

    Lengths add, and so do squared gradients: the gain is 1 + scale^2 times the branch's (Yang and Schoenholz 2017). That gain
    is smaller the longer the stream, if the branch normalises or saturates.
    """

    branch: tuple[Layer, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.branch:
            raise UsageError("a residual block without a branch is no block")

    def through(self, signal: Signal, batch: int | None) -> Passage:
        if not self.scale:
            return Passage(signal, times(np.ones_like(signal.lengths)), Response())
        passed = walk(self.branch, replace(signal, length_noise=0.0), batch)
        inner = passed[-1].signal
        if inner.lengths.shape != signal.lengths.shape:
            raise UsageError("a branch gives back what the stream is made of, place by place")

        def back(gradient: Floats) -> Floats:
            return self.scale**2 * reduce(lambda behind, p: p.back(behind), reversed(passed), gradient)

        gain = float(np.mean(over_places(back(np.full_like(signal.lengths, 1.0 / signal.places)))))
        lengths = np.minimum(signal.lengths + self.scale**2 * inner.lengths, LONGEST)
        overlap = min(signal.overlap + self.scale**2 * inner.overlap, LONGEST)
        share = self.scale**2 * inner.length / max(float(np.mean(lengths)), 1e-300)
        # The stream's units persist, and so does the noise of their mean square: from here on it is part of the length.
        branch = reduce(Response.then, (p.response for p in passed)).then(Response.of_length(inner.length_noise / inner.width))
        beside = branch.beside_identity(share, gain, signal.width)
        noise = Response.of_length(signal.length_noise / signal.width)
        return Passage(Signal(lengths, overlap, signal.width), lambda g: g + back(g), noise.then(beside))


def walk(layers: Sequence[Layer], signal: Signal, batch: int | None) -> list[Passage]:
    """Pass all layers in forward order."""
    passed: list[Passage] = []
    for layer in layers:
        passed.append(layer.through(signal, batch))
        signal = passed[-1].signal
    return passed


def needs_overlap(layers: Sequence[Layer]) -> bool:
    """Whether a batch norm stands among the layers or in a branch of one, so that the samples' overlap matters."""
    return any(
        layer.kind == "batch" if isinstance(layer, Normalise) else isinstance(layer, Residual) and needs_overlap(layer.branch)
        for layer in layers
    )
