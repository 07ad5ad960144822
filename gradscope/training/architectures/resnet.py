"""The residual network of He et al. (2016) for small images, and its plain twin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradscope.numbers import exact
from gradscope.training.init_options import Init
from gradscope.training.options import Activation, BranchedOptions, Count, Residual, Shape

if TYPE_CHECKING:
    from torch import nn


class Options(BranchedOptions):
    """The CIFAR form of the residual network (He et al. 2016, section 4.2): a convolution, three stages of n basic blocks with
    width, 2 width and 4 width channels, of which the second and third halve the image, the mean over the image, and a linear
    head. Rows are images.
    """

    kind: Literal["resnet"] = "resnet"
    reads = (3,)
    depth: Annotated[int, Field(ge=8)] = 20
    """Weight layers on the longest path, 6n + 2: 8, 14, 20, 32, 44, 56, 110 ..."""
    width: Count = 16
    """Channels of the first stage."""
    activation: Activation = "relu"
    """Activation function, by torch's name."""
    residual: bool | Residual = True
    """Whether blocks have shortcuts; false makes the plain twin, with the same weights. A mapping sets the scale of their
    branch, where depth counts the blocks."""
    norm: Literal["none", "batch"] = "batch"
    """Normalisation after each convolution, which has a bias only without it (and without Fixup)."""
    shortcut: Literal["identity", "projection"] = "identity"
    """Where channels double, what the shortcut does: leave out every other pixel and add channels of zeros (option A of the
    paper), or a 1 x 1 convolution (option B)."""
    zero_gain: bool = False
    """Whether the gain of each block's last norm starts at 0, so that the block starts as its shortcut (Goyal et al. 2017)."""
    init: Init = Init()
    """How weights start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if (self.depth - 2) % 6:
            below = self.depth - (self.depth - 2) % 6
            yield "depth", f"not 6n + 2 (got {self.depth}; expected {below} or {below + 6})"
        if self.zero_gain and not (self.residual and self.norm == "batch"):
            yield "zero_gain", "a gain of 0 needs norm: batch, and residual: true, or nothing would pass"
        if self.shortcut == "projection" and not self.residual:
            yield "shortcut", "there is no shortcut to project: residual is false"
        if (self.norm == "batch" or self.fixup) and self.init.bias:
            why = "under Fixup" if self.fixup else "before a batch norm"
            yield "init.bias", f"convolutions {why} have no biases to start at {exact(self.init.bias)}"

    @property
    def blocks(self) -> int:
        """Basic blocks of each of the three stages, n."""
        return (self.depth - 2) // 6

    @property
    def branch_depth(self) -> int:
        return 3 * self.blocks

    @property
    def convolution_bias(self) -> bool:
        """Whether convolutions have a bias for each channel."""
        return self.norm == "none" and not self.fixup


def build(options: Options, input_shape: Shape, outputs: int) -> nn.Module:
    """The network with its weights drawn from torch's random state: ``stem``, ``layers.0.conv1`` ..., ``head``."""
    from gradscope.training.fixup import fix_up
    from gradscope.training.initialisation import initialise
    from gradscope.training.residual import ResidualNetwork

    model = ResidualNetwork(options, input_shape[0], outputs)
    initialise(model, options.init, options.activation)
    if options.fixup:
        fix_up([block.weight_layers for block in model.blocks], model.head)
    return model
