"""Draw the weights at the gain at which gradients are level.

A gradient's norm changes by the same factor in each layer, so that any other gain compounds with depth. Theory gives the gain
at which the factor is 1: sqrt 2 for ReLU, 1 for tanh. A sigmoid has one too, 10.1, but its units are then driven to their
flat ends: no gain rescues a deep sigmoid network.

Source: Glorot & Bengio 2010; He et al. 2015; Poole et al. 2016; Schoenholz et al. 2017, eq. 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, Value, activation_of, setting
from gradscope.detect.rules.saturated_activations import SHARE
from gradscope.errors import GradscopeError, UnsupportedError
from gradscope.numbers import number
from gradscope.theory import critical_gain, critical_point, flat_share
from gradscope.theory.activations import find_activation
from gradscope.theory.recurrent import steepest_slope

ANSWERS = ("vanishing-gradients", "exploding-gradients", "saturated-activations", "dead-units", "stalled-layers", "non-finite")
COST = 2
TORCH = """
for m in model.modules():
    if isinstance(m, nn.Linear):  # tanh: xavier_normal_
        nn.init.kaiming_normal_(m.weight)
"""

FLAT = 0.05
"""Share of the steepest slope below which the record counts an entry as saturated."""
FAR = 1e4
"""Where an activation that is flat at both ends has become so."""
NEAR = 0.05
"""A gain this near to the critical one, relative, is not worth a change."""
_AUTO = {"tanh": 5 / 3, "selu": 0.75, "sigmoid": 1.0, "identity": 1.0}
"""What ``gain: auto`` is under kaiming and orthogonal (``torch.nn.init.calculate_gain``); sqrt 2 for all others."""


def propose(case: Case) -> Iterator[Proposal]:
    activation = setting(case, "model.activation")
    if activation is None or not has_plain_layers(case) or not (changes := to_critical(case, activation)):
        return
    gain = critical_gain(activation)
    share = saturated_at_critical(activation)
    hopeless = None
    if share > SHARE.value:
        hopeless = (
            f"the critical gain of {activation} is {number(gain, 4)}, where {share:.0%} of the units are saturated: no scale "
            "of the weights cures what its derivative takes"
        )
    yield Proposal(
        "critical-init", changes, f"{number(gain, 4)} for {activation}, where a layer passes back what it gets", hopeless
    )


def suits(case: Case) -> bool:
    activation = activation_of(case)
    return activation is None or saturated_at_critical(activation) <= SHARE.value


def has_plain_layers(case: Case) -> bool:
    """Whether the scale of the weights decides how the gradient changes: no norm undoes it, and no path goes around."""
    return setting(case, "model.norm") in (None, "none") and not setting(case, "model.residual")


def to_critical(case: Case, activation: str) -> dict[str, Value]:
    """The changes that put the weights at the critical gain of ``activation``; none where they are there, or it has none."""
    init = setting(case, "model.init")
    try:
        gain = critical_gain(activation)
    except GradscopeError:
        return {}
    if not isinstance(init, Mapping):
        return {}
    found: dict[str, Value] = layers_as_the_others(init)
    if init["scheme"] in ("zeros", "identity", "lsuv"):
        found["model.init.scheme"] = "kaiming_normal"
    elif abs(_gain(init, activation) / gain - 1.0) < NEAR and init["fan"] == "in":
        return found
    if init["gain"] != "critical":
        found["model.init.gain"] = "critical"
    if init["fan"] != "in":
        found["model.init.fan"] = "in"
    return found


def layers_as_the_others(init: Mapping[str, Any]) -> dict[str, Value]:
    """The change that lets all layers start alike; none where they do, or differ in their biases alone."""
    own = (init.get("layers") or {}).values()
    scaled = any(layer.get(key) is not None for layer in own for key in ("scheme", "gain", "fan"))
    return {"model.init.layers": {}} if scaled else {}


def _gain(init: Mapping[str, float | str], activation: str) -> float:
    """sigma_w of a layer as wide as the one before; NaN where the scheme takes the number for a standard deviation."""
    gain, scheme = init["gain"], str(init["scheme"])
    if gain == "critical":
        return critical_gain(activation)
    if gain == "auto":
        gain = _AUTO.get(activation, math.sqrt(2.0)) if scheme.startswith(("kaiming", "orthogonal")) else 1.0
    return float(gain) if scheme not in ("normal", "uniform", "trunc_normal") else math.nan


def saturated_at_critical(activation: str) -> float:
    """The share of units on the flat parts of an activation that is flat at both ends, deep in a net at the critical gain.

    0 where it has no critical gain.
    """
    phi = find_activation(activation)
    try:
        point = critical_point(phi)
    except UnsupportedError:
        return 0.0
    ends = abs(phi.slope(np.array([-FAR, FAR])))
    two_sided = bool((ends < FLAT * steepest_slope(phi)).all())
    return flat_share(phi, min(point.length, 1e12), FLAT) if two_sided else 0.0
