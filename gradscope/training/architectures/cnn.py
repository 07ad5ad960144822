"""A convolutional network of constant width, plain or residual, of any depth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.numbers import exact
from gradscope.training.init_options import Init
from gradscope.training.options import Activation, BranchedOptions, Count, Residual, Shape, Share

if TYPE_CHECKING:
    from torch import nn


class Options(BranchedOptions):
    """Convolutions of equal width that keep the size of the image, then a linear head on what is left of it. A plain layer is
    phi(norm(W * h + b)); a residual network is a stem W * h + b, then blocks h + s * (W * phi(norm(h)) + b), then a norm if
    there is one. Rows are images.
    """

    kind: Literal["cnn"] = "cnn"
    reads = (3,)
    depth: Count = 8
    """Weight layers on the longest path: convolutions and the head."""
    width: Count = 16
    """Channels of each convolution."""
    kernel_size: Count = 3
    """Side of each kernel; odd, so that an image keeps its size."""
    pool_every: Count | None = None
    """Convolutions between two max-poolings, which halve the image; null for none."""
    head: Literal["mean", "flatten"] = "mean"
    """What the head reads: the mean of each channel over the image, or every pixel."""
    activation: Activation = "relu"
    """Activation function, by torch's name."""
    residual: bool | Residual = False
    """Whether layers are residual blocks; a mapping sets the scale of their branch."""
    norm: Literal["none", "batch", "group"] = "none"
    """Normalisation before each activation: batch, or group, of all channels of one image together."""
    bias: bool = True
    """Whether layers have a bias."""
    dropout: Share = 0.0
    """Share of the activations that is dropped while training."""
    init: Init = Init()
    """How weights start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if self.kernel_size % 2 == 0:
            yield "kernel_size", f"even (got {self.kernel_size}; expected an odd number, so that an image keeps its size)"
        if not self.bias and self.init.bias:
            yield "init.bias", f"there are no biases to start at {exact(self.init.bias)}: bias is false"

    def misfits(self, shape: Shape) -> Iterable[tuple[str, str]]:
        side = min(shape[1:])
        if self.pools > math.log2(side):
            yield "pool_every", f"{self.pools} poolings leave nothing of an image of {shape[1]} x {shape[2]}"

    @property
    def pools(self) -> int:
        """How often the image is halved; never after the last convolution."""
        return (self.depth - 2) // self.pool_every if self.pool_every and self.depth > 1 else 0

    def pools_after(self, layer: int) -> bool:
        """Whether the image is halved after convolution number ``layer``."""
        return bool(self.pool_every) and (layer + 1) % (self.pool_every or 1) == 0 and layer < self.depth - 2

    @property
    def branch_depth(self) -> int:
        return self.depth


def build(options: Options, input_shape: Shape, outputs: int) -> nn.Module:
    """The network with its weights drawn from torch's random state; layers and blocks are ``layers.0`` ..., then ``head``."""
    from gradscope.training.convolutions import ConvolutionalNetwork, ResidualBlock
    from gradscope.training.fixup import fix_up
    from gradscope.training.initialisation import initialise

    model = ConvolutionalNetwork(options, input_shape, outputs)
    initialise(model, options.init, options.activation)
    if options.fixup:
        fix_up([[block.conv] for block in model.layers if isinstance(block, ResidualBlock)], model.head)
    return model
