"""Signals at the layers: hooks that live for the steps that sample them, and find the stations of any model by themselves.

The first sampled forward watches every module and walks the autograd graph; from then on only the stations are hooked.
The back-propagated gradient is read by a pre-hook on the autograd node of the output, set from the forward hook: it sees
the sum over all consumers, costs a third of a full backward hook, and in-place activations survive it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from gradscope.capture.activations import Activation, examine
from gradscope.capture.anchor import in_backward
from gradscope.capture.functional import Functional
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Graph, Node, behind, tensors_in
from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.loops import Loops, Pass
from gradscope.capture.naming import parameter_names
from gradscope.capture.output import OutputTally
from gradscope.capture.piles import Key, Memory
from gradscope.capture.station import Station
from gradscope.capture.through_time import Replay, unseen
from gradscope.record.manifest import LayerInfo

LOOKS = 4
"""Samples in which the whole model is watched after a new set of stations was reached."""
PATHS_LIMIT = 64
"""Sets of stations after which a model is taken to choose its path at random."""


class Layers:
    """Reads every station of ``model`` while attached; ``named`` gives its modules under their public names."""

    def __init__(
        self, model: nn.Module, named: Sequence[tuple[str, nn.Module]], guard: Guard = unguarded, *, alone: bool = True
    ) -> None:
        self.model = model
        self.guard = guard
        self.alone = alone
        """Whether this process is the only one; what it learns of the graph is then its own matter."""
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.modules = {name: m for name, m in named if m is not model}
        self.activations: dict[str, Activation] = {
            name: found for name, m in self.modules.items() if (found := examine(m)) is not None
        }
        self.blocks = _blocks(model, dict(named))
        self.watched = self._all_watched()
        self.infos: dict[str, LayerInfo] = {}
        self.memory = Memory()
        self._stations: dict[str, Station] = {}
        self._handles: list[Any] = []
        self._attached: dict[str, nn.Module] | None = None
        self.notes: dict[str, None] = {}
        """What could not be seen, and why."""
        self.functional = Functional(self.modules, self.notes)
        self.loops = Loops(self.modules, self.notes)
        self._names: dict[nn.Parameter, str] = {}
        """The parameters' names, once a walk of the graph has asked for them."""
        self._order: dict[str, int] = {}
        """In which order the modules ran when they first did."""
        self.discovering = True
        self._looks = 1
        self._samples = 0
        self._paths: set[frozenset[str]] = set()
        """The sets of stations that sampled steps have reached."""
        self._evaluating = False
        self.clear()

    # ---- the life of a sampled step

    def attach(self, *, through_time: bool) -> None:
        """Before a step that samples layers; where the step before did too, the hooks are there already."""
        self.clear()
        self._through_time = through_time
        if self._attached is self.watched:
            return
        self.detach()
        self._attached = self.watched
        self._handles = [
            self.model.register_forward_pre_hook(self.guard(self._begin)),
            self.model.register_forward_hook(self.guard(self._end)),
        ]
        for name, module in self.watched.items():
            station = self._stations.get(name)
            if station is None:
                station = self._stations[name] = Station(self, name, module, self.activations.get(name))
            self._handles += station.attach()

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._attached = None

    def adopt(self, trusted: Iterable[Key]) -> None:
        """Reads the large outputs of these stations in float32 from now on; no earlier value may still be on the device."""
        self.memory.trusted.clear()
        self.memory.trusted.update(trusted)

    def clear(self) -> None:
        """Lets go of everything that a step left: sums, nodes, tensors."""
        self.gather = Gather(self.memory, self.device, first=self.discovering and (not self._samples or self._looks > 1))
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
        self._new_turn()

    def _new_turn(self) -> None:
        if self._turns:
            self.gather.next_turn()
        self._turns.append(torch._C._autograd._get_sequence_nr())
        self._calls: dict[str, int] = {}
        self.nodes: dict[Node, Key] = {}
        self.aliases: dict[Node, list[str]] = {}

    def end_of_backward(self) -> None:
        """A later call of a module belongs to another micro-batch, also where the root module is never called."""
        self._quiet = {}
        self._recomputing_in = -1
        self._new_turn()

    def finish(self) -> None:
        """After a sampled step: whether to look at the whole model again at the next.

        It is looked at again, for some samples, when a set of stations was reached that is new; and at samples 2, 4, 8 ...:
        what is used beside all that is known shows by nothing else.
        """
        reached = self._reached()
        if self.gather.repeated:
            self.notes["layers: several backwards went through one forward pass; norms of their sum are not recorded"] = None
        self._samples += 1
        if not self.discovering:
            if reached not in self._paths and len(self._paths) < PATHS_LIMIT:
                self._paths.add(reached)
                self._discover_again(LOOKS)
            elif self._samples & (self._samples - 1) == 0:
                self._discover_again(1)
        elif self._walked:
            self._paths.add(reached)
            self._looks -= 1
            if self._looks <= 0:
                self.discovering = False
                self.watched = {name: self.modules[name] for name in self.infos}

    def _discover_again(self, looks: int) -> None:
        self._looks = looks
        self.discovering = True
        self.functional.known = {}
        self.loops.known = {}
        self.watched = self._all_watched()

    def _all_watched(self) -> dict[str, nn.Module]:
        """Activations, and whatever has parameters, itself or further inside."""
        owners = (name for name, m in self.modules.items() if any(p is not None for p in m._parameters.values()))
        wanted = self.activations.keys() | {outer for name in owners for outer in _with_parents(name)}
        return {name: m for name, m in self.modules.items() if name in wanted}

    # ---- what counts

    def call(self, name: str, *, take: bool) -> int | None:
        """The number of the call of a module that runs now; None for one that does not count."""
        if self._evaluating or not self.model.training:
            return None
        if torch._C._current_graph_task_id() == -1:
            number = self._calls.get(name, 0)
            if take:
                self._calls[name] = number + 1
                self._ran(name)
            return number
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
        if not (self._evaluating or in_backward()):
            self._ran(name)
            quiet = self._quiet.setdefault(name, [])
            quiet.append(self._calls.get(name, 0) + len(quiet))

    def _ran(self, name: str) -> None:
        if self.discovering:
            self._order.setdefault(name, len(self._order))

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
            self._task_accumulates = _reaches_parameters(module) or any(map(_reaches_parameters, self.watched.values()))
        return self._task_accumulates

    # ---- hooks

    def _begin(self, module: nn.Module, _args: object) -> None:
        if module is self.model and not in_backward():
            self._evaluating = not (torch.is_grad_enabled() and self.model.training)
            if self.nodes and not self._evaluating:
                self._new_turn()

    def _end(self, module: nn.Module, _args: object, output: object) -> None:
        evaluating, self._evaluating = self._evaluating, False
        if module is not self.model or evaluating or in_backward() or not torch.is_grad_enabled():
            return
        self.gather.settle()
        roots = [t for t in tensors_in(output) if t.grad_fn is not None]
        if not roots:
            return
        if self.discovering:
            self._discover([t.grad_fn for t in roots])
        elif self.functional.known or (self.loops.known and self._through_time):
            graph = Graph([t.grad_fn for t in roots])
            self.functional.read(graph, self.nodes, self.gather, learn=False)
            self._follow_loops(graph)
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
        if self._through_time and self.loops.known:
            self.loops.follow(graph, self._see_through_time, self.guard)

    def _see_through_time(self, replay: Replay | Pass) -> bool:
        """A gradient has come to a recurrent module's output: whether it counts."""
        if not self.accumulates(self.model):
            return False
        if not any(replay is known for known in self.replays):
            self.replays.append(replay)
        return True

    # ---- finding out what there is

    def discover_from(self, key: Key, turn: int) -> None:
        """Where the root module is never called: what lies behind the first station that a gradient reaches."""
        if self._recomputing_in >= 0 or turn in self._walked:
            return
        if roots := [node for node, k in self.nodes.items() if k == key]:
            self._discover(roots)

    def _discover(self, roots: Sequence[Node]) -> None:
        self._walked.add(self.gather.turn)
        self._names = {}
        graph = Graph(roots)
        owners = (
            name for name, m in self.modules.items() if any(p is not None and p.dim() >= 2 for p in m._parameters.values())
        )
        hold_matrix = {outer for name in owners for outer in _with_parents(name)}
        by_matrix: dict[Node, str] = {}
        for node, (name, _) in self.nodes.items():
            for candidate in (name, *self.aliases.get(node, ())):
                if candidate in hold_matrix:
                    by_matrix[node] = candidate
                    break
        trunk = graph.trunk(by_matrix)
        for node, key in self.nodes.items() if self.alone else ():
            source = self._only_source(node, key, graph)
            self.memory.feeds(key, source)
        self.functional.read(graph, self.nodes, self.gather, learn=True)
        self.loops.learn(graph, self.model)
        self._follow_loops(graph)
        on_trunk = {self.nodes[node][0]: by_matrix[node] for node in by_matrix if node in trunk}
        stations = dict.fromkeys(n for n, _ in self.nodes.values() if n in on_trunk or self._is_leaf_station(n))
        formats = {name: _format(node) for node, (name, _) in self.nodes.items()}
        found = {
            name: (len(graph.consumers.get(n, ())) or None, self._added(n, (name, i))) for n, (name, i) in self.nodes.items()
        }
        for name in stations:
            self._describe(name, trunk=name in on_trunk, dtype=formats.get(name), graph=found.get(name))

    def _added(self, node: Node, key: Key) -> tuple[str, ...]:
        """The stations whose output, as it is, is a part of the sum that this node is or takes."""
        path = self._stations[key[0]].path(key[1])
        sums = [at for at in (node, behind(node, path or ())) if type(at).__name__ == "AddBackward0" and at._saved_alpha == 1]
        return tuple(self.nodes[p][0] for p, _ in sums[0].next_functions if p in self.nodes) if sums else ()

    def _describe(
        self, name: str, *, trunk: bool, dtype: str | None, graph: tuple[int | None, tuple[str, ...]] | None = None
    ) -> None:
        module, known, memory = self.modules[name], self.infos.get(name), self.memory
        readers, adds = graph or ((known.readers, known.adds) if known else (None, ()))
        functional = next((a for (station, _), a in self.functional.known.items() if station == name), None)
        activation = self.activations.get(name) or functional
        found: dict[str, Any] = {
            "trunk": trunk or (known is not None and known.trunk),
            "width": memory.widths[memory.slots[name, 0]] if (name, 0) in memory.slots else None,
            "activation": activation.kind if activation else None,
            "recurrent": isinstance(module, nn.RNNBase) or name in self.loops.known,
            "dtype": dtype or (known.dtype if known else None),
            "function": self.functional.names.get(name) if functional and name not in self.activations else None,
            "readers": readers,
            "adds": adds,
        }
        if known is not None and all(getattr(known, what) == value for what, value in found.items()):
            return
        names = self._names = self._names or parameter_names(self.model)
        self.infos[name] = LayerInfo(
            name=name,
            kind=type(module).__name__,
            order=known.order if known else len(self.infos),
            parameters=tuple(names[p] for p in module._parameters.values() if p is not None and p in names),
            block=self.blocks.get(name),
            **found,
        )

    def _reached(self) -> frozenset[str]:
        return frozenset(self.gather.keys[slot][0] for slot in self.gather.seen())

    def complete(self) -> None:
        """After the backwards of a step: what ran in them only, under a reentrant checkpoint, and the order of everything."""
        if not self.discovering:
            return
        for name in sorted(self._reached() if self._walked else ()):
            if name not in self.infos and self._is_leaf_station(name):
                self._describe(name, trunk=False, dtype=None)
                self.notes["layers: the inside of a reentrant checkpoint is recorded, but not taken to be on the trunk"] = None
        ordered = sorted(self.infos.values(), key=lambda info: self._order.get(info.name, len(self._order)))
        self.infos = {info.name: info if info.order == i else replace(info, order=i) for i, info in enumerate(ordered)}

    def _only_source(self, node: Node, key: Key, graph: Graph) -> Key | None:
        """The station whose output this one alone consumes: the gradient of its input is that of that output."""
        path = self._stations[key[0]].path(key[1])
        if path is None:
            return None
        source, number = behind(node, path[:-1]).next_functions[path[-1]]
        found = self.nodes.get(source)
        if found is None or len(graph.consumers.get(source, ())) != 1 or self._stations[found[0]].number(found[1]) != number:
            return None
        return found

    def _is_leaf_station(self, name: str) -> bool:
        module = self.modules[name]
        return name in self.activations or any(p is not None for p in module._parameters.values())


