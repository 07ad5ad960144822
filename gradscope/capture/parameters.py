"""What is read of the parameters: gradients at a stage of the step, and weights before and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from math import isfinite
from operator import is_
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.capture.distributed import Processes
from gradscope.capture.packing import NARROW, PLAIN, SMALL, Scratch, kinds_of, local, wide
from gradscope.capture.portions import Portions
from gradscope.capture.weights import Weights
from gradscope.record.grid import Bools


class Marks:
    """Which gradients there were, and the version of each. They are held, until the step ends, so that no other takes their
    place in memory; a weak reference to each would be work for Python's garbage collector.
    """

    def __init__(self, grads: Sequence[Tensor | None]) -> None:
        self.of = list(grads)
        self.versions = _versions(grads)

    def moved(self, grads: Sequence[Tensor | None], mine: Bools) -> bool:
        """Whether one of those in ``mine`` is not what it was."""
        versions = _versions(grads)
        if self.versions == versions and all(map(is_, self.of, grads)):
            return False
        pairs = zip(mine, self.of, grads, self.versions, versions, strict=True)
        return any(m and (of is not g or before != now) for m, of, g, before, now in pairs)

    def merged(self, other: Marks, mine: Bools) -> Marks:
        """Those in ``mine`` from the other."""
        both = copy(self)
        both.of = [b if m else a for m, a, b in zip(mine, self.of, other.of, strict=True)]
        both.versions = [b if m else a for m, a, b in zip(mine, self.versions, other.versions, strict=True)]
        return both


def _of_entries(gradient: Tensor, entries: int) -> dict[str, Tensor]:
    """What is asked of a gradient's entries one by one; those that are not stored are zeros. A complex one is one entry."""
    return {
        "grad_max": gradient.abs().amax() if gradient.numel() else torch.zeros((), device=gradient.device),
        "zero_count": entries - torch.count_nonzero(gradient),
        "nonfinite_count": torch.count_nonzero(gradient - gradient),
    }


def _versions(grads: Sequence[Tensor | None]) -> list[int]:
    return [-1 if g is None else g._version for g in grads]


@dataclass
class Reading:
    """Gradients as they stood at one moment: ``columns`` hold (n,) tensors on the device, ``present`` (n,) is the host's."""

    columns: dict[str, Tensor]
    present: Bools
    marks: Marks
    """Which tensors were read: a clip or an unscale that comes later moves them."""
    whole: bool = False
    """Whether all gradients are known to have been there; ``present`` tells where this does not."""

    @property
    def total(self) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self.columns["grad_norm"])
        return norm


