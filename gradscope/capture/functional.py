"""Activations called as functions: seen in the autograd graph, for no module tells of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from gradscope.capture.activations import FUNCTIONAL, Activation, examine, inputs_of, is_packed
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Graph, Node
from gradscope.capture.piles import Key
from gradscope.capture.units import unit_dim


class Functional:
    """Which station's output feeds which activation; ``notes`` collects what could not be seen."""

    def __init__(self, modules: Mapping[str, nn.Module], notes: dict[str, None]) -> None:
        self.modules = modules
        self.notes = notes
        self.known: dict[Key, Activation] = {}
        self.names: dict[str, str] = {}
        """By station, the class of the module that does as the function."""

    def read(self, graph: Graph, nodes: Mapping[Node, Key], gather: Gather, *, learn: bool) -> None:
        """Looks at what the activations of a forward pass have saved; with ``learn``, also at those not known yet."""
        for node in graph.nodes:
            module = FUNCTIONAL.get(type(node).__name__)
            if module is None or node in nodes:
                continue
            if any("Mul" in type(c).__name__ and all(p for p, _ in c.next_functions) for c in graph.consumers[node]):
                continue  # a gate: closed is not dead; a dropout's mask is a constant
            key = _fed_by(node, nodes)
            if key is None:
                continue
            if is_packed(node):
                self.notes["layers: activations called as functions inside a checkpoint are not looked at"] = None
                continue
            if learn and (found := examine(module)) is not None:
                self.known[key] = found
                self.names[key[0]] = type(module).__name__
            inputs = inputs_of(node)
            if key in self.known and inputs is not None:
                slot = gather.memory.slots[key]
                gather.inputs(slot, inputs, unit_dim(self.modules[key[0]], inputs), self.known[key])


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
