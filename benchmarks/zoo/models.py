"""The networks of the zoo, in plain ``torch.nn``, and how their weights are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def drawn_by(module: M, scheme: str | None, gain: float = 1.0, bias: float | None = 0.0) -> M:
    """Draws the weights of every linear layer anew; None leaves the weights, or the biases, as torch has drawn them."""
    for layer in module.modules():
        if not isinstance(layer, nn.Linear):
            continue
        weight, fan = layer.weight, layer.weight[0].numel()
        match scheme:
            case "normal":
                nn.init.normal_(weight, 0, gain)
            case "lecun":
                nn.init.normal_(weight, 0, gain / fan**0.5)
            case "he":
                nn.init.normal_(weight, 0, gain * (2 / fan) ** 0.5)
            case "xavier":
                nn.init.xavier_uniform_(weight, gain)
            case "orthogonal":
                nn.init.orthogonal_(weight, gain)
        if bias is not None:
            nn.init.constant_(layer.bias, bias)
    return module


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module],
    norm: Callable[[int], nn.Module] | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Linear layers between these widths; each but the last is followed by a norm, an activation and dropout."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if i == len(sizes) - 2:
            break
        layers += [norm(outputs)] if norm else []
        layers.append(activation())
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


def deep(
    inputs: int,
    width: int,
    depth: int,
    outputs: int,
    activation: Callable[[], nn.Module],
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """``depth`` linear layers in all."""
    return mlp([inputs, *[width] * (depth - 1), outputs], activation, norm)


def with_biases(model: nn.Sequential, biases: Mapping[int, float | Tensor]) -> nn.Sequential:
    """The linear layers at these places with these biases."""
    for place, bias in biases.items():
        layer = model[place]
        assert isinstance(layer, nn.Linear)
        layer.bias.data[:] = bias
    return model


class Block(nn.Module):
    """h + branch(norm(h)), the branch multiplied by a factor that is learned from 0 on where ``gated`` (ReZero)."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module] | None, gated: bool) -> None:
        super().__init__()
        self.norm = norm(width) if norm else nn.Identity()
        self.fc1 = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None

    def forward(self, h: Tensor) -> Tensor:
        branch: Tensor = self.fc2(self.act(self.fc1(self.norm(h))))
        return h + (branch if self.gate is None else self.gate * branch)


def residual(
    width: int, blocks: int, norm: Callable[[int], nn.Module] | None = None, gated: bool = False, final_norm: bool = False
) -> nn.Sequential:
    """A residual network from 64 inputs to 10 classes."""
    inside = [Block(width, norm, gated) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(64, width), *inside, *([nn.LayerNorm(width)] if final_norm else []), nn.Linear(width, 10))


class Recurrent(nn.Module):
    """A recurrent layer; the head answers from its last state."""

    def __init__(self, cell: str, inputs: int, width: int, outputs: int, **options: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, cell)(inputs, width, batch_first=True, **options)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x)
        answer: Tensor = self.head(states[:, -1])
        return answer


def with_radius(model: Recurrent, radius: float, identity: bool = False) -> Recurrent:
    """The recurrent matrix ``radius`` times an orthogonal one, or times the identity; all biases 0."""
    for name, parameter in model.rnn.named_parameters():
        if name.startswith("weight_hh"):
            if identity:
                parameter.data = radius * torch.eye(parameter.shape[1])
            else:
                nn.init.orthogonal_(parameter.data, radius)
        elif name.startswith("bias"):
            nn.init.constant_(parameter.data, 0.0)
    return model


def with_forget_bias(model: Recurrent, value: float) -> Recurrent:
    """An LSTM whose forget gate's bias is ``value`` in all."""
    width = model.rnn.hidden_size
    for name, parameter in model.rnn.named_parameters():
        if name.startswith("bias"):
            parameter.data[width : 2 * width] = value if name.startswith("bias_ih") else 0.0
    return model


class Transformer(nn.Module):
    """A pre-norm encoder of eight layers over the eight rows of an image, whose positions are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.positions = nn.Parameter(0.1 * torch.randn(1, 8, 32))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, 0.0, "relu", batch_first=True, norm_first=True) for _ in range(8)
        )
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.positions
        for layer in self.layers:
            h = layer(h)
        answer: Tensor = self.head(self.norm(h).mean(1))
        return answer


class Autocast(nn.Module):
    """A network that computes in bfloat16 and answers in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            outputs: Tensor = self.net(x)
        return outputs.float()
