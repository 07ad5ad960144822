"""Signals at the layers: hooks that live for the steps that sample them, and find the stations of any model by themselves.

The first sampled forward watches every module and walks the autograd graph; from then on only the stations are hooked.
The back-propagated gradient is read by a pre-hook on the autograd node of the output, set from the forward hook: it sees
the sum over all consumers, costs a third of a full backward hook, and in-place activations survive it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.capture.anchor import in_backward, reaches_parameters
from gradscope.capture.clearing import Clearing
from gradscope.capture.collector import Collector
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Graph, Node, tensors_in
from gradscope.capture.guard import Guard, is_transformed, unguarded
from gradscope.capture.loops import Pass
from gradscope.capture.output import OutputTally
from gradscope.capture.piles import Key, Memory
from gradscope.capture.station import Station
from gradscope.capture.survey import Survey
from gradscope.capture.through_time import Replay, unseen


class Layers:
    """Reads every station of ``model`` while attached; ``named`` gives its modules under their public names."""

    def __init__(
        self, model: nn.Module, named: Sequence[tuple[str, nn.Module]], guard: Guard = unguarded, *, alone: bool = True
    ) -> None:
        self.model = model
        self.guard = guard
        self._alone = alone
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.memory = Memory()
        self.notes: dict[str, None] = {}
        """What could not be seen, and why."""
        self.survey = Survey(model, dict(named), self.memory, self.notes)
        self.modules = self.survey.modules
        self._stations: dict[str, Station] = {}
        self._handles: list[Any] = []
        self._attached: dict[str, nn.Module] | None = None
        self._clearing = Clearing(model)
        self._collector = Collector()
        self.clear()

    # ---- the life of a sampled step

    def attach(self, *, through_time: bool) -> None:
        """Before a step that samples layers; where the step before did too, the hooks are there already."""
        self.clear()
        self._through_time = through_time
        if self._attached is self.survey.watched:
            return
        self.detach()
        self._attached = self.survey.watched
        self._handles = [
            self.model.register_forward_pre_hook(self.guard(self._begin)),
            self.model.register_forward_hook(self.guard(self._end), always_call=True),  # also where it raises an error
        ]
        for name, module in self.survey.watched.items():
            station = self._stations.get(name)
            if station is None:
                station = self._stations[name] = Station(self, name, module, self.survey.activations.get(name))
            self._handles += station.attach()

    def renew(self, named: Sequence[tuple[str, nn.Module]]) -> None:
        """The model's modules as they are now, between two steps: what is new is looked for, and stood for by new stations."""
        if self.survey.renew(dict(named)):
            self._stations = {name: s for name, s in self._stations.items() if self.modules.get(name) is s.module}

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._attached = None
        self._collector.release()

    def clear(self) -> None:
        """Lets go of everything that a step left: sums, nodes, tensors."""
        self.gather = Gather(self.memory, self.device, alone=self._alone, first=self.survey.new)
        self.output = OutputTally(self, self.device)
        self.replays: list[Replay | Pass] = []
        self._through_time = False
        self._turns: list[int] = []
        """The autograd sequence number with which each turn began: it tells which one a gradient belongs to."""
        self._walked: set[int] = set()
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

    def close(self) -> None:
        """After the optimizers' step: what runs until the step ends is no part of it."""
        self._closed = True

    def end_of_backward(self) -> None:
        """A later call of a module belongs to another micro-batch, also where the root module is never called."""
        self._clearing.backward_ended()
        self._quiet = {}
        self._recomputing_in = -1
        self._new_turn()

    def complete(self) -> None:
        """After the backwards of a step, before it is read."""
        if self.survey.looking:
            self.survey.complete(self._reached() if self._walked else frozenset())

    def finish(self, trained: bytes) -> None:
        """After a sampled step was read; ``trained`` tells which parameters had gradients, one from another."""
        if self.gather.repeated:
            self.notes["layers: several backwards went through one forward pass; norms of their sum are not recorded"] = None
        self.survey.finish(self._reached(), trained, walked=bool(self._walked))

    def _reached(self) -> frozenset[str]:
        return frozenset(self.gather.keys[slot][0] for slot in self.gather.seen())

    # ---- what counts

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
            if self.survey.looking:
                self.survey.ran(name)
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
            self.survey.ran(name)
            quiet = self._quiet.setdefault(name, [])
            quiet.append(self._calls.get(name, 0) + len(quiet))

    def maker(self, tensor: object) -> nn.Module | None:
        """The station that made a tensor."""
        node = tensor.grad_fn if isinstance(tensor, Tensor) else None
        key = self.nodes.get(node) if node is not None else None
        return None if key is None else self.modules[key[0]]

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
            reaches = reaches_parameters(module) or any(map(reaches_parameters, self.survey.watched.values()))
            self._task_accumulates = reaches and not self._closed
            if self._task_accumulates and self.gather.returned and self._clearing.happened():
                self.gather.start_over()
                self.output.start_over()
                self.replays.clear()
        return self._task_accumulates

    # ---- hooks

    def _begin(self, module: nn.Module, _args: object) -> None:
        if module is self.model and not in_backward():
            if not (torch.is_grad_enabled() and self.model.training) or is_transformed():
                self._evaluating.add(get_ident())
                return
            self._evaluating.discard(get_ident())
            self._inside = True
            self._collector.hold()
            if self.nodes:
                self._new_turn()

    def _end(self, module: nn.Module, _args: object, output: object) -> None:
        if module is self.model and not in_backward():
            try:
                self._see_output(output)
            finally:
                self._collector.release()

    def _see_output(self, output: object) -> None:
        if get_ident() in self._evaluating:
            self._evaluating.discard(get_ident())
            return
        self._inside = False
        if self._closed or not torch.is_grad_enabled():
            return
        self.gather.settle()
        roots = [t for t in tensors_in(output) if t.grad_fn is not None]
        if not roots:
            return
        survey = self.survey
        if survey.looking:
            survey.find_streams(self._walk([t.grad_fn for t in roots]), self.nodes)
        elif survey.functional.known or (survey.loops.known and self._through_time):
            graph = Graph([t.grad_fn for t in roots])
            survey.functional.read(graph, self.nodes, self.gather, learn=False)
            self._follow_loops(graph)
        survey.streams.follow(self)
        main = next((t for t in roots if t.dim() >= 2), next((t for t in roots if t.numel() > 1), None))
        if main is not None:
            self.output.see(main, self.guard)

    def see_recurrent(self, name: str, module: nn.RNNBase, call: int, args: tuple[Any, ...], output: object) -> None:
        if not self._through_time:
            return
        if call:
            self.notes[f"timesteps: {name} is called again in a forward pass; only its first call is recorded"] = None
            return
        why = unseen(module, args)
        if why:
            self.notes[f"timesteps: {name} {why}; its gradient through time is not recorded"] = None
        else:
            Replay(name, module, args, output).follow(self._see_through_time, self.guard)

    def _follow_loops(self, graph: Graph) -> None:
        if self._through_time and self.survey.loops.known:
            self.survey.loops.follow(graph, self._see_through_time, self.guard)

    def _see_through_time(self, replay: Replay | Pass) -> bool:
        """A gradient has come to a recurrent module's output: whether it counts."""
        if not self.accumulates(self.model):
            return False
        if not any(replay is known for known in self.replays):
            self.replays.append(replay)
        return True

    def look_from(self, key: Key, turn: int) -> None:
        """While stations are looked for and the root module is never called: from the first that a gradient reaches."""
        if self._recomputing_in >= 0 or turn in self._walked:
            return
        if roots := [node for node, k in self.nodes.items() if k == key]:
            self._walk(roots)

    def _walk(self, roots: Sequence[Node]) -> Graph:
        self._walked.add(self.gather.turn)
        graph = self.survey.walk(roots, self.nodes, self.aliases, self._stations, self.gather)
        self._follow_loops(graph)
        return graph
