"""What theory predicts for a whole net before training: signal and gradient at every layer, and how much chance adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UsageError
from gradscope.numbers import number
from gradscope.theory.activations import find_activation
from gradscope.theory.convolution import Convolution
from gradscope.theory.finite_width import Response
from gradscope.theory.layers import (
    Activation,
    Dropout,
    Layer,
    Linear,
    Norm,
    Normalise,
    Passage,
    Residual,
    Signal,
    Weights,
    needs_overlap,
    over_places,
    walk,
)
from gradscope.theory.meanfield import unstable_length

Floats = NDArray[np.float64]

STATIONS = (Linear, Convolution, Residual)
_FLOAT32 = 3.4e38
_STRETCH = 3  # matrices with their activations that make a net in which a fixed point matters
_NEAR = 3.0  # how far, either way, a signal may begin from an unstable length for that to be said
_NARROW = 16  # units in a hidden layer; the log of a chi-square of fewer is far from Gaussian


@dataclass(frozen=True)
class LayerPrediction:
    """The prediction for one layer. Norms are Frobenius over batch and units; ratios of norms, not of their squares.

    ``rms`` is the root mean square of the layer's output, NaN where theory does not follow it. ``backward_gain`` is
    |dL/d input| / |dL/d output| of this layer, ``log_ratio`` the natural logarithm of |dL/d output| here over the same at the
    last layer (-inf where none arrives), and ``weight_ratio`` the per-sample Frobenius norm of a matrix's gradient over that
    of the last matrix (None for other layers). ``gain_spread`` and ``ratio_spread`` are the deviations of the logarithms over
    random nets of this width, for one sample; the mean logarithm of the ratio lies ``ratio_drift`` from the one given here
    (-2.5 / width per ReLU layer in the squared norm; Hanin 2018).
    """

    layer: Layer
    rms: float
    backward_gain: float
    log_ratio: float
    weight_ratio: float | None
    gain_spread: float
    ratio_spread: float
    ratio_drift: float

    @property
    def backward_ratio(self) -> float:
        """|dL/d output| of this layer over the same of the last layer; 0 or 1e304 where that leaves float64."""
        return _exp(self.log_ratio)

    def ratio_interval(self, sigmas: float = 3.0) -> tuple[float, float]:
        """Where the backward ratio of one random net lies, this many standard deviations to either side of the typical one."""
        middle, reach = self.log_ratio + self.ratio_drift, sigmas * self.ratio_spread
        return _exp(middle - reach), _exp(middle + reach)


@dataclass(frozen=True)
class Prediction:
    """The layers' predictions, in forward order; ``notes`` say where theory is not to be relied on, each in a sentence."""

    layers: tuple[LayerPrediction, ...]
    notes: tuple[str, ...] = ()

    @property
    def stations(self) -> tuple[LayerPrediction, ...]:
        """Where the signal is compared from layer to layer: matrices and residual blocks, not what stands between."""
        return tuple(p for p in self.layers if isinstance(p.layer, STATIONS))

    def station_gains(self) -> Floats:
        """|delta_l| / |delta_{l+1}| for the stations but the last, in forward order."""
        places = [i for i, p in enumerate(self.layers) if isinstance(p.layer, STATIONS)]
        return np.array([math.prod(p.backward_gain for p in self.layers[i + 1 : j + 1]) for i, j in pairwise(places)])

    def mean_gain(self) -> float:
        """The geometric mean of the station gains; 1 for a net of one station."""
        stations = self.stations
        if len(stations) < 2:
            return 1.0
        return _exp((stations[0].log_ratio - stations[-1].log_ratio) / (len(stations) - 1))

    def reach(self, factor: float) -> float:
        """How many stations back from the last the gradient's norm stays within a ``factor`` either way, for example 100.

        Beyond the net's own depth it is carried on at the gain of its inner half; infinite where that is level.
        """
        if factor <= 1.0:
            raise UsageError(f"a factor either way is above 1 (got {factor})")
        logs = np.array([p.log_ratio for p in reversed(self.stations)])
        outside = np.flatnonzero(np.abs(logs) > math.log(factor))
        if len(outside):
            return float(outside[0])
        inner = logs[len(logs) // 4 : max(len(logs) - len(logs) // 4, len(logs) // 4 + 2)]
        slope = float(np.mean(np.diff(inner))) if len(inner) > 1 else 0.0
        if abs(slope) < 1e-6:
            return math.inf
        return len(logs) - 1 + (math.log(factor) - math.copysign(1.0, slope) * float(logs[-1])) / abs(slope)


def predict(
    layers: Sequence[Layer],
    *,
    width: int,
    input_length: float | Sequence[float] | Floats = 1.0,
    input_overlap: float = 0.0,
    batch: int | None = None,
) -> Prediction:
    """Predict signal and gradient of a net at initialisation from a description of its layers.

    ``width`` is the number of inputs, an image's channels; ``input_length`` their mean square, one for all, or one per sample
    (norms are then over these samples) and per place of an image, (S, ...); ``input_overlap`` the mean product of two samples'
    inputs, 0 for standardised data; ``batch`` the samples in a batch, which only batch norm asks for (None: many).

    Raises:
        UsageError: there are no layers, an activation is unknown, or a length is negative or not finite.
        UnsupportedError: batch norm over fewer than 4 samples.
    """
    layers = tuple(layers)
    if not layers:
        raise UsageError("a net without layers has nothing to predict")
    lengths = np.atleast_1d(np.asarray(input_length, dtype=np.float64))
    if not (np.isfinite(lengths).all() and (lengths >= 0.0).all()):
        raise UsageError("the mean square of an input is a finite number, 0 or more")
    start = Signal(lengths, input_overlap if needs_overlap(layers) else math.nan, width)
    passed = walk(layers, start, batch)
    gains = _log_gains(passed)
    # Squared gradients at the layers' outputs, per sample, from the last back; as logarithms, since deep nets leave float64.
    behind = np.concatenate([np.cumsum(gains[:0:-1], axis=0)[::-1], np.zeros((1, len(lengths)))])
    until = list(accumulate((p.response for p in passed), Response.then, initial=Response()))
    after = list(accumulate((p.response for p in reversed(passed)), lambda rest, p: p.then(rest), initial=Response()))[::-1]
    signals = [start, *(p.signal for p in passed)]
    weights = [_log_weight_norm(behind[i], signals[i]) if isinstance(x, Linear) else None for i, x in enumerate(layers)]
    reference = next((w for w in reversed(weights) if w is not None), 0.0)
    rows = tuple(
        LayerPrediction(
            layer=layer,
            rms=math.sqrt(p.signal.length),
            backward_gain=_backward_gain(gains[i], behind[i]),
            log_ratio=_log_root_mean(behind[i]),
            weight_ratio=None if (weight := weights[i]) is None else _exp(weight - reference),
            gain_spread=_spread(p.response, until[i].length_variance),
            ratio_spread=_spread(after[i + 1], until[i + 1].length_variance),
            ratio_drift=0.5 * (after[i + 1].gain_drift + after[i + 1].tilt * until[i + 1].length_drift),
        )
        for i, (layer, p) in enumerate(zip(layers, passed, strict=True))
    )
    return Prediction(rows, tuple(_notes(layers, passed, rows[0].ratio_spread)))


def mlp(
    *,
    depth: int,
    width: int,
    inputs: int,
    outputs: int,
    activation: str,
    sigma_w: float,
    sigma_b: float = 0.0,
    norm: Literal["none"] | Norm = "none",
    branch_scale: float | None = None,
    dropout: float = 0.0,
    weights: Weights = "gaussian",
) -> tuple[Layer, ...]:
    """The layers of the ``mlp`` of a config, ``depth`` weight layers with the head, all with this sigma_w and sigma_b.

    A plain layer is phi(norm(W h + b)). With a ``branch_scale`` s: a stem, then blocks h + s (W phi(norm(h)) + b), then a norm
    if there is one, then the head.
    """
    normed: tuple[Layer, ...] = () if norm == "none" else (Normalise(norm),)
    dropped: tuple[Layer, ...] = (Dropout(dropout),) if dropout else ()

    def linear(fan_in: int, fan_out: int) -> Linear:
        return Linear(fan_in, fan_out, sigma_w, sigma_b, weights)

    if depth == 1:
        return (linear(inputs, outputs),)
    head = linear(width, outputs)
    active = (*normed, Activation(activation), *dropped)
    if branch_scale is None:
        hidden = [layer for fan_in in [inputs] + [width] * (depth - 2) for layer in (linear(fan_in, width), *active)]
        return (*hidden, head)
    block = Residual((*active, linear(width, width)), branch_scale)
    return (linear(inputs, width), *[block] * (depth - 2), *normed, head)


def _log_gains(passed: Sequence[Passage]) -> Floats:
    """The logarithm of each layer's gain of the squared gradient by sample, (layers, S), given where that reaches an image."""
    at = passed[-1].signal.lengths
    gradient = np.full(at.shape, 1.0 / passed[-1].signal.places)
    logs = []
    for p in reversed(passed):
        before = p.back(gradient)
        total = over_places(before)
        alive = total.reshape(-1, *[1] * (before.ndim - 1))
        gradient = np.where(alive > 0.0, before / np.where(alive > 0.0, alive, 1.0), before.shape[0] / before.size)
        with np.errstate(divide="ignore"):
            logs.append(np.log(total))
    return np.array(logs[::-1])


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def _log_root_mean(logs: Floats) -> float:
    """The logarithm of the root of the mean of exp(logs), free of overflow on the way."""
    top = float(np.max(logs))
    return top if math.isinf(top) else 0.5 * (top + math.log(float(np.mean(np.exp(logs - top)))))


def _backward_gain(gains: Floats, behind: Floats) -> float:
    """One layer's gain of the norm over all samples, each weighing as much as the gradient that reaches it."""
    if math.isinf(float(np.max(behind))):
        behind = np.zeros_like(behind)
    return _exp(_log_root_mean(gains + behind) - _log_root_mean(behind))


def _log_weight_norm(behind: Floats, signal: Signal) -> float:
    """The logarithm of |dL/dW|_F, which is |delta| |h| of a sample, as the root mean square over samples."""
    return _log_root_mean(behind + np.log(np.maximum(over_places(signal.lengths), 1e-300) * signal.width))


def _spread(response: Response, length_variance: float) -> float:
    """The deviation of the log norm (half the squared norm's) through a stretch whose input's log length varies that much."""
    return 0.5 * math.sqrt(max(response.gain_variance + response.tilt**2 * length_variance, 0.0))


def _flat(layers: Sequence[Layer]) -> Iterator[Layer]:
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from _flat(layer.branch)


def _near_unstable(layers: Sequence[Layer], passed: Sequence[Passage]) -> str | None:
    """Where a plain stretch of like layers has a length that all others leave, and the signal begins near it."""
    pairs = [(i, x, y) for i, (x, y) in enumerate(pairwise(layers)) if isinstance(x, Linear) and isinstance(y, Activation)]
    kinds = {y for _, _, y in pairs}
    if len(pairs) < _STRETCH or len(kinds) > 1:
        return None
    kind = kinds.pop()
    sigma_w, sigma_b = (
        math.sqrt(float(np.mean(np.square([getattr(x, s) for _, x, _ in pairs])))) for s in ("sigma_w", "sigma_b")
    )
    length = unstable_length(find_activation(kind.name, **dict(kind.options)), sigma_w, sigma_b)
    start = passed[pairs[0][0]].signal.length
    if length is None or not 1.0 / _NEAR < start / length < _NEAR:
        return None
    return (
        f"a mean square of {number(length)} is an unstable fixed point of {kind.name} at gain {number(sigma_w, 4)}: shorter "
        "signals shrink away from it with depth, longer ones grow, and chance may turn one into the other"
    )


def _notes(layers: Sequence[Layer], passed: Sequence[Passage], spread: float) -> Iterator[str]:
    for name in dict.fromkeys(x.name for x in _flat(layers) if isinstance(x, Activation)):
        if not find_activation(name).continuous:
            yield f"{name} jumps, so its gradient is not that of its output, and the prediction drifts off with depth"
    growth = worst = 1.0
    for p in passed:
        growth = max(growth, 1.0) * p.response.carry
        worst = max(worst, growth)
    if worst > 2.0:
        yield (
            f"the signal leaves an unstable fixed point: a length that is 1% off early on ends {number(worst)}% off, "
            "so the prediction is rough at finite width"
        )
    elif note := _near_unstable(layers, passed):
        yield note
    beyond = next((i for i, p in enumerate(passed) if p.signal.length > _FLOAT32**2), None)
    if beyond is not None:
        yield f"the signal leaves the range of float32 at layer {beyond + 1} of {len(passed)}, counting what stands between"
    narrowest = min((p.signal.width for p in passed[:-1]), default=_NARROW)
    if narrowest < _NARROW:
        yield f"a layer of {narrowest} units is narrow for a theory of wide nets"
    if spread > 1.0:
        yield f"chance alone changes the end-to-end gradient of such a net by a factor of {number(_exp(spread))}"
