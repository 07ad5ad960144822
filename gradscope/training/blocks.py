"""What fully connected networks are made of: activations and norms by name, plain layers, residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from gradscope.training.fixup import Shift, factor_of

if TYPE_CHECKING:
    from gradscope.training.architectures.mlp import Options

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "relu6": nn.ReLU6,
    "rrelu": nn.RReLU,
    "mish": nn.Mish,
    "logsigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": nn.Softshrink,
    "hardshrink": nn.Hardshrink,
    "prelu": nn.PReLU,
    "identity": nn.Identity,
}
"""Every activation of ``options.Activation``, with torch's defaults."""

NORMS: Mapping[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
"""Every norm of ``options.Norm`` but ``none``."""


class Normed(Protocol):
    """Options of a network that has norms, Fixup, or neither."""

    @property
    def norm(self) -> str: ...
    @property
    def fixup(self) -> bool: ...


def norm_of(options: Normed, width: int, norms: Mapping[str, Callable[[int], nn.Module]] = NORMS) -> nn.Module | None:
    """What stands in a norm's place: the norm of the options, Fixup's number, or nothing."""
    if options.norm != "none":
        return norms[options.norm](width)
    return Shift() if options.fixup else None


def dense(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    """A linear layer whose weights are not drawn yet."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)  # type: ignore[no-untyped-call]
    return layer


class PlainNetwork(nn.Module):
    """Layers ``phi(norm(W h + b))``, then the head. Layer i is ``layers.i``, ``norms.i`` and ``activations.i``.

    The three stand apart, so that a weight layer's name is the same in a plain and in a residual network, and a hook on it
    sees the pre-activation.
    """

    def __init__(self, options: Options, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = options.depth - 1
        widths = [inputs, *[options.width] * hidden]
        self.layers = nn.ModuleList(dense(i, o, bias=options.bias) for i, o in pairwise(widths))
        if options.norm != "none":
            self.norms = nn.ModuleList(NORMS[options.norm](options.width) for _ in range(hidden))
        self.activations = nn.ModuleList(ACTIVATIONS[options.activation]() for _ in range(hidden))
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None
        self.head = dense(widths[-1], outputs, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        norms = self.norms if hasattr(self, "norms") else repeat(None)
        for layer, norm, activation in zip(self.layers, norms, self.activations, strict=False):
            h = layer(h)
            if norm is not None:
                h = norm(h)
            h = activation(h)
            if self.dropout is not None:
                h = self.dropout(h)
        y: Tensor = self.head(h)
        return y


class ResidualBlock(nn.Module):
    """``h + scale * (W phi(norm(h)) + b)`` on a stream of ``width`` units; ``factor_of`` says what the scale is.

    Under Fixup a number is added where the norm would be, and another before ``W``.
    """

    def __init__(self, options: Options, scale: float) -> None:
        super().__init__()
        self.norm = norm_of(options, options.width)
        self.activation = ACTIVATIONS[options.activation]()
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None
        self.shift = Shift() if options.fixup else None
        self.linear = dense(options.width, options.width, bias=options.bias)
        self.scale = factor_of(scale, fixup=options.fixup)
        self.scaled = isinstance(self.scale, nn.Parameter) or self.scale != 1.0

    def forward(self, h: Tensor) -> Tensor:
        branch = h if self.norm is None else self.norm(h)
        branch = self.activation(branch)
        if self.dropout is not None:
            branch = self.dropout(branch)
        if self.shift is not None:
            branch = self.shift(branch)
        branch = self.linear(branch)
        stream: Tensor = h + (self.scale * branch if self.scaled else branch)
        return stream


class ResidualNetwork(nn.Module):
    """A linear stem, ``layers.0``, residual blocks, ``layers.1`` ..., a norm if there is one, and the head."""

    def __init__(self, options: Options, inputs: int, outputs: int) -> None:
        super().__init__()
        scale = options.branch_scale
        assert scale is not None
        stem = [dense(inputs, options.width, bias=options.bias)] if options.depth > 1 else []
        blocks = [ResidualBlock(options, scale) for _ in range(options.depth - 2)]
        self.layers = nn.ModuleList([*stem, *blocks])
        self.norm = norm_of(options, options.width) if stem else None
        self.head = dense(options.width if stem else inputs, outputs, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for layer in self.layers:
            h = layer(h)
        if self.norm is not None:
            h = self.norm(h)
        y: Tensor = self.head(h)
        return y
