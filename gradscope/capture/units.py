"""Rows and units of a layer's output, whatever its shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn

LIMIT = 65_536
"""Entries of an output on which moments and shares are taken; a larger one is cut to as many leading rows of the batch as
fit. Norms are always taken on all entries."""


def head(tensor: Tensor) -> Tensor:
    """As many leading rows of the batch as stay within ``LIMIT`` entries, one at the least."""
    if tensor.numel() <= LIMIT or tensor.dim() < 2:
        return tensor if tensor.dim() else tensor[None]
    return tensor[: max(1, LIMIT * len(tensor) // tensor.numel())]


_CHANNELS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
_FEATURES = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention)

Units = tuple[int, int]
"""How many dimensions an output has, and which of them is that of the units."""


def unit_dim(module: nn.Module, output: Tensor, source: Callable[[], Units | None] = lambda: None) -> int:
    """The dimension of the units: a convolution's channels, a linear map's features.

    A module that is neither has the units of the ``source`` of its input, which is asked for then, if that has as many
    dimensions; else the second dimension of an image, the last of anything smaller.
    """
    dims = output.dim()
    if isinstance(module, nn.modules.conv._ConvNd) and dims > len(module.kernel_size):
        return dims - 1 - len(module.kernel_size)
    if isinstance(module, _CHANNELS):
        return min(1, dims - 1)
    if isinstance(module, _FEATURES):
        return max(dims - 1, 0)
    if (behind := source()) is not None and behind[0] == dims:
        return behind[1]
    return 1 if dims >= 4 else max(dims - 1, 0)


def width(output: Tensor, dim: int) -> int:
    return int(output.shape[dim]) if output.dim() else 1


def over_rows(reduce: Callable[[Tensor, list[int]], Tensor], stacked: Tensor, dim: int) -> Tensor:
    """(k, *shape) -> (k, units), reduced over all but the dimension ``dim`` of the units in ``shape``.

    In place: laid out with the units last, the same takes ten times as long on a batch of images (measured).
    """
    rows = [i for i in range(1, stacked.dim()) if i != dim + 1]
    return reduce(stacked, rows) if rows else stacked.reshape(len(stacked), -1)


def unblocked(stacked: Tensor, dim: int) -> Tensor:
    """Per unit, whether any row's gradient is not exactly 0: (k, *shape) -> (k, units)."""
    return (over_rows(torch.amax, stacked, dim) != 0) | (over_rows(torch.amin, stacked, dim) != 0)


def sums_by_unit(stacked: Tensor, dim: int, to: torch.dtype) -> Tensor:
    """Sums (k, units) over the rows of (k, *shape) of which no entry is negative: float32 will do where nothing cancels.

    Where that overflows they are in the type ``to``; so they are at once where only waiting for the device would tell.
    """
    if stacked.is_cpu:
        sums = over_rows(torch.sum, stacked, dim)
        if isfinite(sums.sum().item()):
            return sums
    return over_rows(partial(torch.sum, dtype=to), stacked, dim)
