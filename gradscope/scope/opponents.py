"""Whether a loss depends on parameters that another training changes: then it moves while the watched ones stand still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn

LAST = 128
"""The loss's graph is looked at in steps 0, 1, 2, 4 ... up to this one: it costs a walk, and is the same in most of them."""


class Opponents:
    """Of one scope: ``found`` once there are such parameters, as the discriminator's in the loss of a generator.

    Neither the model nor the optimizers hold them. Where they are another open scope's, its loss is shared too: what it is
    trained on comes from here. Several processes are not looked at: shards stand for parameters there.
    """

    _open: ClassVar[WeakSet[Opponents]] = WeakSet()

    def __init__(self, model: nn.Module, optimizers: Sequence[Any], *, found: bool) -> None:
        self.found = found
        self._models, self._optimizers = [model], list(optimizers)
        self._open.add(self)

    def look(self, loss: Tensor | float, step: int) -> None:
        """At the loss of a step, if it is one whose graph is looked at; a number has none."""
        if self.found or step & (step - 1) or not isinstance(loss, Tensor) or loss.grad_fn is None:
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return
        others = _parameters(loss.grad_fn) - self._stepped()
        if others and (others := others - self._own()):
            self.found = True
            for other in self._open:
                other.found |= bool(others & other._own())

    def close(self) -> None:
        self._open.discard(self)
        self._models, self._optimizers = [], []

    def _own(self) -> set[int]:
        """The ids of what it watches now: a model may grow."""
        return self._stepped() | {id(p) for model in self._models for p in model.parameters()}

    def _stepped(self) -> set[int]:
        """The ids of what its optimizers hold, most often all of it, and found much faster."""
        return {id(p) for o in self._optimizers for group in o.param_groups for p in group["params"]}


def _parameters(node: Any) -> set[int]:
    """The ids of the trainable parameters behind a node of the autograd graph."""
    seen, waiting, found = {node}, [node], set[int]()
    while waiting:
        node = waiting.pop()
        edges = node.next_functions
        for behind, _ in edges:
            if behind is not None and behind not in seen:
                seen.add(behind)
                waiting.append(behind)
        if not edges and isinstance(leaf := getattr(node, "variable", None), nn.Parameter):
            found.add(id(leaf))
    return found
