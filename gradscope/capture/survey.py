"""Finding out what there is: the stations of any model, from a walk of the autograd graph behind a forward pass.

The first samples watch every module; from then on only the stations are hooked, until another set of them is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from gradscope.capture.activations import Activation, as_module, examine
from gradscope.capture.functional import Functional
from gradscope.capture.gather import Gather
from gradscope.capture.graph import Graph, Node, behind, in_a_row, way_back
from gradscope.capture.loops import Loops
from gradscope.capture.naming import blocks, own_parameters, parameter_names, with_parents
from gradscope.capture.piles import Key, Memory
from gradscope.capture.station import Station
from gradscope.capture.streams import Streams
from gradscope.record.manifest import LayerInfo

LOOKS = 4
"""Samples in which the whole model is watched after a new set of stations was reached."""
PATHS_LIMIT = 64
"""Sets of stations after which a model is taken to choose its path at random."""
AGAIN = frozenset([2, *(4**i for i in range(1, 16))])
"""Samples after which the whole model is watched once more."""


@dataclass(frozen=True)
class _Seen:
    """What the graph shows of a station; the fields are those of its ``LayerInfo``."""

    dtype: str | None = None
    readers: int | None = None
    adds: tuple[str, ...] = ()
    ends_in: str | None = None
    source: str | None = None
    through: tuple[str, ...] = ()


class Survey:
    """What is known of a model's stations; ``notes`` collects what could not be seen, ``memory`` what they teach."""

    def __init__(self, model: nn.Module, named: Mapping[str, nn.Module], memory: Memory, notes: dict[str, None]) -> None:
        self.model = model
        self.modules = {name: m for name, m in named.items() if m is not model}
        self.memory = memory
        self.notes = notes
        self.activations: dict[str, Activation] = {
            name: found for name, m in self.modules.items() if (found := examine(m)) is not None
        }
        self.blocks = blocks(named)
        self.infos: dict[str, LayerInfo] = {}
        self.watched = self._everything()
        """The modules to hook: all that could be stations while they are looked for, those that are from then on."""
        self.functional = Functional(self.modules, self.activations, notes)
        self.loops = Loops(self.modules, notes)
        self.streams = Streams(self.modules)
        self.looking = True
        """Whether stations are looked for."""
        self._looks = 1
        self._samples = 0
        self._names: dict[nn.Parameter, str] = {}
        """The parameters' names, once a walk of the graph has asked for them."""
        self._order: dict[str, int] = {}
        """In which order the modules run; one that joins in later stands behind the one that it then ran after."""
        self._last_ran = ""
        self._paths: set[tuple[frozenset[str], bytes]] = set()
        """The sets of stations that sampled steps have reached, and of parameters that they gave gradients to."""

    @property
    def new(self) -> bool:
        """Whether stations are expected that nothing is known of."""
        return self.looking and (not self._samples or self._looks > 1)

    def renew(self, named: Mapping[str, nn.Module]) -> bool:
        """The modules as they are now; whether some are others than before. What is known of those that stay stands."""
        if named == self.modules:
            return False
        others = [name for name in {**self.modules, **named} if named.get(name) is not self.modules.get(name)]
        for name in others:
            self.infos.pop(name, None)
            self.activations.pop(name, None)
            if name in named and (found := examine(named[name])) is not None:
                self.activations[name] = found
        self.modules.clear()
        self.modules.update(named)
        self.blocks = blocks(named)
        self.loops = Loops(self.modules, self.notes)
        self._look_again(LOOKS)
        return True

    def ran(self, name: str) -> None:
        """While stations are looked for: a module has run."""
        if name not in self._order:
            place = self._order.get(self._last_ran, len(self._order) - 1) + 1
            if place < len(self._order):
                self._order = {n: i + (i >= place) for n, i in self._order.items()}
            self._order[name] = place
        self._last_ran = name

    def walk(
        self,
        roots: Sequence[Node],
        nodes: Mapping[Node, Key],
        aliases: Mapping[Node, Sequence[str]],
        stations: Mapping[str, Station],
        gather: Gather,
    ) -> Graph:
        """Looks at the graph of a forward pass: which of the outputs ``nodes`` are stations, and what each of them is.

        ``aliases`` are further modules with the same output.
        """
        self._names = {}
        graph = Graph(roots)
        owners = {n for n, m in self.modules.items() if any(p.dim() >= 2 for p in own_parameters(m))}
        hold_matrix = {outer for name in owners for outer in with_parents(name)}
        by_matrix: dict[Node, str] = {}
        for node, (name, _) in nodes.items():
            for candidate in (name, *aliases.get(node, ())):
                if candidate in hold_matrix:
                    by_matrix[node] = candidate
                    break
        trunk = graph.trunk(by_matrix)
        own = {node for node, (name, _) in nodes.items() if name in owners}
        trunk -= {node for node in trunk - own if in_a_row(node, own)}
        self.functional.read(graph, nodes, gather, learn=True)
        self.loops.learn(graph, self.model)
        on_trunk = {nodes[node][0] for node in by_matrix if node in trunk}
        found = dict.fromkeys(n for n, _ in nodes.values() if n in on_trunk or self._is_leaf(n))
        ends = {n: key for n, key in nodes.items() if key[0] in found}
        inputs = {n: edge for n, key in nodes.items() if (edge := _input(n, key, stations))}
        again: Counter[Node] = Counter()
        for (source, _), ways in inputs.values():
            again[source] += ways - 1  # one operation may take its input in several places
        seen = {
            name: _Seen(
                _format(n),
                len(graph.consumers.get(n, ())) - again[n] or None,
                _added(n, (name, i), nodes, stations),
                self._ends_in(name, n),
                *_way_from(inputs.get(n), graph, ends, stations),
            )
            for n, (name, i) in nodes.items()
        }
        for name in found:
            self._describe(name, name in on_trunk, seen[name])
        return graph

    def find_streams(self, graph: Graph, nodes: Mapping[Node, Key]) -> None:
        """Makes stations of sums that no module gives, where many of them stand in a row between two stations."""
        trunk = [node for node, (name, _) in nodes.items() if name in self.infos and self.infos[name].trunk]
        self.infos |= {info.name: info for info in self.streams.learn(graph, trunk, nodes)}

    def complete(self, reached: frozenset[str]) -> None:
        """After the backwards of a step: what ran in them only, under a reentrant checkpoint, and the order of everything."""
        for name in sorted(reached):
            if name not in self.infos and self._is_leaf(name):
                self._describe(name, False, _Seen())
                self.notes["layers: the inside of a reentrant checkpoint is recorded, but not taken to be on the trunk"] = None
        ordered = sorted(self.infos.values(), key=self._place)
        self.infos = {info.name: info if info.order == i else replace(info, order=i) for i, info in enumerate(ordered)}

    def finish(self, reached: frozenset[str], trained: bytes, *, walked: bool) -> None:
        """After a sampled step, that reached these stations and gave gradients to the parameters of this mask: whether to look
        at the whole model again at the next.

        It is looked at again, for some samples, when one of the two is new. After samples 2, 4, 16, 64 ... it is so too: an
        activation that comes to be used beside all that is known shows by nothing else.
        """
        self._samples += 1
        if not self.looking:
            if (reached, trained) not in self._paths and len(self._paths) < PATHS_LIMIT:
                self._paths.add((reached, trained))
                self._look_again(LOOKS)
            elif self._samples in AGAIN:
                self._look_again(1)
        elif walked:
            self._paths.add((reached, trained))
            self._looks -= 1
            if self._looks <= 0:
                self.looking = False
                self.watched = {name: self.modules[name] for name in self.infos if name in self.modules}

    # ---- inside

    def _place(self, info: LayerInfo) -> tuple[int, bool]:
        """Where a station stands in forward order: a stream right before the module that reads it."""
        reader = self.streams.known.get(info.name, (info.name,))[0]
        return self._order.get(reader, len(self._order)), reader == info.name

    def _look_again(self, looks: int) -> None:
        self._looks = looks
        self.looking = True
        self.functional.known = {}
        self.loops.known = {}
        self.watched = self._everything()

    def _everything(self) -> dict[str, nn.Module]:
        """Activations, and whatever has parameters, itself or further inside."""
        owners = (n for n, m in self.modules.items() if any(p is not None for p in m._parameters.values()) or own_parameters(m))
        wanted = self.activations.keys() | {outer for name in owners for outer in with_parents(name)}
        return {name: m for name, m in self.modules.items() if name in wanted}

    def _describe(self, name: str, on_trunk: bool, seen: _Seen) -> None:
        module, known, memory = self.modules[name], self.infos.get(name), self.memory
        functional = next((a for (station, _), a in self.functional.known.items() if station == name), None)
        activation = self.activations.get(name) or functional
        found: dict[str, Any] = {
            "trunk": on_trunk or (known is not None and known.trunk),
            "width": memory.widths[memory.slots[name, 0]] if (name, 0) in memory.slots else None,
            "activation": activation.kind if activation else None,
            "recurrent": isinstance(module, nn.RNNBase) or name in self.loops.known,
            "dtype": seen.dtype or (known.dtype if known else None),
            "function": self.functional.names.get(name) if functional and name not in self.activations else None,
            "readers": seen.readers,
            "adds": seen.adds,
            "ends_in": seen.ends_in,
            "source": seen.source,
            "through": seen.through,
        }
        if known is not None and all(getattr(known, what) == value for what, value in found.items()):
            return
        names = self._names = self._names or parameter_names(self.model)
        self.infos[name] = LayerInfo(
            name=name,
            kind=type(module).__name__,
            order=known.order if known else len(self.infos),
            parameters=tuple(names[p] for p in own_parameters(module) if p in names),
            block=self.blocks.get(name),
            **found,
        )

    def _ends_in(self, name: str, node: Node) -> str | None:
        """The class of the activation that a module with others inside ends in, called as a function."""
        phi = as_module(node) if any(True for _ in self.modules[name].children()) else None
        return type(phi).__name__ if phi is not None else None

    def _is_leaf(self, name: str) -> bool:
        return name in self.activations or bool(own_parameters(self.modules[name]))


