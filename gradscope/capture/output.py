"""The gradient at the model's output: what tells whether a run has learned, whatever the loss and its scale.

dL/d(output) minus its mean over the batch is the residual that is left once the mean is learned. Its correlation with the
output's own deviation says whether the output's spread is itself the residual: then its scale is still wrong. The part that the
mean has in the whole says whether the output's offset is: once that is learned it is one over the root of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.packing import wide

ENTRIES_LIMIT = 1_048_576
"""Entries of the output on which this is taken; a larger one (a language model's logits) is cut to its leading rows."""


@dataclass
class OutputTally:
    """Sums over the micro-batches of one step, 0-dim on the device."""

    residual: list[Tensor] = field(default_factory=list)
    product: list[Tensor] = field(default_factory=list)
    spread: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    rows: int = 0

    def see(self, output: Tensor, guard: Guard = unguarded) -> None:
        """Follows the gradient to this output, (rows, ..., units)."""
        node, number = output.grad_fn, output.output_nr
        seen = _rows(output.detach()).clone()

        def before(gradients: tuple[Tensor | None, ...]) -> None:
            if (gradient := gradients[number]) is None:
                return
            rows = _rows(gradient.detach()).to(wide(gradient.device))
            out = seen.to(rows)
            self.sums.append(rows.sum(0))
            self.rows += len(rows)
            rows, out = rows - rows.mean(0), out - out.mean(0)
            self.residual.append(torch.linalg.vector_norm(rows))
            # each normalised before the product: the square of a tiny gradient would underflow
            self.spread.append(torch.linalg.vector_norm(out))
            self.product.append((rows * out).sum())

        assert node is not None
        node.register_prehook(guard(before))

    def finish(self) -> dict[str, Tensor]:
        if not self.residual:
            return {}
        residual = torch.linalg.vector_norm(torch.stack(self.residual))
        spread = torch.linalg.vector_norm(torch.stack(self.spread))
        mean = torch.linalg.vector_norm(torch.stack(self.sums).sum(0)) / self.rows**0.5
        return {
            "output_backward_norm": residual,
            "output_correlation": torch.stack(self.product).sum() / (residual * spread),
            "output_offset": mean / torch.hypot(mean, residual),
        }


def _rows(tensor: Tensor) -> Tensor:
    rows = tensor.reshape(-1, tensor.shape[-1])
    return rows if rows.numel() <= ENTRIES_LIMIT else rows[: max(2, ENTRIES_LIMIT // rows.shape[1])]
