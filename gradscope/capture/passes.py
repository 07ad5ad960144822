"""Which forward pass of a step something belongs to, and whether it counts.

A step may have several: micro-batches, the second run of a checkpoint, a batch that is skipped. Beside them the model may run
where nothing of it counts: in an evaluation, under ``torch.func``, after the optimizer's step, for a gradient of another kind.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from threading import get_ident

import torch
from torch import Tensor, nn

from gradscope.capture.activations import FUNCTIONAL
from gradscope.capture.anchor import in_backward, reaches_parameters
from gradscope.capture.clearing import Clearing
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Node
from gradscope.capture.guard import Guard, is_transformed
from gradscope.capture.piles import Key, Memory
from gradscope.capture.units import Units

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Clone", "ToCopy", "NativeDropout")
ENTRYWISE = {*FUNCTIONAL, *(f"{name}Backward0" for name in _ARITHMETIC)}
"""Nodes of operations whose result has the dimensions of what they take."""
BEHIND = 16
"""Of them, how many are looked at."""


class Passes:
    """The forward passes of ``model`` in one step at a time, and what is gathered in them.

    While stations are looked for, ``ran`` is told of every module that runs. ``dropped`` is called where what came back so far
    turns out to be no part of the step. ``alone`` says that no other process trains the same model.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: Mapping[str, nn.Module],
        memory: Memory,
        notes: dict[str, None],
        guard: Guard,
        *,
        ran: Callable[[str], None],
        dropped: Callable[[], None],
        alone: bool,
    ) -> None:
        self.model = model
        self.modules = modules
        self.memory = memory
        self.notes = notes
        self.guard = guard
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._ran = ran
        self._dropped = dropped
        self._alone = alone
        self._clearing = Clearing(model)
        self.clear({}, looking=True, first=True)

    def clear(self, watched: Mapping[str, nn.Module], *, looking: bool, first: bool) -> None:
        """Before a step that samples ``watched``, ``looking`` for stations or not; of the ``first`` ones nothing is known."""
        self.watched = watched
        self.looking = looking
        self.gather = Gather(self.memory, self.device, alone=self._alone, first=first)
        self._turns: list[int] = []
        """The autograd sequence number with which each turn began: it tells which one a gradient belongs to."""
        self._quiet: dict[str, list[int]] = {}
        """Calls without gradient, which a reentrant checkpoint will run again in backward, by their number."""
        self._task = self._recomputing_in = -1
        self._task_accumulates = False
        self._evaluating: set[int] = set()
        """The threads in which the root module runs without being trained."""
        self._inside = self._closed = False
        """Whether the root module runs, being trained; whether what comes is no part of the step any more."""
        self._new_turn()

    def _new_turn(self) -> None:
        if self._turns:
            self.gather.next_turn()
        self._turns.append(torch._C._autograd._get_sequence_nr())
        self._calls: dict[str, int] = {}
        self.nodes: dict[Node, Key] = {}
        self.aliases: dict[Node, list[str]] = {}

    # ---- the course of a step

    def enter(self) -> bool:
        """The root module begins to run: whether that is a forward pass of the training."""
        if not (torch.is_grad_enabled() and self.model.training) or is_transformed():
            self._evaluating.add(get_ident())
            return False
        self._evaluating.discard(get_ident())
        self._inside = True
        if self.nodes:
            self._new_turn()
        return True

    def leave(self) -> bool:
        """The root module has run: whether what it gave counts."""
        if get_ident() in self._evaluating:
            self._evaluating.discard(get_ident())
            return False
        self._inside = False
        return not self._closed and torch.is_grad_enabled()

    def end_of_backward(self) -> None:
        """A later call of a module belongs to another micro-batch, also where the root module is never called."""
        self._clearing.backward_ended()
        self._quiet = {}
        self._recomputing_in = -1
        self._new_turn()

    def close(self) -> None:
        """After the optimizers' step: what runs until the step ends is no part of it."""
        self._closed = True

    # ---- forward

    def call(self, name: str, *, take: bool) -> int | None:
        """The number of the call of a module that runs now; None for one that does not count."""
        if self._closed or not self.model.training or (self._evaluating and get_ident() in self._evaluating):
            return None
        if torch._C._current_graph_task_id() != -1:
            return self._call_again(name, take=take)
        if not self._inside and is_transformed():
            return None
        number = self._calls.get(name, 0)
        if take:
            self._calls[name] = number + 1
            if self.looking:
                self._ran(name)
        return number

    def _call_again(self, name: str, *, take: bool) -> int | None:
        """The same for one that runs in backward, under a reentrant checkpoint."""
        quiet = self._quiet.get(name)
        if not quiet:
            return None  # a checkpoint's second run of what was seen
        if len(quiet) > 1:
            self.notes[f"layers: {name} runs several times under reentrant checkpoints; its calls are not recorded"] = None
            return None
        if (task := torch._C._current_graph_task_id()) != self._recomputing_in:
            self._recomputing_in = task
            self._new_turn()
        return quiet.pop() if take else quiet[0]

    def run_without_gradient(self, name: str) -> None:
        if not (self._closed or get_ident() in self._evaluating or in_backward()):
            if self.looking:
                self._ran(name)
            quiet = self._quiet.setdefault(name, [])
            quiet.append(self._calls.get(name, 0) + len(quiet))

    def maker(self, tensor: object) -> Key | None:
        """The call of a station that made a tensor."""
        node = tensor.grad_fn if isinstance(tensor, Tensor) else None
        return self.nodes.get(node) if node is not None else None

    def units_behind(self, tensor: Tensor) -> Units | None:
        """Of the nearest station to which sums and functions entry by entry lead back from a tensor, its own left out."""
        seen = [tensor.grad_fn]
        for node in seen:
            for producer, _ in node.next_functions if node is not None else ():
                if producer in self.nodes:
                    return self.memory.units.get(self.nodes[producer])
                if type(producer).__name__ in ENTRYWISE and len(seen) < BEHIND:
                    seen.append(producer)
        return None

    # ---- backward

    @property
    def recomputing(self) -> bool:
        """Whether a reentrant checkpoint runs what it had run without gradient."""
        return self._recomputing_in >= 0

    def turn_of_gradient(self) -> int:
        """Which turn the node belongs to whose gradient has arrived."""
        if len(self._turns) == 1:
            return 0
        return bisect_right(self._turns, torch._C._current_autograd_node()._sequence_nr()) - 1

    def accumulates(self, module: nn.Module) -> bool:
        """Whether the backward that runs is one of the training: a gradient of something else (a penalty, an attack) is not."""
        task = torch._C._current_graph_task_id()
        if task != self._task:
            self._task = task
            reaches = reaches_parameters(module) or any(map(reaches_parameters, self.watched.values()))
            self._task_accumulates = reaches and not self._closed
            if self._task_accumulates and self.gather.returned and self._clearing.happened():
                self.gather.start_over()
                self._dropped()
        return self._task_accumulates
