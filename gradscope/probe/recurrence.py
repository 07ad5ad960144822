"""The gradient through time before training: what one time step passes back, measured and as theory predicts it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradscope import theory
from gradscope.probe.calls import Recurrent
from gradscope.probe.description import NoTheoryError, is_orthogonal
from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.signals.through_time import FEWEST_STEPS, TimeProfile, time_ratio

SIGMAS = 3.0
"""Standard deviations of chance that a measured factor may lie from the predicted one."""
SPREAD = 0.5
"""Of the logarithm of the factor of one draw of Gaussian recurrent weights, in units of 1 / sqrt(width): trials of 64 and 256
units gave up to 0.5 (ReLU), 0.3 for tanh and for gates."""
PER_STEP = 0.035
"""What is allowed besides: the worst of theory's own trials at width 512."""
CENTRED = 0.25
"""How far from 0 the mean bias of a gate other than the one that keeps the state may be for theory to take it as 0."""
GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True)
class TimeProbe:
    """One recurrent layer. ``ratio`` is the norm of the last output's gradient at the first of ``steps`` states over that at
    the last, ``factor`` what one time step passes back, as the mean over the middle half of them. ``predicted`` is theory's
    factor with the ``interval`` that chance allows, and ``path`` the part of it that goes past all weights; ``theory`` says
    why there is none, or is None.
    """

    layer: str
    steps: int
    ratio: float | None
    factor: float | None
    predicted: float | None
    interval: tuple[float, float] | None
    path: float | None
    theory: str | None

    @property
    def agrees(self) -> bool | None:
        if self.interval is None or self.factor is None:
            return None
        return self.interval[0] <= self.factor <= self.interval[1]


def through_time(run: Run, calls: Mapping[str, Recurrent]) -> tuple[TimeProbe, ...]:
    """Every recurrent layer of the record, the first step of it."""
    return tuple(
        _probed(profile, calls.get(profile.layer)) for profile in time_ratio(run) if len(profile.times) >= FEWEST_STEPS
    )


def _probed(profile: TimeProfile, call: Recurrent | None) -> TimeProbe:
    values = np.where(profile.present[0], profile.values[0], np.nan)
    count = len(values)
    first, last = count // 4, count - 1 - count // 4
    ratio, factor = _told(values[0]), _factor(values, first, last)
    try:
        predicted, spread, path = _predicted(call, first, last)
    except NoTheoryError as error:
        return TimeProbe(profile.layer, count, ratio, factor, None, None, None, str(error))
    room = math.exp(SIGMAS * spread + PER_STEP)
    return TimeProbe(profile.layer, count, ratio, factor, predicted, (predicted / room, predicted * room), path, None)


def _predicted(call: Recurrent | None, first: int, last: int) -> tuple[float, float, float]:
    """The factor per step between two time steps, the deviation of its logarithm, and what the state's own path is of it."""
    if call is None:
        raise NoTheoryError("it knows torch's own recurrent modules alone")
    module = call.module
    if module.num_layers > 1 or module.bidirectional:
        raise NoTheoryError("it knows recurrent modules of one layer and one direction")
    if not call.from_rest:
        raise NoTheoryError("it starts from a state of 0, and one is given")
    weights = [p.detach().double() for p in module.all_weights[0]]
    into, own = weights[:2]
    width = module.hidden_size
    scale = math.sqrt(float(own.square().sum()) / len(own))
    drive = np.array(call.lengths) * float(into.square().sum()) / len(into)
    bias = sum(weights[2:]) if len(weights) > 2 else torch.zeros(len(own), dtype=torch.float64)
    assert isinstance(bias, Tensor)
    spread = SPREAD / math.sqrt(width)
    if module.mode in GATES:
        gates = bias.view(GATES[module.mode], width)
        own_path = float(gates[1].mean())
        others = [float(g.mean()) for i, g in enumerate(gates) if i != 1]
        if max(map(abs, others)) > CENTRED:
            raise NoTheoryError("the biases of its other gates do not start around 0")
        about = float(drive[first : last + 1].mean()) + float(gates.var(1, correction=0).mean())
        step = (theory.lstm_step if module.mode == "LSTM" else theory.gru_step)(own_path, scale, about)
        return step.factor, spread, step.path
    if int(own.count_nonzero()) <= width:
        raise NoTheoryError("the recurrent weights are no random matrix")
    phi = "tanh" if module.mode == "RNN_TANH" else "relu"
    ratios = theory.through_time(phi, scale, drive + float(bias.square().mean()), len(drive))[1:]
    factor = _factor(ratios, first, last)
    if factor is None:
        raise NoTheoryError("the state leaves the range of numbers")
    return factor, 0.0 if is_orthogonal(own) else spread, 0.0


def _factor(values: Floats, first: int, last: int) -> float | None:
    """Per time step from one to another; None where either is 0, absent or not finite."""
    a, b = float(values[first]), float(values[last])
    if last <= first or not (a > 0.0 and b > 0.0 and math.isfinite(a) and math.isfinite(b)):
        return None
    return float((a / b) ** (1.0 / (last - first)))


def _told(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
