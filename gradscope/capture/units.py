"""Rows and units of a layer's output, whatever its shape."""

from __future__ import annotations

from torch import Tensor, nn

LIMIT = 65_536
"""Entries of an output on which moments and shares are taken; a larger one is cut to as many leading rows of the batch as
fit. Norms are always taken on all entries."""


def head(tensor: Tensor) -> Tensor:
    """As many leading rows of the batch as stay within ``LIMIT`` entries, one at the least."""
    if tensor.numel() <= LIMIT or tensor.dim() < 2:
        return tensor if tensor.dim() else tensor[None]
    return tensor[: max(1, LIMIT * len(tensor) // tensor.numel())]


def by_unit(tensor: Tensor, dim: int) -> Tensor:
    """(rows, units), whatever the shape: all but the dimension of the units are rows."""
    if tensor.dim() == 2 and dim in (1, -1):
        return tensor
    return tensor.movedim(dim, -1).flatten(0, -2) if tensor.dim() > 1 else tensor[None]


def unit_dim(module: nn.Module, output: Tensor) -> int:
    """The dimension of the units: channels of an image or a convolution's output, else the last."""
    channels = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase)
    if output.dim() >= 4 or (output.dim() == 3 and isinstance(module, channels)):
        return 1
    return max(output.dim() - 1, 0)
