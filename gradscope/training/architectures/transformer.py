"""A transformer that reads a sequence and answers once: pre-norm or post-norm, encoder or causal decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.numbers import exact
from gradscope.training.init_options import Init
from gradscope.training.options import Activation, BranchedOptions, Count, Residual, Shape, Share

if TYPE_CHECKING:
    from torch import nn


class Options(BranchedOptions):
    """Self-attention and a two-layer network in turn (Vaswani et al. 2017), each a branch: h + s * branch(norm(h)) with
    norm_first (Xiong et al. 2020), norm(h + s * branch(h)) without. Then a norm if norm_first, and a linear head. Rows are
    sequences.
    """

    kind: Literal["transformer"] = "transformer"
    reads = (2,)
    answers_often = True
    layers: Count = 4
    """Layers, of two branches each."""
    width: Count = 64
    """Units of each position."""
    heads: Count = 4
    """Attention heads; each has width / heads units."""
    feedforward: Count = 128
    """Hidden units of each two-layer network."""
    activation: Activation = "gelu"
    """Activation function of these, by torch's name."""
    norm: Literal["none", "layer", "rms"] = "layer"
    """Normalisation."""
    norm_first: bool = True
    """Whether branches start with their norm (pre-norm) or the sum is normalised (post-norm)."""
    residual: bool | Residual = True
    """Whether branches are added to what they read; a mapping sets their scale, where depth counts all branches."""
    causal: bool = False
    """Whether a position sees only itself and earlier ones, as in a decoder."""
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
    """What tells positions apart: vectors that are learned, sines (Vaswani et al. 2017), or nothing."""
    pool: Literal["mean", "last"] = "mean"
    """What the head reads: the mean of all positions, or the last; where the data ask for many answers, each of the last."""
    bias: bool = True
    """Whether linear layers have a bias."""
    dropout: Share = 0.0
    """Share dropped while training, of attention, of hidden units and of each branch."""
    init: Init = Init(scheme="xavier_uniform")
    """How weights start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if self.width % self.heads:
            yield "heads", f"the width, {self.width}, cannot be shared out evenly (got {self.heads}; expected a divisor of it)"
        if self.positions == "sinusoidal" and self.width % 2:
            yield "positions", f"sines and cosines come in pairs (got a width of {self.width}; expected an even one)"
        if not self.bias and self.init.bias:
            yield "init.bias", f"there are no biases to start at {exact(self.init.bias)}: bias is false"

    @property
    def branch_depth(self) -> int:
        return 2 * self.layers


def build(options: Options, input_shape: Shape, outputs: int, answers: int = 1) -> nn.Module:
    """The network with its weights drawn from torch's random state: ``embedding``, ``layers.0.attention`` ..., ``head``."""
    from gradscope.training.attention import Transformer
    from gradscope.training.fixup import fix_up
    from gradscope.training.initialisation import initialise

    model = Transformer(options, input_shape, outputs, answers)
    initialise(model, options.init, options.activation)
    if options.fixup:
        fix_up([branch.weight_layers for branch in model.branches], model.head)
    return model
