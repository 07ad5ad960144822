"""What one optimizer step gathers at its stations: many small tensors, few operations.

A hook only notes which tensor it saw. Small ones of one shape wait in a pile and are read together when the forward pass
ends, when backward ends, or when enough of them wait; large ones are read where they are seen. Every result is a vector with
the stations it belongs to, additive over micro-batches and processes; ``Sums`` takes roots and quotients on the host.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradscope.capture.activations import Activation
from gradscope.capture.alive import Alive
from gradscope.capture.distributed import Processes
from gradscope.capture.exchange import exchanged
from gradscope.capture.packing import NARROW, long_norm, short_norms, wide
from gradscope.capture.piles import Memory, Pile
from gradscope.capture.sums import LOST, Sums
from gradscope.capture.units import LIMIT, head, sums_by_unit, unblocked
from gradscope.capture.values import Values

WAITING_LIMIT = 1_048_576
"""Entries that may wait to be read together: what watching adds to the memory of a step at most."""
CACHED_LIMIT = 262_144
"""The same on a CPU: they are read while they are still in its cache, which is worth more than fewer operations (measured: a
fifth of what a sampled step costs on a thousand small layers)."""
HELD = 4
"""Input gradients that wait to be met again: another branch of the graph may come between."""


@dataclass
class Gather:
    """The statistics of one step."""

    memory: Memory
    device: torch.device
    """Where results are joined; where the last tensor was."""
    alone: bool = True
    """Whether there is one process. Of many, each could find other gradients to be the same as another."""
    first: bool = False
    """Whether this sample finds out what there is; then ``memory.eager`` is found out too, and every output is copied."""

    def __post_init__(self) -> None:
        self.memory.forget()
        self._limit = CACHED_LIMIT if self.device.type == "cpu" else WAITING_LIMIT
        self.keys = self.memory.keys
        self.turn = 0
        """Number of the forward pass. What it sees counts once a gradient comes back to it: an evaluation leaves nothing."""
        self.repeated: set[int] = set()
        """Slots whose output got two gradients in one turn: the norm of their sum is not known."""
        self._held: dict[int, tuple[int, Tensor, int]] = {}
        """By identity, input gradients that may be what arrives at the output which the input is: slot, tensor and version."""
        self._inside: list[int] = []
        self._outside: list[int] = []
        """Slots of inputs and of the outputs whose gradient was theirs: it is read once."""
        self._reached: defaultdict[int, set[int]] = defaultdict(set)
        """By turn, the slots to whose output a gradient came back; a turn that is not here does not count."""
        self._seen: list[tuple[int, list[int], int, int]] = []
        """Turn and slots of outputs of one shape, and the rows and entries of each."""
        self._shared: list[tuple[int, list[int], int]] = []
        """Turn and slots of inputs of one shape of which a share is taken, and the entries of each."""
        self._values = Values()
        self._alive = Alive()
        self._size = 0
        self._copied: list[tuple[int, Tensor, int]] = []
        """Slot, output and its version, of outputs of which a copy waits."""
        self._overwritten: set[tuple[str, int]] = set()
        """Columns and slots of which a part is missing."""

    def next_turn(self) -> None:
        """Another forward pass begins, or what follows does not belong to the one before."""
        self._release()
        self.settle()
        self.turn += 1

    # ---- what hooks see

    def wait(self, pile: Pile, slot: int, tensor: Tensor, entries: int) -> None:
        """Lays a small tensor on its pile."""
        if not pile.slots:
            self.memory.filled.append(pile)
        pile.tensors.append(tensor)
        pile.versions.append(tensor._version)
        pile.slots.append(slot)
        self._size += entries
        if self._size > self._limit:
            self.settle()

    def output(
        self, pile: Pile | None, slot: int, output: Tensor, rows: int, entries: int, rectifier: tuple[int, Activation] | None
    ) -> None:
        """A station's output; norm, mean and deviation, and which units the ``rectifier`` passes, if it is one with such a
        dimension of units. Without a pile it is large: ``rows`` and ``entries`` are its head's.
        """
        if pile is None:
            self._seen.append((self.turn, [slot], rows, entries))
            self.device = output.device
            self._values.add("forward", [slot], long_norm(output.detach()).square(), self.turn)
            self._moments([slot], self.memory.stacked([head(output.detach())], wide(self.device)), *(rectifier or ()))
        elif self.first or ((eager := self.memory.eager) and self.keys[slot] in eager):
            self._copied.append((slot, output, output._version))
            self.wait(pile, slot, output.detach().clone(), entries)
        else:
            self.wait(pile, slot, output, entries)

    def passed(self, slot: int, rows: int, entries: int) -> None:
        """A station without a value: only the gradient that comes back to it will be seen."""
        self._seen.append((self.turn, [slot], rows, entries))

    def inputs(self, slot: int, inputs: Tensor, dim: int, activation: Activation, pile: Pile | None = None) -> None:
        """An activation's inputs: the share of its entries on a flat part, or which units pass something on.

        Large ones do not wait: the training lets go of them at once, and takes their place in memory again.
        """
        if pile is None:
            self.device = inputs.device
            self._slopes([slot], head(inputs.detach())[None], dim, activation)
        else:
            self.wait(pile, slot, inputs.detach().clone() if activation.overwrites else inputs, inputs.numel())

    def gradient(self, pile: Pile | None, slot: int, gradient: Tensor, turn: int, entries: int, dim: int | None) -> None:
        """The gradient that reached a station's output; with ``dim``, also which units passed any of it on."""
        reached = self._reached[turn]
        if slot in reached:
            self.repeated.add(slot)
        reached.add(slot)
        if self._held and (held := self._held.get(id(gradient))) is not None and held[2] == gradient._version:
            del self._held[id(gradient)]
            self._inside.append(held[0])
            self._outside.append(slot)
        if pile is not None:
            self.wait(pile, slot, gradient, entries)
            return
        self.device = gradient.device
        self._values.add("backward", [slot], long_norm(gradient.detach()).square())
        if dim is not None:
            self._alive.add([slot], unblocked(head(gradient.detach())[None], dim))

    def input_gradient(self, slot: int, gradient: Tensor) -> None:
        """The gradient that a station's module itself sends to its input.

        Where the input is the output of another station that nothing else consumes, it is the very tensor that arrives there.
        """
        held = self._held
        held[id(gradient)] = (slot, gradient, gradient._version)
        if len(held) > HELD or not self.alone:
            self._read_input(*held.pop(next(iter(held))))

    def _read_input(self, slot: int, gradient: Tensor, version: int) -> None:
        if gradient._version != version:
            self._overwritten.add(("backward_in", slot))
        elif gradient.numel() <= LIMIT:
            self.wait(self.memory.pile("backward_in", gradient), slot, gradient, gradient.numel())
        else:
            self._values.add("backward_in", [slot], long_norm(gradient.detach()).square())

    def _release(self) -> None:
        """Reads the input gradients that arrived at no output as they are."""
        held, self._held = self._held, {}
        for waiting in held.values():
            self._read_input(*waiting)

    def settle(self) -> None:
        """Reads everything that waits, pile by pile."""
        filled, self.memory.filled, self._size = self.memory.filled, [], 0
        for slot, output, version in self._copied:
            if output._version != version:
                self.memory.eager.add(self.keys[slot])
        self._copied = []
        with torch.no_grad():
            for pile in filled:
                if pile.question == "output":
                    like = pile.tensors[0]
                    self._seen.append((self.turn, [*pile.slots], len(like) if like.dim() else 1, like.numel()))
                for slot in pile.take_overwritten():  # a part of a sum is gone: so is the sum
                    self._overwritten.update((column, slot) for column in LOST[pile.question])
                    if pile.dim is not None:
                        self._overwritten.add(("dead", slot))
                    if pile.question == "output":
                        self.memory.eager.add(self.keys[slot])
                if pile.slots:
                    self._read(pile)
                pile.empty()

    @property
    def returned(self) -> bool:
        """Whether a gradient came back to any forward pass."""
        return bool(self._reached)

    def start_over(self) -> None:
        """Drops what came back so far, and the forward passes that it came back to."""
        self.settle()
        gone = {-1, *self._reached}
        self._values.drop(gone)
        self._alive.drop(gone)
        self._seen = [seen for seen in self._seen if seen[0] not in gone]
        self._shared = [shared for shared in self._shared if shared[0] not in gone]
        for kept in (self._held, self._inside, self._outside, self._reached, self.repeated):
            kept.clear()

    def seen(self) -> list[int]:
        """The slots that a forward pass which a gradient came back to has called."""
        return sorted({slot for turn, slots, _, _ in self._seen if turn in self._reached for slot in slots})

    def finish(self, processes: Processes, inverse_scale: Tensor | None, kept: Sequence[int]) -> tuple[dict[str, Tensor], Sums]:
        """Everything gathered in the slots ``kept``: vectors on the device, and what makes columns of them on the host."""
        self._release()
        self.settle()
        vectors, order = self._values.joined(self._reached, self.device)
        for column in vectors.keys() & {"backward", "backward_in"}:
            if processes.many:
                vectors[column] = vectors[column] / processes.world**2
            if inverse_scale is not None:
                vectors[column] = vectors[column] * inverse_scale.to(vectors[column]).square()
        passing = list(self._alive.by_width(self._reached, self.device))
        lost = self._overwritten | {(column, slot) for slot in self.repeated for column in ("backward", "backward_in")}
        slots_of = Counter(slot for slots, _ in passing for slot in slots) if len(passing) > 1 else Counter()
        lost |= {("dead", slot) for slot, widths in slots_of.items() if widths > 1}  # units of another number are other units
        seen = [(slots, rows, entries) for turn, slots, rows, entries in self._seen if turn in self._reached]
        shared = [(slots, entries) for turn, slots, entries in self._shared if turn in self._reached]
        if passing and not processes.many:
            order["dead"] = [s for slots, _ in passing for s in slots]
            vectors["dead"] = torch.cat([1.0 - units.to(wide(self.device)).mean(1) for _, units in passing])
        sums = Sums(
            self.memory,
            list(self.keys),
            list(kept),
            order,
            seen,
            shared,
            lost,
            self._alive.by_slope,
            (self._inside, self._outside),
        )
        if processes.many:
            vectors, sums = exchanged(processes, sums, vectors, passing, self.device)
        return vectors, sums.or_earlier()

    # ---- inside

    def _read(self, pile: Pile) -> None:
        slots, tensors, first = pile.slots, pile.tensors, pile.tensors[0]
        self.device = first.device
        if pile.question == "inputs" and pile.activation is not None and pile.dim is not None:
            self._slopes(slots, self.memory.stacked(tensors, first.dtype), pile.dim, pile.activation)
            return
        narrow = torch.float32 if first.dtype in NARROW else wide(first.device)
        if pile.question == "output":
            # where terms cancel moments need float64, which only a CPU adds up no slower than it copies into it
            values = self.memory.stacked(tensors, wide(first.device) if first.is_cpu and pile.dim is None else narrow)
            squares = self._moments(slots, values, pile.dim, pile.activation)
            self._values.add("forward", slots, squares, self.turn)
            return
        stacked = self.memory.stacked(tensors, narrow)
        self._values.add(pile.question, slots, short_norms(stacked).square())
        if pile.dim is not None:
            self._alive.add(slots, unblocked(stacked, pile.dim))

    def _moments(self, slots: list[int], values: Tensor, dim: int | None = None, rectifier: Activation | None = None) -> Tensor:
        """Squares and sums of outputs (k, *shape); gives the squares (k,).

        Of a rectifier they tell which units (at ``dim`` of the shape) are dead: those that sum up to 0.
        """
        flat, to = values.reshape(len(values), -1), wide(values.device)
        squares = short_norms(flat).square()
        if rectifier is None or dim is None:
            sums = flat.sum(1, dtype=to)
        else:
            units = sums_by_unit(values, dim, to)
            sums = units.sum(1, dtype=to)
            if values.is_cpu and values.dtype is not to:  # a deviation below the mean is what cancelling leaves of both
                close = (squares * flat.shape[1] < 2 * sums.square()).nonzero().view(-1)
                if len(close):
                    exact = flat[close].to(to)
                    squares[close], sums[close] = exact.square().sum(1), exact.sum(1)
            self._alive.by_slope.update(slots)
            self._alive.add(slots, ~(units <= 0), self.turn)
        self._values.add("squares", slots, squares, self.turn)
        self._values.add("sums", slots, sums, self.turn)
        return squares

    def _slopes(self, slots: list[int], inputs: Tensor, dim: int, activation: Activation) -> None:
        """Of the inputs (k, *shape) of k activations with their units at ``dim`` of the shape."""
        if activation.kind == "two-sided":
            self._values.add("saturated", slots, activation.saturated(inputs), self.turn)
            self._shared.append((self.turn, slots, inputs[0].numel()))
        else:
            self._alive.by_slope.update(slots)
            self._alive.add(slots, activation.alive(inputs, dim), self.turn)