class Parameters(Portions):
    """A fixed, named list of parameters and the statistics read of it; rebuilt when the list changes."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], processes: Processes) -> None:
        super().__init__(named, processes)
        self.of_weights = Weights(self)
        self._gradients, self._other = self.scratches(), self.scratches()
        self._wide = False
        """Whether gradients are kept in float64 though their parameters are narrower."""
        self._past: tuple[list[Scratch], Tensor] | None = None
        """The gradients at the last call of ``cosine``, in ``_other``, and their square."""
        self._complex = {i for i, p in enumerate(self.items) if p.is_complex()}
        self._masks: dict[bytes, Tensor] = {}
        self.every = np.ones(len(self.items), bool)
        """Of all parameters; never written into."""
        self._in_scratch: Reading | None = None
        self._square = torch.zeros(())
        """Of all gradients as they lie in ``_gradients``."""

    # ---- gradients

    def moved(self, reading: Reading, mine: Bools) -> bool:
        """Whether a gradient of those in ``mine`` was changed, replaced or set since the reading."""
        if any(self.processes.sharded):
            return True  # a fused operation on a DTensor moves no version counter: what was not clipped shows at the flush
        return reading.marks.moved([p.grad for p in self.items], mine)

    @torch.no_grad()
    def measure(self, *, full: bool, inverse_scale: Tensor | None = None) -> Reading:
        """Reads all gradients as they are now.

        ``full`` adds maxima and counts to the norms. ``inverse_scale`` undoes a loss scale; counts do not change under it.
        """
        grads = [p.grad for p in self.items]
        marks = Marks(grads)
        there = [g for g in grads if g is not None] if -1 in marks.versions else cast(list[Tensor], grads)
        kinds = kinds_of(there)
        dense = not self.special and all(layout is torch.strided for _, layout in kinds)
        tensors = grads if dense else [None if g is None else self._stored(g) for g in grads]
        present = np.array([g is not None for g in grads], bool) if there is not grads else self.every
        whole, alike = dense and there is grads, kinds == PLAIN
        norms, maxima, zeros, nonfinite = [], [], [], []
        for (at, pack), scratch, room in zip(self.parts, self._scratches_for(kinds, full=full), self.one, strict=True):
            mine = tensors if self.in_order else [tensors[i] for i in at]
            pack.load(scratch, mine, whole=whole, alike=alike, sampled=full)
            norms.append(pack.norms(room.widened(scratch), mine))
            if full:
                maxima.append(pack.maxima(scratch, mine))
                zeros.append(pack.zeros(scratch, mine))
        norm = self.join(norms)
        of_all = {"grad_norm": self.processes.norms(norm)}
        if full:
            self._square = torch.dot(norm, norm)
            of_all["grad_max"] = self.processes.maxima(self.join(maxima))
            zero = self.join(zeros)
            of_all["zero_count"] = self.processes.sums(zero if dense else self._without_stored(zero, grads))
            # where the norms are finite all entries are; but only a CPU tells that without waiting for it
            if self.on_cpu and isfinite(self._square.item()):
                of_all["nonfinite_count"] = torch.zeros_like(norm)
            else:
                for (at, pack), scratch in zip(self.parts, self._gradients, strict=True):
                    nonfinite.append(pack.nonfinite(scratch, [tensors[i] for i in at]))
                of_all["nonfinite_count"] = self.join(nonfinite)
            of_all["nonfinite_count"] = self.processes.sums(of_all["nonfinite_count"])
            for i in self._complex:  # what was read are their real and imaginary parts
                if (g := grads[i]) is not None and not hasattr(g, "to_local"):
                    for name, value in _of_entries(g, g.numel()).items():
                        of_all[name][i] = value
        if inverse_scale is not None:
            for name in ("grad_norm", "grad_max"):
                if name in of_all:
                    of_all[name] = of_all[name] * inverse_scale.to(of_all[name])
        reading = Reading(of_all, present, marks, there is grads)
        if full:  # a large sparse gradient's entries are not where its like's are
            pairs = () if dense or self.special else zip(grads, tensors, strict=True)
            placed = all(g is None or t is None or t.numel() == g.numel() for g, t in pairs)
            self._in_scratch = reading if placed else None
        return reading

    def nothing(self, *, full: bool) -> Reading:
        """A reading of no gradient at all, for ``measure_some`` to fill."""
        names = ("grad_norm", "grad_max", "zero_count", "nonfinite_count") if full else ("grad_norm",)
        size = len(self.items)
        columns = {name: torch.zeros(size, dtype=wide(self.device), device=self.device) for name in names}
        return Reading(columns, np.zeros(size, bool), Marks([None] * size))

    def measure_some(self, parameters: Sequence[Tensor], reading: Reading, *, inverse_scale: Tensor | None = None) -> None:
        """Reads these parameters' gradients into a reading that lacks them (an optimizer that steps inside backward)."""
        for p in parameters:
            i = self.place.get(p)  # type: ignore[call-overload]
            if i is None or reading.present[i] or p.grad is None:
                continue
            g = self._local(p.grad.detach())
            norm = torch.linalg.vector_norm(g, dtype=wide(g.device))
            found = {"grad_norm": norm, **_of_entries(p.grad.detach() if i in self._complex else g, p.grad.numel())}
            if inverse_scale is not None:
                found |= {name: found[name] * inverse_scale.to(norm) for name in ("grad_norm", "grad_max")}
            reading.present[i] = True
            for name, column in reading.columns.items():
                column[i] = found[name]

    def merged(self, one: Reading, other: Reading, mine: Bools) -> Reading:
        """The columns of both: those in ``mine`` from the other reading, the rest from the one."""
        if one is other or mine.all():
            return other
        take = self._mask(mine)
        columns = {n: torch.where(take, v, one.columns[n]) for n, v in other.columns.items() if n in one.columns}
        return Reading(columns, np.where(mine, other.present, one.present), one.marks.merged(other.marks, mine))

    def without(self, reading: Reading, idle: Bools) -> Reading:
        """The same reading, these parameters left out."""
        keep = self._mask(~idle)
        columns = {n: torch.where(keep, v, torch.zeros_like(v)) for n, v in reading.columns.items()}
        return Reading(columns, reading.present & ~idle, reading.marks)

    @torch.no_grad()
    def cosine(self, reading: Reading) -> Tensor | None:
        """Cosine between this reading's gradients and those at the call before; None where either is not at hand in full."""
        past, self._past = self._past, None
        if reading is not self._in_scratch:
            return None
        now = self._gradients
        square = self._square if self.plain else self.dot(now, now)
        self._past = (now, square)
        self._in_scratch = None
        self._gradients, self._other = self._other, self._gradients  # the next ones are not laid over these
        return None if past is None else self.dot(now, past[0]) / (square.sqrt() * past[1].sqrt())

    # ---- going on

    def follow(self, earlier: Parameters) -> None:
        """Goes on from an earlier list."""
        self.of_weights.follow(earlier.of_weights)

    def state_dict(self) -> dict[str, Any]:
        """What later values depend on: the weights at the start and the last gradients."""
        past = None if self._past is None else ([scratch.flat.clone() for scratch in self._past[0]], self._past[1].clone())
        return {**self.of_weights.state_dict(), "wide": self._wide, "past": past}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.of_weights.load_state_dict(state)
        if state.get("wide"):  # one of an earlier version lacks it
            self._widen()
        if (past := state["past"]) is not None:
            for scratch, flat in zip(self._other, past[0], strict=True):
                scratch.flat.copy_(flat)
            self._past = (self._other, past[1].to(self.device))

    # ---- inside

    def _scratches_for(self, kinds: set[tuple[torch.dtype, torch.layout]], *, full: bool) -> list[Scratch]:
        """Where gradients of these types are copied; in full where they stay until the next ones have come."""
        if kinds != PLAIN and not self._wide and any(dtype not in NARROW for dtype, _ in kinds):
            self._widen()  # a parameter may ask for gradients wider than itself
        return self._gradients if full else self.one if self._wide else self.passing

    def _widen(self) -> None:
        self._wide = True
        self._gradients, self._other, self._past = self.scratches(wide), self.scratches(wide), None

    def _stored(self, gradient: Tensor) -> Tensor:
        """A gradient's entries; a small sparse one's with all its zeros."""
        small = gradient.layout is not torch.strided and gradient.numel() <= SMALL
        return local(gradient.to_dense() if small else gradient)

    def _local(self, tensor: Tensor) -> Tensor:
        return local(tensor) if self.special or tensor.layout is not torch.strided else tensor

    def _mask(self, places: Bools) -> Tensor:
        """(n,) on the device; each is made once."""
        key = places.tobytes()
        if key not in self._masks:
            self._masks[key] = torch.tensor(places.tolist(), device=self.device)
        return self._masks[key]

    def _without_stored(self, zeros: Tensor, grads: Sequence[Tensor | None]) -> Tensor:
        """A sparse gradient's zeros are the entries that it does not store as well."""
        for i, g in enumerate(grads):
            if g is not None and g.layout is not torch.strided and g.numel() > SMALL:
                zeros[i] = g.numel() - torch.count_nonzero(local(g))
        return zeros