def _reaches_parameters(module: nn.Module) -> bool:
    """Whether the backward that runs brings a gradient to a parameter that the module owns."""
    for p in module._parameters.values():
        if p is None or not p.requires_grad:
            continue
        try:
            if torch._C._will_engine_execute_node(get_gradient_edge(p).node):
                return True
        except RuntimeError:  # autograd.grad with respect to the parameter itself
            return True
    return False


def _format(node: Node) -> str | None:
    """The number format of the gradient that arrives at a node's first output."""
    metadata = getattr(node, "_input_metadata", None)
    return str(metadata[0].dtype).removeprefix("torch.") if metadata else None


def _with_parents(name: str) -> list[str]:
    """A module's name and those of all that it is inside of."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _blocks(model: nn.Module, named: dict[str, nn.Module]) -> dict[str, str]:
    """Each module's enclosing member of a ``Sequential`` or ``ModuleList``, the innermost that has members itself."""
    result: dict[str, str] = {}
    members = {
        f"{name}.{child}" if name else child
        for name, module in named.items()
        if isinstance(module, nn.Sequential | nn.ModuleList)
        for child, inner in module.named_children()
        if any(True for _ in inner.children())
    }
    for name in named:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            if (outer := ".".join(parts[:end])) in members:
                result[name] = outer
                break
    return result
