"""Signals at the layers: hooks that live for the steps that sample them, and find the stations of any model by themselves.

The first sampled forward watches every module and walks the autograd graph; from then on only the stations are hooked.
The back-propagated gradient is read by a pre-hook on the autograd node of the output, set from the forward hook: it sees
the sum over all consumers, costs a third of a full backward hook, and in-place activations survive it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gradscope.capture import activations
from gradscope.capture.activations import Activation, examine
from gradscope.capture.anchor import in_backward
from gradscope.capture.gather import Gather, Key, Memory
from gradscope.capture.graph import Graph, Node, tensors_in
from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.output import OutputTally
from gradscope.capture.station import Station
from gradscope.capture.through_time import Replay
from gradscope.capture.units import unit_dim
from gradscope.record.manifest import LayerInfo


class Layers:
    """Reads every station of ``model`` while attached; ``named`` gives its modules under their public names."""

    def __init__(self, model: nn.Module, named: Sequence[tuple[str, nn.Module]], guard: Guard = unguarded) -> None:
        self.model = model
        self.guard = guard
        self.modules = {name: m for name, m in named if m is not model}
        self.activations: dict[str, Activation] = {
            name: found for name, m in self.modules.items() if (found := examine(m)) is not None
        }
        self.blocks = _blocks(model, dict(named))
        self.watched: dict[str, nn.Module] = {
            n: m for n, m in self.modules.items() if n in self.activations or any(True for _ in m.parameters())
        }
        self.infos: dict[str, LayerInfo] = {}
        self.memory = Memory()
        self._functional: dict[Key, Activation] = {}
        self._stations: dict[str, Station] = {}
        self._handles: list[Any] = []
        self._attached: dict[str, nn.Module] | None = None
        self.discovered = False
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
        """Lets go of everything that a step left: tallies, nodes, tensors."""
        self.gather = Gather(self.memory, first=not self.discovered)
        self.output = OutputTally()
        self.replays: list[Replay] = []
        self._through_time = False
        self._new_forward()

    def _new_forward(self) -> None:
        self.calls: dict[str, int] = {}
        self.nodes: dict[Node, Key] = {}
        self.aliases: dict[Node, list[str]] = {}

    def end_of_backward(self) -> None:
        """A later call of a module belongs to another micro-batch, also where the root module is never called."""
        self.gather.settle()
        self._new_forward()

    def rediscover_if_changed(self) -> None:
        """Watches everything again at the next sample when a station kept silent: the model takes another path."""
        if self.discovered and {name for name, _ in self.gather.keys} != set(self.watched):
            self.discovered = False
            self.watched = {n: m for n, m in self.modules.items() if n in self.activations or any(True for _ in m.parameters())}

    # ---- hooks

    def _begin(self, _module: nn.Module, _args: object) -> None:
        if not in_backward():
            self._new_forward()

    def _end(self, _module: nn.Module, _args: object, output: object) -> None:
        if not torch.is_grad_enabled() or not self.model.training or in_backward():
            return
        self.gather.settle()
        roots = [t for t in tensors_in(output) if t.grad_fn is not None]
        if not roots:
            return
        if not self.discovered:
            self._discover([t.grad_fn for t in roots])
        elif self._functional:
            self._read_functional(Graph([t.grad_fn for t in roots]))
        main = next((t for t in roots if t.dim() >= 2), None)
        if main is not None:
            self.output.see(main, self.guard)

    def see_recurrent(self, name: str, module: nn.RNNBase, args: tuple[Any, ...], output: object) -> None:
        if self._through_time and (replay := Replay.begin(name, module, args, output, self.guard)) is not None:
            self.replays.append(replay)

    # ---- finding out what there is

    def discover_from(self, key: Key) -> None:
        """Where the root module is never called: what lies behind the first station that a gradient reaches."""
        self._discover([node for node, k in self.nodes.items() if k == key])

    def _discover(self, roots: Sequence[Node]) -> None:
        self.discovered = True
        graph = Graph(roots)
        by_matrix: dict[Node, str] = {}
        for node, (name, _) in self.nodes.items():
            for candidate in (name, *self.aliases.get(node, ())):
                if _holds_matrix(self.modules[candidate]):
                    by_matrix[node] = candidate
                    break
        trunk = graph.trunk(by_matrix)
        self.memory.fed_by = {
            key: source for node, key in self.nodes.items() if (source := self._only_source(node, key, graph)) is not None
        }
        self._find_functional(graph)
        on_trunk = {self.nodes[node][0]: by_matrix[node] for node in by_matrix if node in trunk}
        stations = dict.fromkeys(n for n, _ in self.nodes.values() if n in on_trunk or self._is_leaf_station(n))
        functional = {name: a for (name, _), a in self._functional.items()}
        for name in stations:
            module = self.modules[name]
            found = self.activations.get(name) or functional.get(name)
            known = self.infos.get(name)
            self.infos[name] = LayerInfo(
                name=name,
                kind=type(module).__name__,
                order=known.order if known else len(self.infos),
                parameters=tuple(f"{name}.{p}" for p, value in module._parameters.items() if value is not None),
                trunk=name in on_trunk,
                width=self.gather.widths[self.gather.slots[name, 0]] if (name, 0) in self.gather.slots else None,
                activation=found.kind if found else None,
                recurrent=isinstance(module, nn.RNNBase),
                block=self.blocks.get(name),
            )
        self.watched = {name: self.modules[name] for name in stations}

    def _only_source(self, node: Node, key: Key, graph: Graph) -> Key | None:
        """The station whose output this one alone consumes: the gradient of its input is that of that output."""
        edge = self._stations[key[0]].edge(key[1])
        if edge is None:
            return None
        source, number = node.next_functions[edge]
        found = self.nodes.get(source)
        if found is None or len(graph.consumers.get(source, ())) != 1 or self._stations[found[0]].number(found[1]) != number:
            return None
        return found

    def _is_leaf_station(self, name: str) -> bool:
        module = self.modules[name]
        return name in self.activations or any(p is not None for p in module._parameters.values())

    def _find_functional(self, graph: Graph) -> None:
        """Activations called as functions: which station's output feeds each."""
        self._functional = {}
        self._read_functional(graph, learn=True)

    def _read_functional(self, graph: Graph, *, learn: bool = False) -> None:
        for node in graph.nodes:
            module = activations.FUNCTIONAL.get(type(node).__name__)
            if module is None or node in self.nodes:
                continue
            if any("Mul" in type(c).__name__ for c in graph.consumers[node]):
                continue  # a gate: closed is not dead
            key = self._fed_by(node)
            if key is None:
                continue
            if learn and (found := examine(module)) is not None:
                self._functional[key] = found
            inputs = activations.inputs_of(node)
            if key in self._functional and inputs is not None and key in self.gather.slots:
                dim = unit_dim(self.modules[key[0]], inputs)
                self.gather.activation(self.gather.slots[key], self._functional[key], inputs, dim)

    def _fed_by(self, node: Node) -> Key | None:
        """The station whose output a functional activation takes, through at most a few reshapes and a norm."""
        for _ in range(4):
            producer = next((p for p, _ in node.next_functions if p is not None and not hasattr(p, "variable")), None)
            if producer is None or any(part in type(producer).__name__ for part in ("Add", "Mul", "mm", "Cat")):
                return self.nodes.get(producer)
            if producer in self.nodes:
                return self.nodes[producer]
            node = producer
        return None


def _holds_matrix(module: nn.Module) -> bool:
    return any(p.dim() >= 2 for p in module.parameters())


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
