"""What convolutional networks of constant width are made of: plain layers, residual blocks, and what the head reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gradscope.training.blocks import ACTIVATIONS, dense, norm_of
from gradscope.training.fixup import Shift, factor_of

if TYPE_CHECKING:
    from gradscope.training.architectures.cnn import Options

NORMS: Mapping[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": lambda width: nn.GroupNorm(1, width)}
"""Every norm of the options of convolutional networks but ``none``, of so many channels."""


def convolution(inputs: int, outputs: int, kernel_size: int, *, bias: bool, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the image, but for its stride, and whose weights are not drawn yet."""
    shape: dict[str, Any] = {"stride": stride, "padding": kernel_size // 2, "bias": bias}
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel_size, **shape)  # type: ignore[no-untyped-call]
    return layer


class PlainLayer(nn.Module):
    """``phi(norm(W * h + b))``."""

    def __init__(self, options: Options, inputs: int) -> None:
        super().__init__()
        self.conv = convolution(inputs, options.width, options.kernel_size, bias=options.bias)
        self.norm = norm_of(options, options.width, NORMS)
        self.activation = ACTIVATIONS[options.activation]()
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None

    def forward(self, h: Tensor) -> Tensor:
        h = self.conv(h)
        if self.norm is not None:
            h = self.norm(h)
        h = self.activation(h)
        return h if self.dropout is None else self.dropout(h)


class ResidualBlock(nn.Module):
    """``h + scale * (W * phi(norm(h)) + b)``; ``factor_of`` says what the scale is.

    Under Fixup a number is added where the norm would be, and another before ``W``.
    """

    def __init__(self, options: Options, scale: float) -> None:
        super().__init__()
        self.norm = norm_of(options, options.width, NORMS)
        self.activation = ACTIVATIONS[options.activation]()
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None
        self.shift = Shift() if options.fixup else None
        self.conv = convolution(options.width, options.width, options.kernel_size, bias=options.bias)
        self.scale = factor_of(scale, fixup=options.fixup)

    def forward(self, h: Tensor) -> Tensor:
        branch = h if self.norm is None else self.norm(h)
        branch = self.activation(branch)
        if self.dropout is not None:
            branch = self.dropout(branch)
        if self.shift is not None:
            branch = self.shift(branch)
        stream: Tensor = h + self.scale * self.conv(branch)
        return stream


class ConvolutionalNetwork(nn.Module):
    """Layers, or a stem and residual blocks, ``layers.0`` ...; poolings between them; a norm after blocks; and the head."""

    def __init__(self, options: Options, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        scale, size = options.branch_scale, options.kernel_size
        convolutions = range(options.depth - 1)
        layers: list[nn.Module] = []
        for i in convolutions:
            inputs = options.width if i else channels
            if scale is None:
                layers.append(PlainLayer(options, inputs))
            else:
                layers.append(
                    ResidualBlock(options, scale) if i else convolution(inputs, options.width, size, bias=options.bias)
                )
        self.layers = nn.ModuleList(layers)
        self.pool = nn.MaxPool2d(2)
        self.pooled = [options.pools_after(i) for i in convolutions]
        self.norm = norm_of(options, options.width, NORMS) if scale is not None and layers else None
        self.mean = options.head == "mean"
        halvings: int = 2**options.pools
        pixels = 1 if self.mean else (height // halvings) * (width // halvings)
        self.head = dense((options.width if layers else channels) * pixels, outputs, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer, pooled in zip(self.layers, self.pooled, strict=True):
            h = layer(h)
            if pooled:
                h = self.pool(h)
        if self.norm is not None:
            h = self.norm(h)
        y: Tensor = self.head(h.mean((2, 3)) if self.mean else h.flatten(1))
        return y
