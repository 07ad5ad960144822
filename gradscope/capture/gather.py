"""What one optimizer step gathers at its stations: many small tensors, few operations.

A hook only notes which tensor it saw. Tensors of one shape are stacked and read together when the forward pass ends, when
backward ends, or when enough of them wait; large ones are read where they are seen. Every result is a vector with the
stations it belongs to, additive over micro-batches and processes; roots and quotients are taken on the host, after the flush.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradscope.capture.activations import Activation
from gradscope.capture.distributed import Processes
from gradscope.capture.packing import ROW, is_safe, long_norm, wide
from gradscope.capture.units import LIMIT, by_unit, head
from gradscope.record.grid import Bools, Floats

Key = tuple[str, int]
"""A module's name and which of its calls within one forward pass."""
SUMS = ("forward", "squares", "sums", "backward", "backward_in", "saturated")
"""What is added up over the micro-batches and processes."""
WAITING_LIMIT = 4_194_304
"""Entries that may wait to be read together: what watching adds to the memory of a step at most."""


@dataclass(slots=True)
class Waiting:
    """A small tensor that waits, what is asked of it, and the slots that ask."""

    tensor: Tensor
    origin: Tensor
    """What was seen, of which ``tensor`` may be a copy."""
    version: int
    slot: int
    columns: str
    """``output``, ``activation``, ``backward``, ``backward_in`` or ``both``: the output's and another's input gradient."""
    other: int = 0
    """The slot of the input gradient in ``both``."""
    dim: int | None = None
    """Dimension of the units: whose gradient is asked to be non-zero, or whose slope."""
    activation: Activation | None = None


class Memory:
    """What stations teach from sample to sample; a ``Gather`` is one step's, this outlives it."""

    def __init__(self) -> None:
        self.trusted: set[Key] = set()
        """Stations whose last norms lay inside float32's safe range, so that large outputs may be read in float32."""
        self.learnt: set[Key] = set()
        """What ``trusted`` is to be by the values that have reached the host; the recorder says from when."""
        self.eager: set[Key] = set()
        """Stations whose output is overwritten in place before it can be read: a copy waits instead."""
        self.fed_by: dict[Key, Key] = {}
        """Stations that are, by the graph, the only consumer of another's output."""
        self.same: dict[Key, Key] = {}
        """Those of them whose input's gradient was seen to be that of the other's output: it is not read twice. Replaced, never
        changed: a step's values are completed by what was known when it was read."""
        self._scratch: dict[Hashable, tuple[Tensor, list[Tensor]]] = {}

    def stacked(self, tensors: list[Tensor], dtype: torch.dtype) -> Tensor:
        """Tensors of one shape as (k, *shape) in ``dtype``, in a scratch that the next call with the like overwrites."""
        first = tensors[0]
        key = (len(tensors), first.shape, dtype, first.device)
        found = self._scratch.get(key)
        if found is None:
            if len(self._scratch) > 64:  # shapes that change all the time
                self._scratch.clear()
            whole = torch.empty((len(tensors), *first.shape), dtype=dtype, device=first.device)
            found = self._scratch[key] = (whole, list(whole.unbind(0)))
        torch._foreach_copy_(found[1], tensors)
        return found[0]


