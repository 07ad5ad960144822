"""Sums at stations, arrived on the host, as columns of the table ``layers``: many steps at once, where they are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradscope.capture.piles import Key, Memory
from gradscope.record.grid import Bools, Entity, Floats

SUMS = ("forward", "squares", "sums", "backward", "backward_in", "saturated")
"""What is added up over the micro-batches and processes."""


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
    lost: set[tuple[str, int]]
    """Columns and slots of which a part is missing."""
    by_slope: set[int]
    """Slots whose dead units are known by the activation's slope, not only by a gradient that is 0."""
    same: dict[Key, Key]
    """Stations whose input's gradient is that of another's output."""
    sizes: frozenset[int] = frozenset()
    """Numbers of nodes of the graphs of which the step shows what is the same; none where it read by what was known."""
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
        """(3, slots): rows, entries, and how many shares were summed."""
        counts = np.zeros((3, len(self.keys)))
        for slots, rows, entries in self.seen:
            counts[0, slots] += rows
            counts[1, slots] += entries
        if shared := self.order.get("saturated"):
            counts[2] = np.bincount(shared, minlength=len(self.keys))
        return counts

    def complete(self, arrived: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Bools]]:
        """The columns (k, E) of k steps, in order, E the slots in ``kept``, and where each is valid."""
        sums, have, (rows, counts, shares) = self._from_table(arrived["table"]) if self.exchanged else self._added_up(arrived)
        if not self.exchanged:  # one of many processes learns nothing of the graph
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
        for column, slot in self.lost:
            have[column][:, slot] = False
        return sums, have, self.counts

    def _share_gradients(self, sums: dict[str, Floats], have: dict[str, Bools]) -> None:
        """Fills in input gradients that are another station's output gradient, and learns which are."""
        memory, n = self.memory, len(self.keys)  # what was met since this step has a later slot
        if self.sizes:
            pairs = memory.sources.items()
            known = {key: of for key, of in pairs if max(memory.slots.get(key, n), memory.slots.get(of, n)) < n}
            at, of = np.array([(memory.slots[key], memory.slots[of]) for key, of in known.items()], np.intp).reshape(-1, 2).T
            inside, outside = sums["backward_in"][:, at], sums["backward"][:, of]
            agree = np.abs(inside - outside) <= 1e-6 * outside  # one of them may be read in float32
            agree &= (outside > 0) & have["backward_in"][:, at] & have["backward"][:, of]
            always = np.all(agree, axis=0).tolist()
            same = {key: of for (key, of), kept in zip(known.items(), always, strict=True) if kept}
            before, sizes = memory.found
            memory.found = (same, sizes | self.sizes if same == before else set(self.sizes))
        if self.same:
            places = memory.paired(self.same)
            at, of = places[(places < n).all(1)].T
            missing = (~have["backward_in"][:, at] & have["backward"][:, of]).any(0)
            at, of = at[missing], of[missing]
            sums["backward_in"][:, at] = sums["backward"][:, of]
            have["backward_in"][:, at] = True
