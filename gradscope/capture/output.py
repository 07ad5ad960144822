"""The gradient at the model's output: what tells whether a run has learned, whatever the loss and its scale.

dL/d(output) minus its mean over the batch is the residual that is left once the mean is learned. Its correlation with the
output's own deviation says whether the output's spread is itself the residual: then its scale is still wrong. The part that the
mean has in the whole says whether the output's offset is: once that is learned it is one over the root of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from gradscope.capture.distributed import Processes
from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.packing import wide

ENTRIES_LIMIT = 1_048_576
"""Entries of the output on which this is taken; a larger one (a language model's logits) is cut to its leading rows."""


class Judge(Protocol):
    """Who says whether a backward pass is one of the training, and collects what could not be seen."""

    model: nn.Module
    notes: dict[str, None]

    def accumulates(self, module: nn.Module) -> bool: ...


@dataclass
class Part:
    """One micro-batch: its rows, the means (units,) of gradient and output, and the sums of squares about them."""

    rows: int
    gradient: Tensor
    output: Tensor
    residual: Tensor
    spread: Tensor
    product: Tensor


@dataclass
class OutputTally:
    """The micro-batches of one step, on the device."""

    judge: Judge
    device: torch.device
    parts: list[Part] = field(default_factory=list)
    repeated: bool = False

    def see(self, output: Tensor, guard: Guard = unguarded) -> None:
        """Follows the gradient to this output, (rows, ..., units) or (rows,)."""
        node, number = output.grad_fn, output.output_nr
        self.device = output.device
        seen = _rows(output.detach()).clone()
        before_this = len(self.parts)

        def before(gradients: tuple[Tensor | None, ...]) -> None:
            nonlocal before_this
            if (gradient := gradients[number]) is None or not self.judge.accumulates(self.judge.model):
                return
            if before_this < 0:
                self.repeated = True
                return
            before_this = -1
            rows = _rows(gradient.detach()).to(wide(gradient.device))
            out = seen.to(rows)
            means = rows.mean(0), out.mean(0)
            rows, out = rows - means[0], out - means[1]
            self.parts.append(Part(len(rows), *means, rows.square().sum(), out.square().sum(), (rows * out).sum()))

        assert node is not None
        node.register_prehook(guard(before))

    def start_over(self) -> None:
        """Drops what came back so far."""
        self.parts.clear()
        self.repeated = False

    def finish(self, processes: Processes) -> dict[str, Tensor]:
        """The sums about the whole batch's means, from the parts' (Chan, Golub & LeVeque 1983)."""
        usable = bool(self.parts) and not self.repeated and len({len(p.gradient) for p in self.parts}) == 1
        units = processes.share(len(self.parts[0].gradient) if usable else 0)
        if not units:
            return {}
        parts = self.parts if usable and len(self.parts[0].gradient) == units else []
        if len(parts) == 1 and not processes.many:  # nothing lies between
            (part,) = parts
            residual, spread, product = part.residual, part.spread, part.product
            common = part.rows * part.gradient.square().sum()
        else:
            residual, spread, product, common = self._joined(parts, units, processes)
        return {
            "output_backward_norm": residual.sqrt() / processes.world,
            "output_correlation": product / (residual.sqrt() * spread.sqrt()),
            "output_offset": (common / (common + residual)).sqrt(),
        }

    def _joined(self, parts: Sequence[Part], units: int, processes: Processes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums of squares and products about the whole batch's means, and that of the gradient's mean."""
        device = self.device
        counts = torch.tensor([float(p.rows) for p in parts], dtype=wide(device), device=device)[:, None]
        means, within = counts.new_zeros((0, 2, units)), counts.new_zeros(3)
        if parts:
            means = torch.stack([torch.stack([p.gradient, p.output]) for p in parts])  # (parts, 2, units)
            within = torch.stack([torch.stack([p.residual, p.spread, p.product]) for p in parts]).sum(0)
        total = processes.add_up(torch.cat([counts.sum(0), (counts[:, None] * means).sum(0).flatten()]))
        mean = (total[1:] / total[0]).view(2, -1)
        apart = means - mean
        gradient, output = apart[:, 0], apart[:, 1]
        between = torch.stack([(counts * a * b).sum() for a, b in ((gradient, gradient), (output, output), (gradient, output))])
        residual, spread, product = processes.add_up(within + between)
        return residual, spread, product, total[0] * mean[0].square().sum()


def _rows(tensor: Tensor) -> Tensor:
    """(rows, units); the two parts of a complex number are units of their own."""
    if tensor.is_complex():
        parts = torch.view_as_real(tensor.resolve_conj())
        tensor = parts.flatten(-2) if tensor.dim() > 1 else parts
    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.dim() > 1 else tensor[:, None]
    return rows if rows.numel() <= ENTRIES_LIMIT else rows[: max(2, ENTRIES_LIMIT // rows.shape[1])]
