"""When a backward pass is over: a callback at its end, queued from a parameter's hook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any, ClassVar

import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge

from gradscope.capture.guard import Guard
from gradscope.capture.naming import own_parameters

ASKED_STEPS = 3
"""Steps in which every parameter is asked, before two of those that all backwards reached are trusted to tell alone."""


class Anchor:
    """Calls ``over`` when a backward pass has ended and every reduction across processes with it.

    ``over`` is told whether it was one inside another (a reentrant checkpoint): then more gradients may come after it. The
    first and the last parameter that all backwards so far have reached serve as anchors, so that one may be frozen; until
    there are such, all are asked.

    It tells by a post-accumulate hook. That leaves a call into Python at each backward when it is gone, so the many that are
    asked for a few steps tell by their accumulator's node instead, which dies with its hook; shards have no other way.
    """

    asked: ClassVar[int] = 0
    """How many autograd tasks were run just to ask for their number."""

    def __init__(self, over: Callable[[bool], None], guard: Guard) -> None:
        self._over = over
        self._arrived = guard(self._gradient_arrived)
        self._ended = guard(self._end)
        self._handles: list[Any] = []
        self._asked: list[Any] = []
        """The parameters that tell, or the accumulators that do; while they are held they stay what they are."""
        self._among: Sequence[nn.Parameter] = ()
        """The parameters as they were when a backward was watched for last."""
        self._queued_in = -1
        self._tasks = 0
        """How many autograd tasks had begun when the last one that told of its end did, itself among them."""
        self._ask_all()

    def _ask_all(self) -> None:
        self.chosen: list[nn.Parameter] = []
        """The anchors; all are asked while there are none."""
        self._steps_left = ASKED_STEPS
        self._reached: set[nn.Parameter] = set()
        self._common: set[nn.Parameter] | None = None
        """Those that every backward so far has reached."""

    def drop(self, parameters: Sequence[nn.Parameter]) -> None:
        """Before a step that watches for the end of backward."""
        self._queued_in = -1
        others, self._among = parameters is not self._among, parameters
        if self.chosen and not (all(p.requires_grad for p in self.chosen) and (not others or {*self.chosen} <= {*parameters})):
            self._ask_all()
        elif not self.chosen and self._steps_left == 0:
            common = [p for p in parameters if p in (self._common or ())]
            self.chosen = [*common[:1], *common[1:][-1:]]
        self._steps_left -= 1
        asked: list[Any] = [p for p in self.chosen or parameters if p.requires_grad]
        told = None if self.chosen or any(hasattr(p, "to_local") for p in asked) else asked
        if told is not None:
            asked = [get_gradient_edge(p).node for p in told]
        if len(asked) == len(self._asked) and all(map(is_, asked, self._asked)):
            return  # they are asked since the step before
        self.lift()
        self._asked = asked
        if told is None:
            self._handles = [p.register_post_accumulate_grad_hook(self._arrived) for p in asked]
        else:
            self._handles = [n.register_hook(partial(self._told, p)) for n, p in zip(asked, told, strict=True)]

    def lift(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._asked = [], []

    def distrust(self) -> None:
        """No parameter can tell alone: all are asked from now on."""
        self.chosen, self._steps_left = [], -1

    def passed_over(self) -> bool:
        """Whether a backward may have run since the last one that told: some task has, of this training or of another."""
        return bool(self.chosen) and self._tasks_begun() != self._tasks

    @staticmethod
    def _tasks_begun() -> int:
        """How many tasks have begun in this process, those of this method left out: one of its own tells, by its number."""
        found: list[int] = []
        leaf: Any = torch.zeros((), device="cpu", requires_grad=True)
        leaf.register_hook(lambda _: found.append(torch._C._current_graph_task_id()))
        engine: Any = torch.autograd.Variable._execution_engine
        one = torch.ones((), device="cpu")
        engine.run_backward((leaf,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)
        Anchor.asked += 1
        return found[0] + 1 - Anchor.asked

    def _told(self, parameter: nn.Parameter, _produced: object, _arrived: object) -> None:
        self._arrived(parameter)

    def _gradient_arrived(self, parameter: nn.Parameter) -> None:
        if not self.chosen:
            self._reached.add(parameter)
        task = torch._C._current_graph_task_id()
        if self._queued_in == task:
            return
        self._queued_in = task
        engine: Any = torch.autograd.Variable._execution_engine
        # DDP and FSDP2 finish their reductions in callbacks of this kind; one queued from a callback runs after them
        engine.queue_callback(lambda: engine.queue_callback(self._ended))

    def _end(self) -> None:
        self._tasks, self._queued_in = self._queued_in + 1 - Anchor.asked, -1
        nested = torch._C._current_autograd_node() is not None
        if nested:
            self.distrust()
        else:
            self._common = set(self._reached) if self._common is None else self._common & self._reached
            self._reached = set()
        self._over(nested)


def in_backward() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)


def reaches_parameters(module: nn.Module) -> bool:
    """Whether the backward that runs brings a gradient to a parameter that the module owns."""
    for p in own_parameters(module):
        if not p.requires_grad:
            continue
        try:
            if torch._C._will_engine_execute_node(get_gradient_edge(p).node):
                return True
        except RuntimeError:  # autograd.grad with respect to the parameter itself
            return True
    return False
