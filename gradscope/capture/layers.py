"""Signals at the layers: hooks that live for the steps that sample them, and find the stations of any model by themselves.

The first sampled forward watches every module and walks the autograd graph; from then on only the stations are hooked.
The back-propagated gradient is read by a pre-hook on the autograd node of the output, set from the forward hook: it sees
the sum over all consumers, costs a third of a full backward hook, and in-place activations survive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from gradscope.capture.anchor import in_backward
from gradscope.capture.collector import Collector
from gradscope.capture.graph import Graph, Node, tensors_in
from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.loops import Pass
from gradscope.capture.output import OutputTally
from gradscope.capture.passes import Passes
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
        self.notes: dict[str, None] = {}
        """What could not be seen, and why."""
        memory = Memory()
        self.survey = survey = Survey(model, dict(named), memory, self.notes)
        self.passes = Passes(
            model, survey.modules, memory, self.notes, guard, ran=survey.ran, dropped=self._start_over, alone=alone
        )
        self._stations: dict[str, Station] = {}
        self._handles: list[Any] = []
        self._attached: dict[str, nn.Module] | None = None
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
                found = self.survey.activations.get(name)
                station = Station(self.passes, name, module, found, self._see_recurrent, self._look_from)
                self._stations[name] = station
            self._handles += station.attach()

    def renew(self, named: Sequence[tuple[str, nn.Module]]) -> None:
        """The model's modules as they are now, between two steps: what is new is looked for, and stood for by new stations."""
        if self.survey.renew(dict(named)):
            self._stations = {name: s for name, s in self._stations.items() if self.survey.modules.get(name) is s.module}

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._attached = None
        self._collector.release()

    def clear(self) -> None:
        """Lets go of everything that a step left: sums, nodes, tensors."""
        self._collector.release()
        survey = self.survey
        self.passes.clear(survey.watched, looking=survey.looking, first=survey.new)
        self.output = OutputTally(self.passes, self.passes.device)
        self.replays: list[Replay | Pass] = []
        self._through_time = False
        self._walked: set[int] = set()
        """The forward passes whose graph was walked."""

    def _start_over(self) -> None:
        self.output.start_over()
        self.replays.clear()

    def complete(self) -> None:
        """After the backwards of a step, before it is read."""
        if self.survey.looking:
            self.survey.complete(self._reached() if self._walked else frozenset())

    def finish(self, trained: bytes) -> None:
        """After a sampled step was read; ``trained`` tells which parameters had gradients, one from another."""
        if self.passes.gather.repeated:
            self.notes["layers: several backwards went through one forward pass; norms of their sum are not recorded"] = None
        self.survey.finish(self._reached(), trained, walked=bool(self._walked))

    def _reached(self) -> frozenset[str]:
        gather = self.passes.gather
        return frozenset(gather.keys[slot][0] for slot in gather.seen())

    # ---- hooks

    def _begin(self, module: nn.Module, _args: object) -> None:
        if module is self.model and not in_backward() and self.passes.enter():
            self._collector.hold()

    def _end(self, module: nn.Module, _args: object, output: object) -> None:
        if module is self.model and not in_backward() and self.passes.leave():
            self._see_output(output)

    def _see_output(self, output: object) -> None:
        passes, survey = self.passes, self.survey
        passes.gather.settle()
        roots = [t for t in tensors_in(output) if t.grad_fn is not None]
        if not roots:
            return
        if survey.looking:
            survey.find_streams(self._walk([t.grad_fn for t in roots]), passes.nodes)
        elif survey.functional.known or (survey.loops.known and self._through_time):
            graph = Graph([t.grad_fn for t in roots])
            survey.functional.read(graph, passes.nodes, passes.gather, learn=False)
            self._follow_loops(graph)
        survey.streams.follow(passes)
        main = next((t for t in roots if t.dim() >= 2), next((t for t in roots if t.numel() > 1), None))
        if main is not None:
            self.output.see(main, self.guard)

    def _see_recurrent(self, name: str, module: nn.RNNBase, call: int, args: tuple[Any, ...], output: object) -> None:
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
        if not self.passes.accumulates(self.model):
            return False
        if not any(replay is known for known in self.replays):
            self.replays.append(replay)
        return True

    def _look_from(self, key: Key, turn: int) -> None:
        """While stations are looked for and the root module is never called: from the first that a gradient reaches."""
        if self.passes.recomputing or turn in self._walked:
            return
        if roots := [node for node, k in self.passes.nodes.items() if k == key]:
            self._walk(roots)

    def _walk(self, roots: Sequence[Node]) -> Graph:
        passes = self.passes
        self._walked.add(passes.gather.turn)
        graph = self.survey.walk(roots, passes.nodes, passes.aliases, self._stations, passes.gather)
        self._follow_loops(graph)
        return graph
