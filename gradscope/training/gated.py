"""What highway networks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gradscope.training.blocks import ACTIVATIONS, NORMS, dense

if TYPE_CHECKING:
    from gradscope.training.architectures.highway import Options


class HighwayLayer(nn.Module):
    """``T * phi(norm(W h + b)) + (1 - T) * h`` with the gate ``T = sigmoid(V h + c)`` (Srivastava et al. 2015, eq. 3)."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.linear = dense(options.width, options.width, bias=True)
        self.norm = NORMS[options.norm](options.width) if options.norm != "none" else nn.Identity()
        self.activation = ACTIVATIONS[options.activation]()
        self.dropout = nn.Dropout(options.dropout) if options.dropout else nn.Identity()
        self.gate = dense(options.width, options.width, bias=True)

    def forward(self, h: Tensor) -> Tensor:
        transformed = self.dropout(self.activation(self.norm(self.linear(h))))
        share = self.gate(h).sigmoid()
        stream: Tensor = share * transformed + (1 - share) * h
        return stream


class HighwayNetwork(nn.Module):
    """A linear stem, ``layers.0``, highway layers, ``layers.1`` ..., and the head."""

    def __init__(self, options: Options, inputs: int, outputs: int) -> None:
        super().__init__()
        stem = [dense(inputs, options.width, bias=True)] if options.depth > 1 else []
        self.layers = nn.ModuleList([*stem, *(HighwayLayer(options) for _ in range(options.depth - 2))])
        self.head = dense(options.width if stem else inputs, outputs, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for layer in self.layers:
            h = layer(h)
        y: Tensor = self.head(h)
        return y


@torch.no_grad()
def open_gates(model: HighwayNetwork, bias: float) -> None:
    """Set what every gate's biases start from."""
    for layer in model.layers:
        if isinstance(layer, HighwayLayer):
            layer.gate.bias.fill_(bias)
