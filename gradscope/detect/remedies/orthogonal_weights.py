"""Draw orthogonal weights, which stretch no direction.

The mean factor per layer is that of Gaussian weights of the same gain, but chance no longer adds a spread of its own in each
layer: the variance of the log norm of a linear network is 0 in place of 2 per unit of width and layer. Of use in deep and
narrow networks, and with tanh, which is nearly linear at its critical gain.

Source: Saxe, McClelland & Ganguli 2014; Pennington, Schoenholz & Ganguli 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedies.critical_init import has_plain_layers, layers_as_the_others, saturated_at_critical, suits
from gradscope.detect.remedy import Proposal, Value, setting
from gradscope.detect.rules.saturated_activations import SHARE
from gradscope.errors import GradscopeError
from gradscope.numbers import number
from gradscope.theory import critical_gain

ANSWERS = ("vanishing-gradients", "exploding-gradients")
COST = 3
TORCH = """
for m in model.modules():
    if isinstance(m, nn.Linear):
        nn.init.orthogonal_(m.weight, gain=2**0.5)  # tanh: 1
"""


__all__ = ["suits"]


def propose(case: Case) -> Iterator[Proposal]:
    activation, scheme = setting(case, "model.activation"), setting(case, "model.init.scheme")
    if activation is None or scheme in (None, "orthogonal") or not has_plain_layers(case):
        return
    try:
        gain = critical_gain(activation)
    except GradscopeError:
        return
    changes: dict[str, Value] = {"model.init.scheme": "orthogonal", **layers_as_the_others(setting(case, "model.init"))}
    if setting(case, "model.init.gain") != "critical":
        changes["model.init.gain"] = "critical"
    if saturated_at_critical(activation) <= SHARE.value:  # their mean factor is that of other weights
        yield Proposal("orthogonal-weights", changes, f"gain {number(gain, 4)}, without the spread of random matrices")
