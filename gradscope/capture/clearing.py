"""Whether gradients were thrown away between two backward passes of one step.

A batch that is skipped, a backward that failed and is tried again, the first of the two passes of SAM: no optimizer takes their
gradients, so that they are no micro-batches, and what the layers saw in them is no part of the step.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn


class Clearing:
    """Looks at the parameters' gradients when a backward has ended and when the next one begins."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._left: tuple[weakref.ref[Tensor], int] | None = None
        """A gradient as the last backward left it, and its version."""

    def backward_ended(self) -> None:
        gradient = next((p.grad for p in self.model.parameters() if p.grad is not None), None)
        self._left = None if gradient is None else (weakref.ref(gradient), gradient._version)

    def happened(self) -> bool:
        """Asked when another backward begins: whether no gradient is left, or only zeros.

        One that is as it was tells at once. Values are looked at only where it was written to since: an accelerator is waited
        for in a loop that sets its gradients to 0 in the middle of a step, and in no other.
        """
        for parameter in self.model.parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if self._left is not None and self._left[0]() is gradient and self._left[1] == gradient._version:
                return False
            if (
                gradient.layout is not torch.strided
                or gradient.is_meta
                or hasattr(gradient, "to_local")
                or bool(gradient.any())
            ):
                return False
        return True
