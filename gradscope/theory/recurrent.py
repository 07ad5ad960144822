"""The factor by which a gradient changes per time step of a recurrent cell at initialisation.

All factors are of norms, not of their squares, and of the last step's output alone: a loss at every step would hide the
decay behind what each step adds. Time steps share their weights. In a plain wide cell that changes nothing (Chen,
Pennington and Schoenholz 2018). In a gated cell the state's own path commutes with everything, so that path and random loop
add up in the norm, a + r, where fresh weights at each step would give sqrt(a^2 + r^2): the edge of the spectrum of
a + r G with a random matrix G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradscope.theory.activations import Nonlinearity, find_activation
from gradscope.theory.meanfield import LONGEST, chi, limit_length, next_length
from gradscope.theory.quadrature import gaussian_nodes

Floats = NDArray[np.float64]

_STEPS = 10_000  # to the steady state of a cell that forgets anything at all


@dataclass(frozen=True)
class RecurrentStep:
    """A cell in its steady state: ``factor`` per step, and the mean square of a unit's state, ``length``.

    ``path`` is the factor of the state's own path past all weights (the mean of a forget or update gate; 0 in a plain cell).
    ``bound`` is what the factor cannot exceed, largest singular value times steepest slope: below 1 it suffices for
    vanishing, above 1 it is only necessary for exploding (Pascanu 2013). Gated cells have no such bound: infinite.
    """

    factor: float
    length: float
    path: float = 0.0
    bound: float = math.inf

    @property
    def horizon(self) -> float:
        """The steps over which the gradient changes by e; infinite where it is level."""
        return math.inf if self.factor == 1.0 else 1.0 / abs(math.log(self.factor)) if self.factor > 0.0 else 0.0


def recurrent_step(
    activation: str, sigma_w: float, drive: float = 0.0, weights: Literal["gaussian", "orthogonal"] = "gaussian"
) -> RecurrentStep:
    """h_t = phi(W h_{t-1} + U x_t + b) with W of scale sigma_w: sqrt(chi) at the fixed point of the length map.

    ``drive`` is the variance of U x_t + b over units. A Gaussian W has largest singular value 2 sigma_w, an orthogonal one
    sigma_w; spectral radius is sigma_w for both. ``length`` is that of the pre-activation.
    """
    phi = find_activation(activation)
    length = limit_length(phi, sigma_w, math.sqrt(drive), start=max(drive, 1.0))
    largest = sigma_w * (2.0 if weights == "gaussian" else 1.0)
    factor = math.sqrt(float(chi(phi, min(length, 1e18), sigma_w)))
    return RecurrentStep(factor, length, bound=largest * steepest_slope(phi))


def through_time(activation: str, sigma_w: float, drive: float | Floats, steps: int) -> Floats:
    """|dL_T/dh_t| / |dL_T/dh_T| for t = 0 ... ``steps`` of a plain cell that starts from state 0, (steps + 1,).

    ``drive`` as in ``recurrent_step``, one for all steps or one for each, (steps,).
    """
    phi = find_activation(activation)
    own, logs = 0.0, [0.0]
    for enters in np.broadcast_to(drive, steps):
        length = min(own + float(enters), LONGEST)
        logs.append(0.5 * math.log(max(float(chi(phi, length, sigma_w)), 1e-300)))
        own = float(next_length(phi, length, sigma_w))
    sums = np.cumsum(logs)
    return np.asarray(np.exp(np.clip(sums[-1] - sums, -700.0, 700.0)))


def lstm_step(forget_bias: float, sigma_w: float, drive: float = 0.0) -> RecurrentStep:
    """An LSTM cell near state 0; the matrices of all gates have scale sigma_w (torch's default: sqrt(1/3)).

    ``drive`` is the variance of a gate's W x + b around its bias. ``path`` is E[f], sigmoid(forget_bias) for small
    pre-activations (Gers 2000; Jozefowicz 2015); the loop c -> h -> candidate -> c comes on top. ``length`` is that of c. Where
    the factor is above 1 the state leaves 0 and saturates, and the factor falls towards 1 as it does.
    """
    cell = hidden = 0.0
    for _ in range(_STEPS):
        pre = sigma_w**2 * hidden + drive
        forget, gate, candidate = _Gate.of("sigmoid", pre, forget_bias), _Gate.of("sigmoid", pre), _Gate.of("tanh", pre)
        was, cell = cell, forget.square * cell + gate.square * candidate.square
        out = _Gate.of("tanh", cell)
        hidden = gate.square * out.square
        if abs(cell - was) <= 1e-10 * cell:
            break
    loop = sigma_w * gate.mean * candidate.slope * gate.mean * out.slope
    return RecurrentStep(forget.mean + loop, cell, path=forget.mean)


def gru_step(update_bias: float, sigma_w: float, drive: float = 0.0) -> RecurrentStep:
    """A GRU cell in its steady state, h' = (1 - z) n + z h with n = tanh(W x + r (U h)), as torch has it.

    ``update_bias`` above 0 keeps the state longer: ``path`` is E[z]. ``length`` is that of h.
    """
    hidden = 0.0
    for _ in range(_STEPS):
        inner = sigma_w**2 * hidden
        update, reset = _Gate.of("sigmoid", inner + drive, update_bias), _Gate.of("sigmoid", inner + drive)
        new = _Gate.of("tanh", drive + reset.square * inner)
        was, hidden = hidden, (1.0 - 2.0 * update.mean + update.square) * new.square + update.square * hidden
        if abs(hidden - was) <= 1e-10 * hidden:
            break
    loop = sigma_w * (1.0 - update.mean) * new.slope * reset.mean
    return RecurrentStep(update.mean + loop, hidden, path=update.mean)


def steepest_slope(activation: Nonlinearity) -> float:
    """The largest |phi'|: 1 for tanh, 1/4 for sigmoid."""
    z = np.concatenate([np.linspace(-20.0, 20.0, 40_001), *(np.array([k - 1e-9, k + 1e-9]) for k in activation.kinks)])
    return float(np.max(np.abs(activation.slope(z))))


@dataclass(frozen=True)
class _Gate:
    """E[f], E[f^2] and E[f'] of a Gaussian pre-activation."""

    mean: float
    square: float
    slope: float

    @classmethod
    def of(cls, name: str, variance: float, mean: float = 0.0) -> _Gate:
        f = find_activation(name)
        z, w = gaussian_nodes(variance, f.kinks, mean)
        value = f.phi(z)
        return cls(float(np.sum(w * value)), float(np.sum(w * value**2)), float(np.sum(w * f.slope(z))))
