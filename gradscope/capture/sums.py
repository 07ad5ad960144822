"""Sums at stations, arrived on the host, as columns of the table ``layers``: many steps at once, where they are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradscope.capture.piles import Key, Memory, Question
from gradscope.record.grid import Bools, Entity, Floats, Ints

SUMS = ("forward", "squares", "sums", "backward", "backward_in", "saturated")
"""What is added up over the micro-batches and processes."""
LOST: dict[Question, tuple[str, ...]] = {
    "output": ("forward", "squares", "sums"),
    "inputs": ("saturated",),
    "backward": ("backward",),
    "backward_in": ("backward_in",),
}
"""Which sums lack a part where a tensor was overwritten before it could be read; the dead units too, if they are asked for."""


@dataclass(frozen=True)
class Sums:
    """What the host knows of a step's sums; ``complete`` makes columns of those that come from the device."""

    memory: Memory
    keys: list[Key]
    kept: list[int]
    """The slots that the table gets."""
    order: dict[str, list[int]]
    """By column, the slots that its values belong to; a slot may come again, once a micro-batch."""
    seen: list[tuple[list[int], int, int]]
    """Slots of outputs of one shape, and the rows and entries of each; a slot comes once in each."""
    shared: list[tuple[list[int], int]]
    """Slots of inputs of one shape of which a share is taken, and the entries of each."""
    lost: set[tuple[str, int]]
    """Columns and slots of which a part is missing."""
    by_slope: set[int]
    """Slots whose dead units are known by the activation's slope, not only by a gradient that is 0."""
    same: tuple[list[int], list[int]]
    """Slots of inputs and of the outputs whose gradient was theirs, once a micro-batch."""
    exchanged: bool = False
    """Whether the values come as one table, added up over the processes."""

    def or_earlier(self) -> Sums:
        """The one of the step before, where the host knows the same: their values are then completed together."""
        latest = self.memory.latest
        if not isinstance(latest, Sums) or latest != self:
            self.memory.latest = latest = self
        return latest

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """Of the table's rows."""
        return tuple(self.keys[slot] for slot in self.kept)

    @cached_property
    def counts(self) -> Floats:
        """(3, slots): rows, entries, and entries of which a share is taken."""
        counts = np.zeros((3, len(self.keys)))
        for slots, rows, entries in self.seen:
            counts[0, slots] += rows
            counts[1, slots] += entries
        for slots, entries in self.shared:
            np.add.at(counts[2], slots, entries)
        return counts

    @cached_property
    def _shared_gradients(self) -> tuple[Ints, Ints, Bools]:
        """Slots of the inputs and outputs in ``same``, and where it is not known what of the gradient is the input's: something
        else has consumed that output in another micro-batch, or a part was lost.
        """
        arrivals, times = Counter(self.order.get("backward", ())), Counter(zip(*self.same, strict=True))
        pairs = np.array(list(times), np.intp).reshape(-1, 2)
        unknown = [n != arrivals[of] or ("backward", of) in self.lost for (_, of), n in times.items()]
        return pairs[:, 0], pairs[:, 1], np.array(unknown, bool)

    def complete(self, arrived: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Bools]]:
        """The columns (k, E) of k steps, in order, E the slots in ``kept``, and where each is valid."""
        sums, have, (rows, counts, shares) = self._from_table(arrived["table"]) if self.exchanged else self._added_up(arrived)
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
                "rows": np.broadcast_to(rows, mean.shape),
            }
        valid = {
            "forward_norm": have["forward"],
            "forward_mean": have["sums"],
            "forward_std": have["sums"],
            # where nothing at all came back, no unit can be told dead by its gradient
            "dead_share": have["dead"] & (self._at(self.by_slope) | (sums["backward"] != 0)),
            "saturated_share": have["saturated"],
            "backward_norm": have["backward"],
            "input_backward_norm": have["backward_in"],
        }
        kept = self.kept
        return (
            {name: values[..., kept] for name, values in columns.items()},
            {name: ok[..., kept] for name, ok in valid.items() if not ok.all()},
        )

    def _at(self, slots: set[int]) -> Bools:
        flags = np.zeros(len(self.keys), bool)
        flags[list(slots)] = True
        return flags

    def _from_table(self, tables: Floats) -> tuple[dict[str, Floats], dict[str, Bools], Floats]:
        """Sums by column, (k, slots), where there are any, and the counts, from what the processes have added up."""
        table = np.moveaxis(tables.reshape(len(tables), -1, len(self.keys)), 1, 0)
        n = len(SUMS)
        sums = dict(zip((*SUMS, "dead"), (*table[:n], table[-1]), strict=True))
        have = {column: table[n + i] > 0 for i, column in enumerate(SUMS)}
        return sums, {**have, "dead": table[-1] >= 0}, table[2 * n : 2 * n + 3]

    def _added_up(self, arrived: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Bools], Floats]:
        """The same from vectors (k, m) with the slots that they belong to."""
        shape = (len(next(iter(arrived.values()), ())), len(self.keys))
        sums, have = {}, {}
        slots: list[int] = []
        order = np.array(slots, np.intp)
        for column in (*SUMS, "dead"):
            total, seen = np.zeros(shape), np.zeros(shape, bool)
            if column in arrived:
                if self.order[column] != slots:  # that of the column before, mostly
                    slots = self.order[column]
                    order = np.array(slots, np.intp)
                if len(set(slots)) == len(slots):
                    total[:, order] = arrived[column]
                else:
                    np.add.at(total.T, order, arrived[column].T)
                seen[:, order] = True
            sums[column], have[column] = total, seen
        inside, outside, unknown = self._shared_gradients
        np.add.at(sums["backward_in"].T, inside, sums["backward"][:, outside].T)
        have["backward_in"][:, inside] = True
        have["backward_in"][:, inside[unknown]] = False
        for column, slot in self.lost:
            have[column][:, slot] = False
        return sums, have, self.counts
