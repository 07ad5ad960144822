"""The autograd graph as seen from the output: which modules' outputs every path from input to loss passes.

A node's grad_fn knows only its producers, so the graph is walked from the output back. A node d dominates a node s when
every path from the output back to s passes d. **The trunk** are the dominators of the earliest outputs of modules that hold
a matrix: every layer of a plain net, the stream of a residual one, without a case distinction. The walk visits nodes by
falling sequence number, in which every consumer comes before its producers, so dominators are found in one pass.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradscope.capture.activations import as_module

RECURRENT = 4
"""Uses of one matrix in one forward pass that make a time series."""
SMALL = 16
"""Nodes of one module among which the ways to its input are looked for."""
PASSED = {
    **dict.fromkeys(
        ("View", "UnsafeView", "Reshape", "Alias", "Squeeze", "Unsqueeze", "Clone", "T", "Transpose", "Permute"), ""
    ),
    **dict.fromkeys(("ToCopy", "Contiguous", "ReshapeAlias", "Neg", "Add", "Sub"), ""),
    **dict.fromkeys(("Mean", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "AdaptiveAvgPool1D"), "mean"),
    **dict.fromkeys(("AvgPool2D", "AvgPool3D", "MaxPool2DWithIndices", "MaxPool3DWithIndices"), "pooling"),
    **dict.fromkeys(("Select", "Slice", "Index", "IndexSelect", "Narrow"), "selection"),
    **dict.fromkeys(("Mul", "Div"), "product"),
    "NativeDropout": "dropout",
    "Sum": "sum",
    "ConstantPadNd": "padding",
}
"""Operations without parameters, by their autograd node, and what each is called; shapes alone have no name."""
Node = Any
"""A ``torch.autograd.graph.Node``; its Python object is the same for as long as something holds it."""


class Graph:
    """All nodes behind ``roots`` that were made by operations (leaves' accumulators left out), consumers first."""

    def __init__(self, roots: Sequence[Node]) -> None:
        self.nodes: list[Node] = []
        self.consumers: dict[Node, list[Node]] = {}
        self.leaves: dict[Node, list[Node]] = {}
        """Accumulators of leaves, and the nodes that take the leaf."""
        heap: list[tuple[int, int, Node]] = []
        self._dominators: dict[Node, Node | None] | None = None
        self.roots = dict.fromkeys(roots)
        for root in self.roots:
            self.consumers[root] = []
            heapq.heappush(heap, (-_sequence(root), len(heap), root))
        pushed = len(heap)
        while heap:
            node = heapq.heappop(heap)[2]
            self.nodes.append(node)
            for producer, _ in node.next_functions:
                if producer is None:
                    continue
                if hasattr(producer, "variable"):
                    self.leaves.setdefault(producer, []).append(node)
                    continue
                known = self.consumers.get(producer)
                if known is None:
                    self.consumers[producer] = [node]
                    pushed += 1
                    heapq.heappush(heap, (-_sequence(producer), pushed, producer))
                else:
                    known.append(node)

    def dominators(self) -> dict[Node, Node | None]:
        """Immediate dominator of each node as seen from the roots; None at a root (Cooper, Harvey & Kennedy 2001)."""
        if self._dominators is not None:
            return self._dominators
        parent: dict[Node, Node | None] = {}
        depth: dict[Node | None, int] = {None: 0}
        for node in self.nodes:
            found: Node | None = None
            for i, consumer in enumerate(self.consumers[node]):
                found = consumer if i == 0 else _meet(found, consumer, parent, depth)
            parent[node] = found
            depth[node] = depth[found] + 1
        self._dominators = parent
        return parent

    def trunk(self, candidates: Iterable[Node]) -> set[Node]:
        """Which of the candidates (outputs of modules that hold a matrix) dominate an earliest candidate.

        Earliest are those with no other candidate behind them: one in most nets, one a tower where several join.
        """
        wanted = {c for c in candidates if c in self.consumers}
        behind: dict[Node, bool] = {}  # whether a candidate is among a node's producers, however far
        for node in reversed(self.nodes):
            behind[node] = any(p in wanted or behind.get(p, False) for p, _ in node.next_functions if p is not None)
        parent = self.dominators()
        found: set[Node] = set()
        for start in wanted:
            if behind[start]:
                continue
            at: Node | None = start
            while at is not None and at not in found:
                if at in wanted:
                    found.add(at)
                at = parent[at]
        return found

    def recurrences(self) -> list[Recurrence]:
        """Matrices that are used ``RECURRENT`` times or more, one use behind the other."""
        found = []
        for accumulator, takers in self.leaves.items():
            weight = accumulator.variable
            if weight.dim() < 2:
                continue
            uses = sorted({use for taker in takers for use in self._uses(taker)}, key=_sequence)
            if len(uses) >= RECURRENT and (series := self._in_time(weight, uses)) is not None:
                found.append(series)
        return found

    def _uses(self, taker: Node) -> list[Node]:
        """Where a leaf is used: a transposed or converted copy of it is no use yet."""
        if len(taker.next_functions) > 1:
            return [taker]
        return [use for consumer in self.consumers[taker] for use in self._uses(consumer)]

    def _in_time(self, weight: torch.Tensor, uses: list[Node]) -> Recurrence | None:
        """The uses as a time series; None where one is not behind the next."""
        place = {use: i for i, use in enumerate(uses)}
        behind: dict[Node, int] = {}  # the latest use among a node and all that is behind it
        for node in reversed(self.nodes):
            latest = max((behind.get(p, -1) for p, _ in node.next_functions if p is not None), default=-1)
            if node in place and latest != place[node] - 1:
                return None
            behind[node] = place.get(node, latest)
        end = len(uses)
        ahead: dict[Node, int] = {}  # the first use that a node leads to
        alone = True
        for node in self.nodes:
            nexts = [place.get(c, ahead[c]) for c in self.consumers[node]]
            ahead[node] = min(nexts, default=end)
            # a state leads on, to the next use or the next state; one that leads to the roots by itself has a loss of its own
            if behind[node] >= 0 and ahead[node] < end - 1 and (node in self.roots or max(nexts) == end):
                alone = False
        return Recurrence(weight, uses, alone)


@dataclass(frozen=True)
class Recurrence:
    """A matrix and the nodes of its uses in time; ``last_alone``: of the states only the last leads to the roots by itself."""

    weight: torch.Tensor
    uses: list[Node]
    last_alone: bool


def _sequence(node: Node) -> int:
    return int(node._sequence_nr()) if hasattr(node, "_sequence_nr") else 0


def _meet(a: Node | None, b: Node | None, parent: dict[Node, Node | None], depth: dict[Node | None, int]) -> Node | None:
    """The nearest node that dominates both."""
    while a is not b:
        if depth[a] >= depth[b]:
            a = parent[a] if a is not None else None
        else:
            b = parent[b] if b is not None else None
    return a


def tensors_in(value: object) -> list[torch.Tensor]:
    """Every tensor in nested tuples, lists, dicts and dataclass-like outputs, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_in(v)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in tensors_in(v)]
    if hasattr(value, "__dataclass_fields__"):
        return [t for v in vars(value).values() for t in tensors_in(v)]
    return []


def input_edge(node: Node, inputs: Sequence[torch.Tensor]) -> int | None:
    """Index among a node's producers of the module's own input, where the module is that one node; else None.

    It is where all that the node takes besides are leaves or what was made of leaves alone (a transposed weight): another
    way from the input to the node, as in x / (1 + |x|), would have a gradient of its own.
    """
    ways = [(t.grad_fn, t.output_nr) for t in inputs if t.grad_fn is not None]
    found = [i for i, way in enumerate(node.next_functions) if way in ways]
    if len(found) != 1:
        return None
    others = [p for i, (p, _) in enumerate(node.next_functions) if i != found[0] and p is not None]
    return found[0] if all(_of_leaves(p) for p in others) else None


def input_paths(node: Node, given: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    """Every way from a module's output node back to its input, as places among producers; none where the module is large.

    For a module that takes nothing that is made of the input elsewhere: then the gradient of the input is the sum over these
    ways, and of one way alone in a linear layer on a sequence, which reshapes on both sides.
    """
    way = (given.grad_fn, given.output_nr)
    found: list[tuple[int, ...]] = []
    todo: list[tuple[Node, tuple[int, ...]]] = [(node, ())]
    seen = {node}
    while todo:
        at, path = todo.pop()
        for i, (producer, number) in enumerate(at.next_functions):
            if (producer, number) == way:
                found.append((*path, i))
            elif producer is not None and producer not in seen and not hasattr(producer, "variable"):
                seen.add(producer)
                todo.append((producer, (*path, i)))
        if len(seen) > SMALL:
            return ()
    return tuple(found)


def behind(node: Node | None, path: Sequence[int]) -> Node | None:
    """The node at the end of a path of places among producers; None where it ends before."""
    for place in path:
        if node is None or place >= len(node.next_functions):
            return None
        node = node.next_functions[place][0]
    return node


def way_back(edge: tuple[Node | None, int], ends: Container[Node], graph: Graph) -> tuple[Node, int, tuple[str, ...]] | None:
    """The nearest of ``ends`` behind an edge, which of its outputs that is, and what is passed on the way, in forward order.

    Each operation on the way takes one tensor that requires a gradient, and no parameter, and is read by the next alone: so
    the gradient's norm changes by their gain, and by nothing else. None where there is no such way.
    """
    passed: list[str] = []
    for _ in range(SMALL):
        node, number = edge
        if node is None or hasattr(node, "variable"):
            return None
        if node in ends:
            return node, number, tuple(reversed(passed))
        name = re.sub(r"Backward\d+$", "", type(node).__name__)
        word = "activation" if as_module(node) is not None else PASSED.get(name)
        taken = [e for e in node.next_functions if e[0] is not None]
        if word is None or len(taken) != 1 or len(graph.consumers.get(node, ())) != 1:
            return None
        if name == "Div" and node.next_functions[0][0] is None:  # a constant over the tensor
            return None
        passed += [word] if word else []
        edge = taken[0]
    return None


def in_a_row(node: Node, matrices: Container[Node]) -> bool:
    """Whether what a node gives is made of the output of one of ``matrices`` alone, in few operations.

    Then the node ends a plain layer, its matrix, norm and activation, and no path with a matrix goes around them.
    """
    behind: set[Node] = set()
    seen, todo = {node}, [node]
    while todo and len(seen) <= SMALL:
        for made, _ in todo.pop().next_functions:
            if made in matrices:
                behind.add(made)
            elif made is not None and made not in seen and not _of_leaves(made):
                seen.add(made)
                todo.append(made)
    return len(behind) == 1 and not todo


def _of_leaves(node: Node) -> bool:
    return hasattr(node, "variable") or all(p is None or hasattr(p, "variable") for p, _ in node.next_functions)
