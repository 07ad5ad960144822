"""What the residual network of He et al. (2016) and its plain twin are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from gradscope.training import blocks
from gradscope.training.blocks import ACTIVATIONS, dense
from gradscope.training.convolutions import NORMS, convolution
from gradscope.training.fixup import Shift, factor_of

if TYPE_CHECKING:
    from gradscope.training.architectures.resnet import Options


def shift_of(options: Options) -> nn.Module:
    """Fixup's number before a convolution or an activation, or what does nothing."""
    return Shift() if options.fixup else nn.Identity()


def norm_of(options: Options, channels: int) -> nn.Module:
    """What stands in a norm's place, or what does nothing."""
    return blocks.norm_of(options, channels, NORMS) or nn.Identity()


class PaddedShortcut(nn.Module):
    """Every other pixel, and channels of zeros behind those that there are: option A, without parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.added = outputs - inputs

    def forward(self, h: Tensor) -> Tensor:
        return F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.added))


class BasicBlock(nn.Module):
    """``phi(shortcut(h) + s * norm(conv(phi(norm(conv(h))))))``; without shortcut and scale in the plain twin.

    A block that changes the number of channels halves the image too. ``factor_of`` says what the scale ``s`` is. Under Fixup
    a number is added where the norms would be, the second after scaling, and before each convolution.
    """

    def __init__(self, options: Options, inputs: int, outputs: int) -> None:
        super().__init__()
        widens, bias, scale = inputs != outputs, options.convolution_bias, options.branch_scale
        self.shift1 = shift_of(options)
        self.conv1 = convolution(inputs, outputs, 3, stride=2 if widens else 1, bias=bias)
        self.norm1 = norm_of(options, outputs)
        self.activation1 = ACTIVATIONS[options.activation]()
        self.shift2 = shift_of(options)
        self.conv2 = convolution(outputs, outputs, 3, bias=bias)
        self.norm2 = norm_of(options, outputs)
        self.scale = 1.0 if scale is None else factor_of(scale, fixup=options.fixup)
        self.fixup, self.scaled = options.fixup, isinstance(self.scale, nn.Parameter) or self.scale != 1.0
        self.shortcut: nn.Module | None = None
        if options.residual:
            self.shortcut = shortcut(options, inputs, outputs) if widens else nn.Identity()
        self.activation2 = ACTIVATIONS[options.activation]()
        if options.zero_gain:
            nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    @property
    def weight_layers(self) -> list[nn.Module]:
        """The branch's, in forward order."""
        return [self.conv1, self.conv2]

    def forward(self, h: Tensor) -> Tensor:
        read = self.shift1(h)
        branch = self.activation1(self.norm1(self.conv1(read)))
        branch = self.conv2(self.shift2(branch))
        if self.fixup:
            branch = self.norm2(self.scale * branch)
        else:
            branch = self.norm2(branch)
            branch = self.scale * branch if self.scaled else branch
        if self.shortcut is not None:
            branch = self.shortcut(h) + branch
        out: Tensor = self.activation2(branch)
        return out


def shortcut(options: Options, inputs: int, outputs: int) -> nn.Module:
    """What a shortcut does where the channels become more and the image is halved."""
    if options.shortcut == "identity":
        return PaddedShortcut(inputs, outputs)
    projection = convolution(inputs, outputs, 1, stride=2, bias=options.convolution_bias)
    return nn.Sequential(projection, norm_of(options, outputs))


class ResidualNetwork(nn.Module):
    """``stem``, ``norm`` and ``activation``, then basic blocks ``layers.0`` ..., the mean over the image, and ``head``."""

    def __init__(self, options: Options, channels: int, outputs: int) -> None:
        super().__init__()
        stages = [options.width * factor for factor in (1, 2, 4) for _ in range(options.blocks)]
        self.stem = convolution(channels, options.width, 3, bias=options.convolution_bias)
        self.norm = norm_of(options, options.width)
        self.activation = ACTIVATIONS[options.activation]()
        widths = [options.width, *stages]
        self.layers = nn.Sequential(*(BasicBlock(options, i, o) for i, o in pairwise(widths)))
        self.shift = shift_of(options)
        self.head = dense(stages[-1], outputs, bias=True)

    @property
    def blocks(self) -> list[BasicBlock]:
        return [block for block in self.layers if isinstance(block, BasicBlock)]

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(self.activation(self.norm(self.stem(x))))
        y: Tensor = self.head(self.shift(h.mean((2, 3))))
        return y
