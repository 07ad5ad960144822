"""Add a path past each layer, h + s * f(h).

A block passes back 1 plus what its branch passes. Where the branch passes much, the sums compound in turn: with He
initialisation and without a norm the squared norm doubles per block, and a branch scaled by 1/sqrt(depth) keeps the whole
within a factor of e.

Source: He et al. 2016; Yang & Schoenholz 2017; Hayou et al. 2021; Zhang, Dauphin & Ma 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting
from gradscope.numbers import number
from gradscope.theory import critical_gain
from gradscope.theory.activations import find_activation
from gradscope.theory.meanfield import mean_square_slope

ANSWERS = ("vanishing-gradients", "exploding-gradients", "stalled-layers", "saturated-activations")
COST = 4
TORCH = """
h = h + layer(h)  # in forward, for h = layer(h)
h = h + layer(h) / depth**0.5  # in a net without norms
"""

TOO_MUCH = 100.0
"""Growth of the gradient over all blocks from which on the branch is scaled: what counts as an explosion."""


def propose(case: Case) -> Iterator[Proposal]:
    now = setting(case, "model.residual")
    scale = now.get("branch_scale") if isinstance(now, Mapping) else 1.0
    depth = int(setting(case, "model.depth") or setting(case, "model.layers") or 1)
    if now is None or (now is not False and scale != 1.0):
        return
    scaled = Proposal(
        "residual-path",
        {"model.residual": {"branch_scale": "1/sqrt(depth)"}},
        f"branches add {number(1 / depth)} of the squared norm each: no more than e times over all of them",
    )
    if now is not False:  # there is one, and it is not scaled
        yield scaled
        return
    factor = 1.0 + branch_factor(case)
    whole = factor ** (0.5 * max(depth - 2, 0))
    plain = Proposal(
        "residual-path",
        {"model.residual": True},
        f"a block multiplies the gradient by {number(factor**0.5)} at most, all of them by {number(whole)}",
    )
    if setting(case, "model.norm") in (None, "none") and whole > TOO_MUCH:
        yield scaled
    else:
        yield plain
        yield scaled


def branch_factor(case: Case) -> float:
    """What a branch without a norm adds to the squared gradient: sigma_w^2 E[phi'^2] for values of unit variance."""
    activation = find_activation(str(setting(case, "model.activation") or "relu"))
    gain = setting(case, "model.init.gain")
    if isinstance(gain, str) or gain is None:
        gain = 1.0 if activation.name in ("sigmoid", "tanh") else critical_gain("relu")
    return float(gain) ** 2 * float(mean_square_slope(activation, 1.0))
