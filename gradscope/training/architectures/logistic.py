"""Multinomial logistic regression: one linear layer. With cross-entropy, or mse on numbers, its loss is convex."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.numbers import exact
from gradscope.training.init_options import Init
from gradscope.training.options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    """One linear layer, W x + b. Under cross_entropy this is logistic regression, under mse least squares; both losses are
    convex.
    """

    kind: Literal["logistic"] = "logistic"
    bias: bool = True
    """Whether the layer has a bias."""
    init: Init = Init()
    """How weights start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if not self.bias and self.init.bias:
            yield "init.bias", f"there are no biases to start at {exact(self.init.bias)}: bias is false"


def build(options: Options, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The layer, called ``head``, with its weights drawn from torch's random state."""
    from collections import OrderedDict

    from torch import nn

    from gradscope.training.blocks import dense
    from gradscope.training.initialisation import initialise

    head = dense(math.prod(input_shape), outputs, bias=options.bias)
    model = nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=head))
    initialise(model, options.init, "identity")
    return model
