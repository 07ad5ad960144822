"""How layers start: the options that say how their weights are drawn. No torch here: ``initialisation`` draws them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gradscope.strict.section import Section

Scheme = Literal[
    "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "lecun_uniform", "orthogonal",
    "normal", "uniform", "trunc_normal", "identity", "zeros", "lsuv",
]  # fmt: skip
"""Names of ``torch.nn.init``, and LeCun's (1998) and LSUV (Mishkin & Matas 2016)."""

Gain = Literal["auto", "critical"] | Annotated[float, Field(ge=0)]


class LayerInit(Section):
    """What is other for some layers than in init; what is left out is as there. A scheme that is named here begins with a gain
    of its own, auto.
    """

    scheme: Scheme | None = None
    """How their weights are drawn."""
    gain: Gain | None = None
    """Scale of their weights."""
    fan: Literal["in", "out"] | None = None
    """Which side of a layer kaiming and lecun count."""
    bias: float | None = None
    """Value that their biases start from."""


def _layer_pattern(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.*]+", text):
        raise PydanticCustomError("layer_pattern", "a layer's name, in which * stands for anything")
    return text


Pattern = Annotated[str, AfterValidator(_layer_pattern)]
"""Of layers' names; ``*`` stands for anything."""
LAYER_KINDS = ("linear", "conv", "recurrent")
"""Words that stand for all layers of a kind where a name may stand."""


class Init(Section):
    """How weights are drawn. Their standard deviation is gain / sqrt(fan) under kaiming and lecun,
    gain * sqrt(2 / (fan_in + fan_out)) under xavier, gain itself under normal, uniform and trunc_normal; orthogonal gives
    orthonormal rows times gain, identity the identity times gain. lsuv draws orthogonal weights, then scales each layer
    on one batch until its output has variance 1.
    """

    scheme: Scheme = "kaiming_normal"
    """How weights are drawn, by the names of torch.nn.init."""
    gain: Gain = "auto"
    """Scale of the weights: auto is what torch gives for the activation, critical the gain at which mean-field theory
    predicts level gradients, or a number."""
    fan: Literal["in", "out"] = "in"
    """Which side of a layer kaiming and lecun count: its inputs (in) or its outputs (out)."""
    bias: float = 0.0
    """Value that every bias starts from."""
    layers: dict[Pattern, LayerInit] = Field(default={})
    """What is other for some layers: {head: {scheme: zeros}, layers.*.conv2: {gain: 0.1}, linear: {fan: out}}. A key is a
    layer's name, in which * stands for anything, or a kind of layer: linear, conv, recurrent. Where several fit, the later
    one decides, key by key."""

    def of(self, name: str, kind: str) -> Init:
        """How the layer of this name and kind starts."""
        found = self
        for pattern, own in self.layers.items():
            if matches(pattern, name, kind):
                changes = own.model_dump(exclude_none=True)
                found = found.model_copy(update=({"gain": "auto"} if own.scheme else {}) | changes)
        return found

    @property
    def schemes(self) -> set[Scheme]:
        """Every scheme that some layer may start by."""
        return {self.scheme, *(own.scheme for own in self.layers.values() if own.scheme)}


def matches(pattern: str, name: str, kind: str) -> bool:
    """Whether a key of ``init.layers`` speaks of a layer."""
    return pattern == kind if pattern in LAYER_KINDS else fnmatchcase(name, pattern)
