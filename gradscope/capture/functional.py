"""Activations called as functions: seen in the autograd graph, for no module tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from gradscope.capture.activations import FUNCTIONAL, Activation, as_module, examine, inputs_of, is_packed
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Graph, Node
from gradscope.capture.piles import Key
from gradscope.capture.units import unit_dim, width


class Functional:
    """Which station's output feeds which activation; ``notes`` collects what could not be seen."""

    def __init__(self, modules: Mapping[str, nn.Module], activations: Mapping[str, Activation], notes: dict[str, None]) -> None:
        self.modules = modules
        self.activations = activations
        """The modules that are activations themselves: what a function makes of their output is not theirs."""
        self.notes = notes
        self.known: dict[Key, Activation] = {}
        self.names: dict[str, str] = {}
        """By station, the class of the module that does as the function."""
        self._examined: dict[nn.Module, Activation | None] = {}

    def read(self, graph: Graph, nodes: Mapping[Node, Key], gather: Gather, *, learn: bool) -> None:
        """Looks at what the activations of a forward pass have saved; with ``learn``, also at those not known yet.

        A station has one activation, the first that was met: what another one makes of the same output is not looked at.
        """
        for node in graph.nodes:
            if type(node).__name__ not in FUNCTIONAL or node in nodes:
                continue
            if any("Mul" in type(c).__name__ and all(p for p, _ in c.next_functions) for c in graph.consumers[node]):
                continue  # a gate: closed is not dead; a dropout's mask is a constant
            key = _fed_by(node, nodes)
            if key is None or key[0] in self.activations:
                continue
            if is_packed(node):
                self.notes["layers: activations called as functions inside a checkpoint are not looked at"] = None
                continue
            module = as_module(node)
            activation = self._examine(module) if module is not None else None
            if learn and activation is not None and key not in self.known:
                self.known[key] = activation
                self.names[key[0]] = type(module).__name__
            inputs = inputs_of(node)
            if activation is None or not activation.asks_inputs or self.known.get(key) != activation or inputs is None:
                continue
            slot = gather.memory.slots[key]
            dim = unit_dim(self.modules[key[0]], inputs, partial(gather.memory.units.get, key))
            if width(inputs, dim) == gather.memory.widths[slot]:  # of a part of the units nothing can be said of all
                gather.inputs(slot, inputs, dim, activation)

    def _examine(self, module: nn.Module) -> Activation | None:
        if module not in self._examined:
            self._examined[module] = examine(module)
        return self._examined[module]


def _fed_by(node: Node, nodes: Mapping[Node, Key]) -> Key | None:
    """The station whose output a functional activation takes, through at most a few reshapes and a norm."""
    for _ in range(4):
        producer = next((p for p, _ in node.next_functions if p is not None and not hasattr(p, "variable")), None)
        if producer is None or any(part in type(producer).__name__ for part in ("Add", "Mul", "mm", "Cat")):
            return nodes.get(producer)
        if producer in nodes:
            return nodes[producer]
        node = producer
    return None
