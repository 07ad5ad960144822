"""A fully connected network, plain or residual, of any depth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.numbers import exact
from gradscope.training.init_options import Init
from gradscope.training.options import Activation, BranchedOptions, Count, Norm, Residual, Share

if TYPE_CHECKING:
    from torch import nn


class Options(BranchedOptions):
    """A fully connected network. A plain layer is phi(norm(W h + b)); a residual network is a stem W h + b, then blocks
    h + s * (W phi(norm(h)) + b), then a norm if there is one, then the head.
    """

    kind: Literal["mlp"] = "mlp"
    depth: Count = 20
    """Weight layers on the longest path, the head included."""
    width: Count = 64
    """Units of each hidden layer."""
    activation: Activation = "relu"
    """Activation function, by torch's name."""
    residual: bool | Residual = False
    """Whether layers are residual blocks; a mapping sets the scale of their branch."""
    norm: Norm = "none"
    """Normalisation before each activation."""
    bias: bool = True
    """Whether layers have a bias."""
    dropout: Share = 0.0
    """Share of the activations that is dropped while training."""
    init: Init = Init()
    """How weights start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if not self.bias and self.init.bias:
            yield "init.bias", f"there are no biases to start at {exact(self.init.bias)}: bias is false"

    @property
    def branch_depth(self) -> int:
        return self.depth


def build(options: Options, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The network with its weights drawn from torch's random state; hidden layers are ``layers.0`` ..., then ``head``."""
    from gradscope.training.blocks import PlainNetwork, ResidualBlock, ResidualNetwork
    from gradscope.training.fixup import fix_up
    from gradscope.training.initialisation import initialise

    network = PlainNetwork if options.branch_scale is None else ResidualNetwork
    model = network(options, math.prod(input_shape), outputs)
    initialise(model, options.init, options.activation)
    if options.fixup:
        fix_up([[block.linear] for block in model.layers if isinstance(block, ResidualBlock)], model.head)
    return model
