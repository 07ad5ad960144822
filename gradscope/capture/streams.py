"""The stream of a network that writes its sums out in one forward pass: h = h + f(h), again and again, is no module's output.

Every path from input to loss passes these sums, and only the modules that read them tell where they are. So the gradient is
read at the node that such a module's input comes from, and the station is called the input of that module. What flows forward
there is not seen: a node of the graph keeps no values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from gradscope.capture.graph import SMALL, Graph, Node
from gradscope.capture.passes import Passes
from gradscope.capture.piles import Key
from gradscope.capture.units import LIMIT, head, unit_dim, width
from gradscope.record.manifest import LayerInfo

ROW = 3
"""Sums in a row between two stations that make a stream of its own: a block of two branches (attention, then a feed-forward
net) is read at its end."""
Path = tuple[int, ...]
"""From a node back to another, as places among producers."""


class Streams:
    """Where the stream is read in a forward pass, by the name of each station."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self.known: dict[str, tuple[str, Path, str]] = {}
        """The module that reads there, the way from its output node, and the operation that ends there."""

    def learn(self, graph: Graph, trunk: Sequence[Node], nodes: Mapping[Node, Key]) -> Iterator[LayerInfo]:
        """From a walk of the graph: the stations that stand in a row between two of the ``trunk``."""
        for node, number, (reader, _), way in rows(graph, trunk, nodes):
            name = f"input of {reader}"
            self.known[name] = (reader, way, type(node).__name__)
            like = _like(node, number)
            yield LayerInfo(
                name,
                "stream",
                0,
                trunk=True,
                width=width(like, unit_dim(self.modules[reader], like)),
                dtype=str(like.dtype).removeprefix("torch."),
                readers=len(graph.consumers[node]),
            )

    def follow(self, passes: Passes) -> None:
        """Watches the gradient at each, in the forward pass that has just ended."""
        nodes: Mapping[str, Node] = (
            {name: node for node, (name, call) in passes.nodes.items() if not call} if self.known else {}
        )
        for name, (reader, way, kind) in self.known.items():
            node, number = _end(nodes.get(reader), way)
            if node is None or type(node).__name__ != kind:  # another operation than when it was found
                continue
            like = _like(node, number)
            slot = passes.memory.slot((name, 0), width(like, unit_dim(self.modules[reader], like)))
            passes.gather.passed(slot, len(head(like)), head(like).numel())
            node.register_prehook(passes.guard(_keeper(passes, self.modules[reader], slot, number)))


def rows(graph: Graph, trunk: Iterable[Node], outputs: Mapping[Node, Key]) -> list[tuple[Node, int, Key, Path]]:
    """Operations that every path passes between two stations of the trunk, ``ROW`` or more of them read by modules.

    Each with the number of its output, the first module that reads it, and the way there from that module's output.
    ``outputs`` are those of modules, in forward order. What is called several times in a forward pass is left to
    recurrences.
    """
    parent, stations, found = graph.dominators(), dict.fromkeys(trunk), []
    for station in stations:
        if station not in parent:
            continue
        row, at = [], parent[station]
        while at is not None and at not in stations:
            if at not in outputs:
                row.append(at)
            at = parent[at]
        if len(row) >= ROW:
            found.append(row)
    inside = {node for row in found for node in row}
    again = {name for name, call in outputs.values() if call}
    readers: dict[Node, tuple[int, Key, Path]] = {}
    for output, key in outputs.items() if inside else ():
        nearest = _nearest(output, inside, outputs) if key[0] not in again else None
        if nearest is not None:
            readers.setdefault(nearest[0], (nearest[1], key, nearest[2]))
    read = [[node for node in row if node in readers] for row in found]
    return [(node, *readers[node]) for row in read if len(row) >= ROW for node in row]


def _nearest(output: Node, wanted: Container[Node], outputs: Container[Node]) -> tuple[Node, int, Path] | None:
    """The nearest of the wanted nodes behind a module's output, with no other module's output between, and the way there."""
    todo: deque[tuple[Node, Path]] = deque([(output, ())])
    seen = {output}
    while todo and len(seen) <= SMALL:
        at, path = todo.popleft()
        for i, (producer, number) in enumerate(at.next_functions):
            if producer is None or producer in seen or producer in outputs or hasattr(producer, "variable"):
                continue
            if producer in wanted:
                return producer, number, (*path, i)
            seen.add(producer)
            todo.append((producer, (*path, i)))
    return None


def _keeper(passes: Passes, reader: nn.Module, slot: int, number: int) -> Callable[[Sequence[Tensor | None]], None]:
    def before(gradients: Sequence[Tensor | None]) -> None:
        if (gradient := gradients[number]) is None or not passes.accumulates(reader):
            return
        entries = gradient.numel()
        pile = passes.memory.pile("backward", gradient) if entries <= LIMIT else None
        passes.gather.gradient(pile, slot, gradient, passes.turn_of_gradient(), entries, None)

    return before


def _end(node: Node | None, way: Path) -> tuple[Node | None, int]:
    """Where a way leads, and which output of that node; none where the graph is another."""
    number = 0
    for place in way:
        if node is None or place >= len(node.next_functions):
            return None, 0
        node, number = node.next_functions[place]
    return node, number


def _like(node: Node, number: int) -> Tensor:
    """A tensor without values, of the shape and type of a node's output."""
    known = node._input_metadata[number]
    return torch.empty(tuple(known.shape), dtype=known.dtype, device="meta")
