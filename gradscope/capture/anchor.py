"""When a backward pass is over: a callback at its end, queued from one parameter's hook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.capture.guard import Guard


class Anchor:
    """Calls ``over`` when a backward pass has ended and every reduction across processes with it.

    One parameter that gets a gradient serves as the anchor; until one has shown that it does, all are asked.
    """

    def __init__(self, over: Callable[[], None], guard: Guard) -> None:
        self._over = guard(over)
        self._arrived = guard(self._gradient_arrived)
        self._handles: list[Any] = []
        self._chosen: nn.Parameter | None = None
        self._queued = False

    def drop(self, parameters: Sequence[nn.Parameter]) -> None:
        """Before a step that watches for the end of backward."""
        self._queued = False
        chosen = self._chosen
        if chosen is not None and chosen.requires_grad:
            if len(self._handles) == 1:
                return
            parameters = [chosen]
        self.lift()
        self._handles = [
            p.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]
            for p in parameters
            if p.requires_grad
        ]

    def lift(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def lost(self) -> None:
        """The one that was chosen kept silent: all are asked at the next sample."""
        self.lift()
        self._chosen = None

    def _gradient_arrived(self, parameter: Tensor) -> None:
        if self._queued:
            return
        self._queued = True
        if isinstance(parameter, nn.Parameter):
            self._chosen = parameter
        engine: Any = torch.autograd.Variable._execution_engine
        # DDP and FSDP2 finish their reductions in callbacks of this kind; one queued from a callback runs after them
        engine.queue_callback(lambda: engine.queue_callback(self._end))

    def _end(self) -> None:
        self._queued = False
        self._over()
