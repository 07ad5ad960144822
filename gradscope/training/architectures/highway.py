"""A highway network: fully connected layers whose gates decide how much of the input passes unchanged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.training.init_options import Init
from gradscope.training.options import Activation, Count, ModelOptions, Norm, Shape, Share

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    """A highway network (Srivastava, Greff & Schmidhuber 2015): a linear stem, layers
    T * phi(norm(W h + b)) + (1 - T) * h with gates T = sigmoid(V h + c), and a linear head.
    """

    kind: Literal["highway"] = "highway"
    depth: Count = 20
    """Weight layers on the longest path, stem and head included."""
    width: Count = 64
    """Units of each hidden layer."""
    activation: Activation = "tanh"
    """Activation function, by torch's name."""
    gate_bias: float = -2.0
    """What the biases of the gates start from: far below 0, a layer starts by passing its input on. The paper takes -1 to -10,
    lower for deeper networks."""
    norm: Norm = "none"
    """Normalisation before each activation."""
    dropout: Share = 0.0
    """Share of the activations that is dropped while training."""
    init: Init = Init()
    """How weights start; biases of gates start at gate_bias."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if any(own.bias is not None and "gate" in pattern for pattern, own in self.init.layers.items()):
            yield "init.layers", "the biases of the gates start at gate_bias; set that"


def build(options: Options, input_shape: Shape, outputs: int) -> nn.Module:
    """The network with its weights drawn from torch's random state: a stem ``layers.0``, ``layers.1.linear`` ..., ``head``."""
    from gradscope.training.gated import HighwayNetwork, open_gates
    from gradscope.training.initialisation import initialise

    model = HighwayNetwork(options, math.prod(input_shape), outputs)
    initialise(model, options.init, options.activation)
    open_gates(model, options.gate_bias)
    return model
