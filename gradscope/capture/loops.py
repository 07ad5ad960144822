"""The gradient through time of recurrences written as loops, from the autograd graph.

A matrix that is used again and again, each use behind the one before, is a recurrent weight: the gradients at the outputs of
its uses are those of the states' pre-activations, step by step. They are the last output's where nothing but the last state has
a loss; where each state has one the graph shows their sum, which hides the decay, and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gradscope.capture.graph import Graph, Node
from gradscope.capture.guard import Guard
from gradscope.capture.naming import parameter_names
from gradscope.capture.packing import wide


class Loops:
    """The recurrent weights that are known, by the layer that stands for each."""

    def __init__(self, modules: Mapping[str, nn.Module], notes: dict[str, None]) -> None:
        self.owners = {f"{name}.{key}": module for name, module in modules.items() for key in module._parameters}
        self.notes = notes
        self.known: dict[str, nn.Parameter] = {}

    def learn(self, graph: Graph, model: nn.Module) -> None:
        """One weight a layer; those of recurrent modules are replayed instead."""
        recurrences = graph.recurrences()
        names = parameter_names(model) if recurrences else {}
        for found in recurrences:
            weight = found.weight
            name = names.get(weight) if isinstance(weight, nn.Parameter) else None
            if name is None or not isinstance(weight, nn.Parameter):
                continue
            layer = name.rpartition(".")[0] or name
            if isinstance(self.owners.get(name), nn.RNNBase) or layer in self.known:
                continue
            if found.last_alone:
                self.known[layer] = weight
            else:
                why = "is a loop whose states have losses of their own; the gradient of the last alone is not recorded"
                self.notes[f"timesteps: {layer} {why}"] = None

    def follow(self, graph: Graph, counts: Callable[[Pass], bool], guard: Guard) -> None:
        """Watches the uses in this forward pass."""
        found = {id(r.weight): r for r in graph.recurrences() if r.last_alone}
        for layer, weight in self.known.items():
            if (recurrence := found.get(id(weight))) is not None:
                Pass(layer, recurrence.uses).follow(counts, guard)


class Pass:
    """The uses of one weight in one forward pass; kept by their graph alone until a gradient comes back."""

    def __init__(self, name: str, uses: Sequence[Node]) -> None:
        self.name = name
        self.lost: str | None = None
        self._uses = list(uses)
        self._norms: list[Tensor | None] = [None] * len(uses)

    def follow(self, counts: Callable[[Pass], bool], guard: Guard) -> None:
        uses, self._uses = self._uses, []
        for t, node in enumerate(uses):
            node.register_prehook(guard(self._keeper(t, counts)))

    def _keeper(self, t: int, counts: Callable[[Pass], bool]) -> Callable[[tuple[Tensor | None, ...]], None]:
        def before(gradients: tuple[Tensor | None, ...]) -> None:
            if (gradient := gradients[0]) is None or not counts(self):
                return
            if self._norms[t] is not None:
                self.lost = "got several gradients one after the other"
            self._norms[t] = torch.linalg.vector_norm(gradient.detach(), dtype=wide(gradient.device))

        return before

    def norms(self) -> Tensor | None:
        """(T,), over batch and units; 0 where no gradient came."""
        there = [n for n in self._norms if n is not None]
        return torch.stack([there[0].new_zeros(()) if n is None else n for n in self._norms]) if there else None