@dataclass
class Gather:
    """The statistics of one step. A slot is a station's place in ``keys``."""

    memory: Memory
    device: torch.device
    """Where results are joined; where the last output was."""
    first: bool = False
    """Whether this is the first sample, in which ``eager`` is found out and every output is copied."""

    def __post_init__(self) -> None:
        self.keys: list[Key] = []
        self.slots: dict[Key, int] = {}
        self.widths: list[int] = []
        self.turn = 0
        """Number of the forward pass. What it sees counts once a gradient comes back to it: an evaluation leaves nothing."""
        self.repeated: set[int] = set()
        """Slots whose output got two gradients in one turn: the norm of their sum is not known."""
        self.same = self.memory.same
        self._returned: set[int] = set()
        self._reached: set[tuple[int, int]] = set()
        self._seen: list[tuple[int, int, int, int]] = []
        """Turn, slot, rows and entries of each output."""
        self._shared: list[tuple[int, int]] = []
        """Turn and slot of each share that is summed."""
        self._results: list[tuple[int, str, list[int], Tensor]] = []
        self._alive: dict[Hashable, tuple[int, list[int], Tensor]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._size = 0
        self._by_slope: set[int] = set()
        """Stations whose dead units are known by the activation's slope, not only by a gradient that is 0."""
        self._overwritten: set[tuple[str, int]] = set()
        """Columns and slots of which a part is missing."""
        self._narrow: set[int] = set()
        """Slots whose input's gradient was read in float32."""
        self._last: tuple[Tensor, bool, Tensor] | None = None

    def slot(self, key: Key, width: int) -> int:
        found = self.slots.get(key)
        if found is None:
            found = self.slots[key] = len(self.keys)
            self.keys.append(key)
            self.widths.append(width)
        return found

    def next_turn(self) -> None:
        """Another forward pass begins, or what follows does not belong to the one before."""
        self.settle()
        self.turn += 1

    # ---- what hooks see

    def output(self, slot: int, output: Tensor) -> None:
        """A station's output; norm, mean and deviation."""
        self.device = output.device
        entries = output.numel()
        if entries <= LIMIT:
            self._seen.append((self.turn, slot, len(output) if output.dim() else 1, entries))
            kept = output.detach().clone() if self.first or self.keys[slot] in self.memory.eager else output
            self._wait(Waiting(kept, output, output._version, slot, "output"))
            return
        output = output.detach()
        rows = head(output)
        self._seen.append((self.turn, slot, len(rows), rows.numel()))
        values = rows.to(wide(rows.device))
        self._emit("forward", slot, self._norm(output, slot))
        self._emit("squares", slot, torch.linalg.vector_norm(values).square())
        self._emit("sums", slot, values.sum())

    def activation(self, slot: int, activation: Activation, inputs: Tensor, dim: int) -> None:
        """An activation's inputs: the share of its entries on a flat part, or which units pass something on."""
        if activation.kind == "two-sided":
            self._shared.append((self.turn, slot))
        elif activation.kind == "one-sided" and activation.alive_low > -float("inf"):
            self._by_slope.add(slot)
        else:
            return
        if inputs.numel() > LIMIT:
            inputs = head(inputs.detach())
        kept = inputs.detach().clone() if activation.overwrites else inputs
        self._wait(Waiting(kept, inputs, inputs._version, slot, "activation", dim=dim, activation=activation))

    def gradient(self, slot: int, gradient: Tensor, dim: int | None, turn: int) -> None:
        """The gradient that reached a station's output; with ``dim``, also which units passed any of it on."""
        if (turn, slot) in self._reached:
            self.repeated.add(slot)
        self._reached.add((turn, slot))
        self._returned.add(turn)
        self.device = gradient.device
        if gradient.numel() <= LIMIT:
            known = self._waiting.get(id(gradient))
            if known is not None and known.columns == "backward_in" and known.version == gradient._version:
                known.columns, known.other, known.slot, known.dim = "both", known.slot, slot, dim
            else:
                self._wait(Waiting(gradient, gradient, gradient._version, slot, "backward", dim=dim))
            return
        gradient = gradient.detach()
        self._emit("backward", slot, self._norm(gradient, slot))
        if dim is not None:
            self._units([slot], _passing(by_unit(head(gradient), dim))[None])

    def input_gradient(self, slot: int, gradient: Tensor) -> None:
        """The gradient that a station's module itself sends to its input."""
        if gradient.numel() <= LIMIT:
            self._wait(Waiting(gradient, gradient, gradient._version, slot, "backward_in"))
        else:
            self._emit("backward_in", slot, self._norm(gradient.detach(), slot))

    def settle(self) -> None:
        """Reads everything that waits, shape by shape."""
        waiting, self._waiting, self._size = self._waiting, {}, 0
        groups: dict[Hashable, list[Waiting]] = {}
        trusted, keys = self.memory.trusted, self.keys
        for w in waiting.values():
            if w.origin._version != w.version:  # overwritten before it was read: copied from now on
                if w.columns == "output":
                    self.memory.eager.add(keys[w.slot])
                if w.tensor is w.origin:
                    self._lose(w)
                    continue
            exact = w.columns[0] != "b" or keys[w.slot] not in trusted
            group = (w.columns, w.tensor.shape, w.tensor.dtype, w.dim, w.activation, exact)
            if group in groups:
                groups[group].append(w)
            else:
                groups[group] = [w]
        with torch.no_grad():
            for members in groups.values():
                self._read(members)

    def finish(self, processes: Processes, inverse_scale: Tensor | None, kept: Sequence[int]) -> dict[str, Tensor]:
        """Everything gathered in the slots ``kept``, as vectors on the device, in the order that ``complete`` expects."""
        self.settle()
        vectors: dict[str, Tensor] = {}
        self._order: dict[str, list[int]] = {}
        counted = [(name, slots, values) for turn, name, slots, values in self._results if turn < 0 or turn in self._returned]
        for column in SUMS:
            mine = [(slots, values) for name, slots, values in counted if name == column]
            if not mine:
                continue
            self._order[column] = [s for slots, _ in mine for s in slots]
            joined = torch.cat([v if v.device == self.device else v.to(self.device) for _, v in mine])
            if column.startswith("backward"):
                joined = joined / processes.world**2
                if inverse_scale is not None:
                    joined = joined * inverse_scale.to(joined).square()
            vectors[column] = joined
        passing = [self._passing_units(slots, alive) for slots, alive in self._units_by_width().values()]
        self._results, self._alive, self._last = [], {}, None
        if processes.many:
            return self._exchange(processes, vectors, passing, kept)
        if passing:
            self._order["dead"] = [s for slots, _ in passing for s in slots]
            vectors["dead"] = torch.cat([1.0 - units.to(wide(self.device)).mean(1) for _, units in passing])
        return vectors

    def _exchange(
        self,
        processes: Processes,
        vectors: dict[str, Tensor],
        passing: Sequence[tuple[list[int], Tensor]],
        kept: Sequence[int],
    ) -> dict[str, Tensor]:
        """The same over all processes. Rank 0 says which stations there are: what others saw beside them is left out, and where
        one saw nothing of them it adds nothing, so that all exchange the same shapes.
        """
        units = {self.keys[slot]: row for slots, rows in passing for slot, row in zip(slots, rows, strict=True)}
        keys, widths = processes.share(([self.keys[i] for i in kept], [len(units.get(self.keys[i], ())) for i in kept]))
        place = {key: j for j, key in enumerate(keys)}
        to = [place.get(key, -1) for key in self.keys]
        sums = torch.zeros((len(SUMS), len(keys)), dtype=wide(self.device), device=self.device)
        for i, column in enumerate(SUMS):
            if column in vectors:
                mine = [j for j, slot in enumerate(self._order[column]) if to[slot] >= 0]
                there = [to[slot] for slot in self._order[column] if to[slot] >= 0]
                at = torch.tensor([mine, there], dtype=torch.long, device=self.device)
                sums[i].index_add_(0, at[1], vectors[column][at[0]])
        host = np.zeros((len(SUMS) + 3, len(keys)))
        have = {column: set(self._order.get(column, ())) for column in SUMS}
        lost = self._lost()
        for slot, j in enumerate(to):
            if j >= 0:
                host[: len(SUMS), j] = [-1e9 if (c, slot) in lost else float(slot in have[c]) for c in SUMS]
        host[len(SUMS) :, [j for j in to if j >= 0]] = self._counts()[:, [slot for slot, j in enumerate(to) if j >= 0]]
        table = processes.add_up(torch.cat([sums, torch.as_tensor(host, dtype=sums.dtype).to(self.device)]))
        dead = torch.full((len(keys),), -1.0, dtype=sums.dtype, device=self.device)
        for width in sorted(set(widths) - {0}):
            mine_at = [j for j, w in enumerate(widths) if w == width]
            rows = [units.get(keys[j]) for j in mine_at]
            none = torch.zeros(width, dtype=torch.bool, device=self.device)
            flags = torch.stack([r if r is not None and len(r) == width else none for r in rows])
            share = 1.0 - processes.any(flags).to(sums.dtype).mean(1)
            dead[torch.tensor(mine_at, device=self.device)] = share
        self._by_slope = {to[slot] for slot in self._by_slope if to[slot] >= 0}
        self._narrow, self.keys, self.slots = set(), list(keys), place
        return {"table": torch.cat([table, dead[None]]).flatten()}

    def _lost(self) -> set[tuple[str, int]]:
        """Columns and slots whose sum lacks a part."""
        return self._overwritten | {(column, slot) for slot in self.repeated for column in ("backward", "backward_in")}

    def _counts(self) -> Floats:
        """(3, slots): rows, entries and summed shares of each, over the turns that count."""
        counts = np.zeros((3, len(self.keys)))
        for turn, slot, rows, entries in self._seen:
            if turn in self._returned:
                counts[:2, slot] += (rows, entries)
        for turn, slot in self._shared:
            if turn in self._returned:
                counts[2, slot] += 1
        return counts

    def _units_by_width(self) -> dict[int, tuple[list[int], list[Tensor]]]:
        """Slots, and which of their units passed something on, of the turns that count."""
        widths: dict[int, tuple[list[int], list[Tensor]]] = {}
        for turn, slots, alive in self._alive.values():
            if turn < 0 or turn in self._returned:
                mine = widths.setdefault(alive.shape[1], ([], []))
                mine[0].extend(slots)
                mine[1].append(alive)
        return widths

    def _passing_units(self, slots: list[int], alive: list[Tensor]) -> tuple[list[int], Tensor]:
        """(slots, units): which units of each passed something on in any of its micro-batches; each slot once."""
        units = torch.cat([a.to(self.device) for a in alive])
        once = list(dict.fromkeys(slots))
        if len(once) < len(slots):
            place = {slot: i for i, slot in enumerate(once)}
            at = torch.tensor([place[s] for s in slots], device=self.device)
            units = units.new_zeros((len(once), units.shape[1]), dtype=torch.float32).index_add_(0, at, units.float()) > 0
        return once, units

    def seen(self) -> list[int]:
        """The slots that a forward pass which a gradient came back to has called."""
        return sorted({slot for turn, slot, _, _ in self._seen if turn in self._returned})

    # ---- after the flush

    def complete(self, arrived: Mapping[str, Floats], kept: list[int]) -> tuple[dict[str, Floats], dict[str, Bools]]:
        """The columns (E,) of the table ``layers``, E the slots in ``kept``, from what ``finish`` gave, on the host."""
        size = len(self.keys)
        sums, have, (rows, counts, shares) = self._arrived(arrived)
        self._share_gradients(sums, have)
        counts = np.maximum(counts, 1.0)
        mean = sums["sums"] / counts
        with np.errstate(invalid="ignore", over="ignore"):
            columns = {
                "forward_norm": np.sqrt(sums["forward"]),
                "forward_mean": mean,
                "forward_std": np.sqrt(np.maximum(sums["squares"] / counts - mean**2, 0.0)),
                "dead_share": sums["dead"],
                "saturated_share": sums["saturated"] / np.maximum(shares, 1.0),
                "backward_norm": np.sqrt(sums["backward"]),
                "input_backward_norm": np.sqrt(sums["backward_in"]),
                "rows": rows,
            }
        valid = {
            "forward_norm": have["forward"],
            "forward_mean": have["sums"],
            "forward_std": have["sums"],
            "dead_share": have["dead"],
            "saturated_share": have["saturated"],
            "backward_norm": have["backward"],
            "input_backward_norm": have["backward_in"],
        }
        for name, direction in (("forward_norm", "forward"), ("backward_norm", "backward")):
            valid[name] = have[direction] & self._learn(columns[name], have[direction], direction)
        narrow = np.array([slot in self._narrow for slot in range(size)], bool)
        valid["input_backward_norm"] = have["backward_in"] & (~narrow | is_safe(columns["input_backward_norm"]))
        # where nothing at all came back, no unit can be told dead by its gradient
        told = np.array([slot in self._by_slope for slot in range(size)], bool)
        valid["dead_share"] = have["dead"] & (told | (sums["backward"] != 0))
        return (
            {name: values[kept] for name, values in columns.items()},
            {name: ok[kept] for name, ok in valid.items() if not ok.all()},
        )

    def _arrived(self, arrived: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Bools], Floats]:
        """Sums by column and slot, where there are any, and the counts."""
        size = len(self.keys)
        if "table" in arrived:
            table = arrived["table"].reshape(-1, size)
            n = len(SUMS)
            sums = dict(zip((*SUMS, "dead"), (*table[:n], table[-1]), strict=True))
            have = {column: table[n + i] > 0 for i, column in enumerate(SUMS)}
            return sums, {**have, "dead": table[-1] >= 0}, table[2 * n : 2 * n + 3]
        sums, have = {}, {}
        for column in (*SUMS, "dead"):
            total, seen = np.zeros(size), np.zeros(size, bool)
            if column in arrived:
                order = np.array(self._order[column], np.intp)
                np.add.at(total, order, arrived[column])
                seen[order] = True
            sums[column], have[column] = total, seen
        for column, slot in self._lost():
            have[column][slot] = False
        return sums, have, self._counts()

    def _learn(self, norms: Floats, have: Bools, direction: str) -> Bools:
        """Which norms can be trusted; a large station is read in float32 once its values have shown that this serves."""
        memory = self.memory
        safe = is_safe(norms) | ~have
        ok = np.ones(len(norms), bool)
        if direction == "forward":  # comes first; the backward norm may take it back
            memory.learnt.update(self.keys)
        for slot in np.flatnonzero(~safe):
            key = self.keys[slot]
            ok[slot] = key not in memory.trusted
            memory.learnt.discard(key)
        return ok

    def _share_gradients(self, sums: dict[str, Floats], have: dict[str, Bools]) -> None:
        """Fills in input gradients that are another station's output gradient, and learns which are."""
        memory, slots, backward = self.memory, self.slots, sums["backward"]
        found: dict[Key, Key] = {}
        for key, source in list(memory.fed_by.items()):
            slot, other = slots.get(key), slots.get(source)
            if slot is None or other is None or not (have["backward"][other] and have["backward_in"][slot]):
                continue
            del memory.fed_by[key]
            if sums["backward_in"][slot] == backward[other]:
                found[key] = source
        if found:
            memory.same = {**memory.same, **found}
        pairs = [(slots[key], slots[source]) for key, source in self.same.items() if key in slots and source in slots]
        if pairs:
            at, of = np.array(pairs, np.intp).T
            missing = ~have["backward_in"][at] & have["backward"][of]
            sums["backward_in"][at[missing]] = backward[of[missing]]
            have["backward_in"][at[missing]] = True
            self._narrow.update(s for s, o in zip(at, of, strict=True) if self.keys[o] in memory.trusted)

    # ---- inside

    def _wait(self, waiting: Waiting) -> None:
        key = id(waiting.tensor)
        self._waiting[key if key not in self._waiting else -len(self._waiting) - 1] = waiting
        self._size += waiting.tensor.numel()
        if self._size > WAITING_LIMIT:
            self.settle()

    def _read(self, group: list[Waiting]) -> None:
        first = group[0]
        exact = (
            first.columns == "output" or first.tensor.dtype is torch.float64 or self.keys[first.slot] not in self.memory.trusted
        )
        slots = [w.slot for w in group]
        tensors = [w.tensor for w in group]
        if first.activation is not None:
            units = _units_last(self.memory.stacked(tensors, first.tensor.dtype), first.dim)
            if first.activation.kind == "two-sided":
                self._results.append((self.turn, "saturated", slots, first.activation.saturated(units)))
            else:
                self._units(slots, first.activation.alive(units), self.turn)
            return
        # moments need float64; the norm of a gradient that float32 holds does not
        stacked = self.memory.stacked(tensors, wide(first.tensor.device) if exact else torch.float32)
        values = stacked.reshape(len(tensors), -1)
        if exact or values.shape[1] <= ROW or stacked.dim() < 3:
            norms = torch.linalg.vector_norm(values, dim=1).to(wide(values.device))
        else:  # float32 sums of squares stay right while they are short
            norms = torch.linalg.vector_norm(torch.linalg.vector_norm(stacked.flatten(2), dim=2).to(wide(values.device)), dim=1)
        squares = norms.square()
        if first.columns == "output":
            found = (("forward", squares), ("squares", squares), ("sums", values.sum(1)))
            self._results += [(self.turn, column, slots, value) for column, value in found]
            return
        if first.columns == "both":
            others = [w.other for w in group]
            self._results += [(-1, "backward", slots, squares), (-1, "backward_in", others, squares)]
        else:
            others = slots
            self._results.append((-1, first.columns, slots, squares))
        if not exact and first.columns != "backward":
            self._narrow.update(others)
        if first.dim is not None:
            self._units(slots, _passing(_units_last(stacked, first.dim)))

    def _norm(self, tensor: Tensor, slot: int) -> Tensor:
        """Square of the L2 norm of a large tensor, 0-dim; the last one is remembered: it is often asked for twice."""
        exact = tensor.dtype is torch.float64 or self.keys[slot] not in self.memory.trusted
        if self._last is not None and self._last[0] is tensor and self._last[1] == exact:
            return self._last[2]
        square = long_norm(tensor, exact=exact).to(wide(tensor.device)).square()
        self._last = (tensor, exact, square)
        return square

    def _emit(self, column: str, slot: int, value: Tensor) -> None:
        back = column.startswith("backward")
        if column == "backward_in" and self.keys[slot] in self.memory.trusted:
            self._narrow.add(slot)
        self._results.append((-1 if back else self.turn, column, [slot], value[None]))

    def _units(self, slots: list[int], alive: Tensor, turn: int = -1) -> None:
        """Which units (k, units) passed something on: in any of the micro-batches counts."""
        key = (turn, tuple(slots), alive.shape)
        known = self._alive.get(key)
        self._alive[key] = (turn, slots, alive if known is None else known[2] | alive)

    def _lose(self, waiting: Waiting) -> None:
        """A part of a sum is gone: so is the sum."""
        lost = {
            "output": ("forward", "squares", "sums"),
            "activation": ("saturated", "dead"),
            "backward": ("backward", "dead"),
            "both": ("backward", "dead"),
            "backward_in": ("backward_in",),
        }
        self._overwritten.update((column, waiting.slot) for column in lost[waiting.columns])
        if waiting.columns == "both":
            self._overwritten.add(("backward_in", waiting.other))


def _units_last(stacked: Tensor, dim: int | None) -> Tensor:
    """(k, *shape) -> (k, rows, units)."""
    moved = stacked.movedim((dim or 0) + 1, -1) if dim is not None else stacked
    return moved.flatten(1, -2) if moved.dim() > 2 else moved[:, None]


def _passing(units: Tensor) -> Tensor:
    """Per unit, whether any row's gradient is not exactly 0: (..., rows, units) -> (..., units)."""
    return (units.amax(-2) != 0) | (units.amin(-2) != 0)
