"""What is gathered at one station during one optimizer step: sums over its micro-batches, still on the device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradscope.capture.activations import Activation
from gradscope.capture.packing import wide

ROWS_LIMIT = 65_536
"""Entries of an output on which moments and shares are taken; a larger one is cut to as many leading rows of the batch as
fit. Norms are always taken on all entries."""


@dataclass
class Tally:
    """Statistics of one call of one module; each list has an entry a micro-batch, each entry is 0-dim on the device."""

    width: int
    exact: bool = True
    forward: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    rows: int = 0
    backward: list[Tensor] = field(default_factory=list)
    backward_in: list[Tensor] = field(default_factory=list)
    saturated: list[Tensor] = field(default_factory=list)
    alive: Tensor | None = None

    def see_output(self, output: Tensor) -> None:
        output = output.detach()
        rows = head(output).to(wide(output.device))
        norm = torch.linalg.vector_norm(rows)
        self.sums.append(rows.sum())
        self.squares.append(norm)
        self.counts.append(rows.numel())
        self.rows += len(rows)
        self.forward.append(norm if rows.numel() == output.numel() else frobenius(output, self.exact))

    def see_activation(self, activation: Activation, inputs: Tensor, dim: int) -> None:
        """Shares of an activation, from its inputs; ``dim`` is the dimension of the units."""
        inputs = head(inputs.detach())
        if activation.kind == "two-sided":
            self.saturated.append(activation.saturated(inputs))
        elif activation.kind == "one-sided" and activation.alive_low > -float("inf"):
            self._either(activation.alive(by_unit(inputs, dim)))

    def see_gradient(self, gradient: Tensor, dim: int | None) -> None:
        """The gradient that reached the output; with ``dim``, also which units passed any of it on."""
        gradient = gradient.detach()
        self.backward.append(frobenius(gradient, self.exact))
        if dim is not None:
            units = by_unit(head(gradient), dim)
            self._either(units.amax(0).maximum(-units.amin(0)) > 0)

    def _either(self, alive: Tensor) -> None:
        self.alive = alive if self.alive is None or self.alive.shape != alive.shape else self.alive | alive


def frobenius(tensor: Tensor, exact: bool) -> Tensor:
    """L2 norm of all entries; in float64 where the tensor is small or ``exact`` asks for it, see ``packing``."""
    dtype = wide(tensor.device) if exact or tensor.numel() <= ROWS_LIMIT else torch.float32
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=dtype)
    return norm


def head(tensor: Tensor) -> Tensor:
    """As many leading rows of the batch as stay within ``ROWS_LIMIT`` entries, one at the least."""
    if tensor.numel() <= ROWS_LIMIT or tensor.dim() < 2:
        return tensor if tensor.dim() else tensor[None]
    return tensor[: max(1, ROWS_LIMIT * len(tensor) // tensor.numel())]


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
    return output.dim() - 1
