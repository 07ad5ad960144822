"""Use an activation that lets the gradient pass, with its own initialisation.

The slope of a sigmoid is at most 1/4: each layer passes back at most a quarter of what it gets at weights that keep a signal's
size. ReLU passes half of the units whole, and weights larger by sqrt 2 make up for the other half. Where rectifiers died,
GELU and leaky ReLU have a slope on the negative side too.

Source: Glorot, Bordes & Bengio 2011; He et al. 2015; Hendrycks & Gimpel 2016; Maas, Hannun & Ng 2013.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedies.critical_init import has_plain_layers, to_critical
from gradscope.detect.remedy import Proposal, Value, activation_of, setting
from gradscope.numbers import number
from gradscope.theory import critical_gain

ANSWERS = ("vanishing-gradients", "saturated-activations", "dead-units", "exploding-gradients", "stalled-layers")
COST = 3
TORCH = """
nn.ReLU()  # for nn.Sigmoid(), nn.Tanh()
nn.GELU()  # or nn.LeakyReLU(0.1), for ReLU units that died
nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
"""

_DYING = ("relu", "relu6", "hardshrink", "softshrink", "hardswish", "silu", "gelu", "elu", "celu", "selu", "mish", "softplus")
"""Flat for negative inputs."""


def propose(case: Case) -> Iterator[Proposal]:
    now = setting(case, "model.activation")
    if now is None:
        return
    for name in _others(case, str(now)):
        changes: dict[str, Value] = {"model.activation": name}
        told = "its slope is 1 where it lets through"
        if has_plain_layers(case):
            changes |= to_critical(case, name)
            told = f"at its critical gain of {number(critical_gain(name), 4)} a layer passes back what it gets"
        yield Proposal("activation", changes, f"{name}: {told}")


def _others(case: Case, now: str) -> tuple[str, ...]:
    """What may take the place of an activation; a rectifier passes the gradient as it is, unless its units died."""
    if now not in _DYING:
        return tuple(name for name in ("relu", "tanh") if name != now)
    if case.found.get("dead-units"):
        return tuple(name for name in ("leaky_relu", "gelu") if name != now)
    return () if now == "relu" else ("relu",)


def suits(case: Case) -> bool:
    return activation_of(case) not in _DYING or bool(case.found.get("dead-units"))