def _added(node: Node, key: Key, nodes: Mapping[Node, Key], stations: Mapping[str, Station]) -> tuple[str, ...]:
    """The stations whose output, as it is, is a part of the sum that this node is or takes."""
    path = stations[key[0]].path(key[1])
    before = (node.next_functions[0][0],) if as_module(node) is not None else ()
    sums = [
        at for at in (node, behind(node, path or ()), *before) if type(at).__name__ == "AddBackward0" and at._saved_alpha == 1
    ]
    return tuple(nodes[p][0] for p, _ in sums[0].next_functions if p in nodes) if sums else ()


def _input(node: Node, key: Key, stations: Mapping[str, Station]) -> tuple[tuple[Node, int], int] | None:
    """Where a module's input comes from: a node and the number of its output, and in how many places the module takes it."""
    if not (paths := stations[key[0]].paths(key[1])):
        return None
    end = behind(node, paths[0][:-1])
    return None if end is None else (end.next_functions[paths[0][-1]], len(paths))


def _way_from(
    given: tuple[tuple[Node, int], int] | None, graph: Graph, nodes: Mapping[Node, Key], stations: Mapping[str, Station]
) -> tuple[str | None, tuple[str, ...]]:
    """The station that an input comes from, and what it passes on the way."""
    way = way_back(given[0], nodes, graph) if given is not None else None
    if way is None:
        return None, ()
    name, call = nodes[way[0]]
    return (name, way[2]) if stations[name].number(call) == way[1] else (None, ())


def _format(node: Node) -> str | None:
    """The number format of the gradient that arrives at a node's first output."""
    metadata = getattr(node, "_input_metadata", None)
    return str(metadata[0].dtype).removeprefix("torch.") if metadata else None
