"""What transformers are made of: positions, and attention and feed-forward branches with their norms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope.training.blocks import ACTIVATIONS, dense, norm_of
from gradscope.training.fixup import Shift, factor_of

if TYPE_CHECKING:
    from gradscope.training.architectures.transformer import Options

POSITION_STD = 0.02
"""Standard deviation of learned positions at the start, as in BERT (Devlin et al. 2019) and GPT-2."""
LONGEST_WAVE = 10_000.0
"""The wavelengths of sinusoidal positions rise from 2 pi to this times 2 pi (Vaswani et al. 2017, section 3.5)."""


def sinusoids(steps: int, width: int) -> Tensor:
    """(steps, width): sin(t / w) and cos(t / w) in turn, w = 10,000^(2i / width) for pair i."""
    angle = torch.arange(steps)[:, None] / LONGEST_WAVE ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


class Positions(nn.Module):
    """Adds one vector for each position to (rows, steps, width)."""

    weight: Tensor

    def __init__(self, steps: int, width: int, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.weight = nn.Parameter(POSITION_STD * torch.randn(steps, width))
        else:
            self.register_buffer("weight", sinusoids(steps, width), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.weight


def shift_of(options: Options) -> nn.Module:
    """Fixup's number before a weight layer or an activation, or what does nothing."""
    return Shift() if options.fixup else nn.Identity()


class Branch(nn.Module, ABC):
    """``h + s * drop(branch(norm(h)))``, or with post-norm ``norm(h + s * drop(branch(h)))``, or either without ``h``.

    ``factor_of`` says what the scale ``s`` is. Under Fixup a number is added where the norm would be, and before each
    later weight layer and activation.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.norm = norm_of(options, options.width) or nn.Identity()
        self.norm_first = options.norm_first or options.fixup
        self.dropout = nn.Dropout(options.dropout)
        scale = options.branch_scale
        self.residual = scale is not None
        self.scale = None if scale is None else factor_of(scale, fixup=options.fixup)
        self.scaled = isinstance(self.scale, nn.Parameter) or self.scale != 1.0

    @property
    @abstractmethod
    def weight_layers(self) -> list[nn.Module]:
        """The layers that the branch is a product of, in forward order."""

    @abstractmethod
    def branch(self, h: Tensor) -> Tensor:
        """What is added to the stream (or takes its place)."""

    def forward(self, h: Tensor) -> Tensor:
        change = self.dropout(self.branch(self.norm(h) if self.norm_first else h))
        if self.residual:
            change = h + (self.scale * change if self.scaled else change)
        stream: Tensor = change if self.norm_first else self.norm(change)
        return stream


class Attention(Branch):
    """Multi-head self-attention; ``query``, ``key`` and ``value`` are layers of their own, so that each is watched."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, bias = options.width, options.bias
        self.heads, self.causal = options.heads, options.causal
        self.query = dense(width, width, bias=bias)
        self.key = dense(width, width, bias=bias)
        self.value = dense(width, width, bias=bias)
        self.shift = shift_of(options)
        self.out = dense(width, width, bias=bias)

    @property
    def weight_layers(self) -> list[nn.Module]:
        return [self.value, self.out]

    def branch(self, h: Tensor) -> Tensor:
        q, k, v = (layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        drop = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=self.causal)
        out: Tensor = self.out(self.shift(mixed.transpose(1, 2).flatten(2)))
        return out


class FeedForward(Branch):
    """``W phi(V h + a) + b`` at every position by itself."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.hidden = dense(options.width, options.feedforward, bias=options.bias)
        self.shift1 = shift_of(options)
        self.activation = ACTIVATIONS[options.activation]()
        self.shift2 = shift_of(options)
        self.out = dense(options.feedforward, options.width, bias=options.bias)

    @property
    def weight_layers(self) -> list[nn.Module]:
        return [self.hidden, self.out]

    def branch(self, h: Tensor) -> Tensor:
        out: Tensor = self.out(self.shift2(self.dropout(self.activation(self.shift1(self.hidden(h))))))
        return out


class Transformer(nn.Module):
    """(rows, steps, features) through ``embedding``, ``positions`` and ``layers``, to ``head``.

    Layer i is ``layers.i.attention``, then ``layers.i.feedforward``. With ``answers``, ``head`` answers at each of so many
    last positions: (rows, answers, outputs).
    """

    def __init__(self, options: Options, input_shape: tuple[int, ...], outputs: int, answers: int = 1) -> None:
        super().__init__()
        steps, features = input_shape
        self.embedding = dense(features, options.width, bias=options.bias)
        learned = options.positions == "learned"
        self.positions = Positions(steps, options.width, learned=learned) if options.positions != "none" else nn.Identity()
        self.layers = nn.Sequential(
            *(
                nn.Sequential(OrderedDict(attention=Attention(options), feedforward=FeedForward(options)))
                for _ in range(options.layers)
            )
        )
        last = norm_of(options, options.width) if options.norm_first or options.fixup else None
        self.norm = last or nn.Identity()
        self.mean = options.pool == "mean" and answers == 1
        self.read = -1 if answers == 1 else slice(-answers, None)
        self.head = dense(options.width, outputs, bias=options.bias)

    @property
    def branches(self) -> list[Branch]:
        """All branches, in forward order."""
        return [branch for branch in self.layers.modules() if isinstance(branch, Branch)]

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.layers(self.positions(self.embedding(x))))
        y: Tensor = self.head(h.mean(1) if self.mean else h[:, self.read])
        return y
