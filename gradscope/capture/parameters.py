"""What is read of the parameters: gradients at a stage of the step, and weights before and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.capture.distributed import Processes
from gradscope.capture.packing import SAMPLE, SMALL, Packing, Scratch, local, wide
from gradscope.record.grid import Bools, Floats

PORTION = 65_536
"""Entries of small tensors that are read as one: in float64 half of what a core has of fast cache."""


@dataclass
class Reading:
    """Gradients as they stood at one moment: ``columns`` hold (n,) tensors on the device, ``present`` (n,) is the host's."""

    columns: dict[str, Tensor]
    present: Bools
    marks: list[int]
    """Identity plus version counter of each gradient: a clip or an unscale that comes later moves them."""

    @property
    def total(self) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self.columns["grad_norm"])
        return norm


def _kept(weight: Tensor) -> Tensor:
    """A copy, in float32 where a difference of two would not be exact."""
    return weight.float() if weight.element_size() < 4 else weight.clone()


def _portions(mine: Sequence[int], shapes: Sequence[torch.Size], device: torch.device) -> list[list[int]]:
    """The places in ``mine``, in portions whose small tensors stay in a CPU's cache from one statistic to the next."""
    if device.type != "cpu":
        return [list(mine)]
    portions: list[list[int]] = [[]]
    room = PORTION
    for i in sorted(mine, key=lambda i: (shapes[i].numel(), i)):
        entries = shapes[i].numel() if shapes[i].numel() <= SMALL else SAMPLE
        if entries > room and portions[-1]:
            portions.append([])
            room = PORTION
        portions[-1].append(i)
        room -= entries
    return portions


def _marks(grads: Sequence[Tensor | None]) -> list[int]:
    return [0 if g is None else id(g) + g._version for g in grads]


class Parameters:
    """A fixed, named list of parameters and the statistics read of it; rebuilt when the list changes."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], processes: Processes) -> None:
        self.names = tuple(name for name, _ in named)
        self.entities = tuple((name, 0) for name in self.names)
        self.items = [p for _, p in named]
        self.place = {p: i for i, p in enumerate(self.items)}
        self.processes = processes
        self.special = any(hasattr(p, "to_local") or p.is_complex() or p.layout is not torch.strided for p in self.items)
        self.device = self.items[0].device if self.items else torch.device("cpu")
        self.parts: list[tuple[list[int], Packing]] = []
        shapes = [local(p.detach()).shape for p in self.items]
        for device in dict.fromkeys(p.device for p in self.items):
            mine = [i for i, p in enumerate(self.items) if p.device == device]
            self.parts += [(at, Packing([shapes[i] for i in at], device)) for at in _portions(mine, shapes, device)]
        order = [i for at, _ in self.parts for i in at]
        back = sorted(range(len(order)), key=order.__getitem__)
        self._order = None if back == list(range(len(order))) else torch.tensor(back, device=self.device)
        self._gradients, self._other, self._old, self._new = ([Scratch(pack) for _, pack in self.parts] for _ in range(4))
        # no shards, no samples: an inner product over all is one of each part
        self._plain = not any(pack.big for _, pack in self.parts) and not any(processes.sharded)
        matrix = [p.dim() >= 2 and p.is_floating_point() for p in self.items]
        rows = [p.shape[0] ** 0.5 if m else 0.0 for p, m in zip(self.items, matrix, strict=True)]
        self._matrix = torch.tensor(matrix, device=self.device).to(wide(self.device))
        self._lecun = torch.tensor(rows, dtype=wide(self.device), device=self.device)
        """Norm of each matrix under LeCun's initialisation (variance 1 / fan_in): the square root of its rows."""
        self._start: list[Tensor] | None = None
        self._start_norm: Tensor | None = None
        self._past: tuple[list[Tensor], Tensor] | None = None
        """The gradients at the last call of ``cosine``, in ``_other``, and their square."""
        self._copies: list[list[Tensor | None]] = []
        self._masks: dict[bytes, Tensor] = {}
        self._norms_only: list[Scratch] | None = None
        """Where gradients are copied of which norms alone are read; ``_gradients`` keeps the others for ``cosine``."""
        self._in_scratch: Reading | None = None

    # ---- gradients

    def moved(self, reading: Reading, mine: Bools) -> bool:
        """Whether a gradient that was read, of those in ``mine``, was changed or replaced since."""
        now = _marks([p.grad for p in self.items])
        if any(self.processes.sharded):
            return True  # a fused operation on a DTensor moves no version counter: what was not clipped shows at the flush
        if now == reading.marks:
            return False
        return any(m and p and a != b for m, p, a, b in zip(mine, reading.present, reading.marks, now, strict=True))

    @torch.no_grad()
    def measure(self, *, full: bool, inverse_scale: Tensor | None = None) -> Reading:
        """Reads all gradients as they are now.

        ``full`` adds maxima and counts to the norms. ``inverse_scale`` undoes a loss scale; counts do not change under it.
        """
        grads = [p.grad for p in self.items]
        marks = _marks(grads)
        present = np.array([g is not None for g in grads], bool)
        tensors: list[Tensor | None] = grads
        dense = not (self.special or any(g is not None and g.layout is not torch.strided for g in grads))
        if not dense:
            tensors = [None if g is None else self._stored(g) for g in grads]
        whole = dense and bool(present.all())
        columns: dict[str, list[Tensor]] = {}
        if not full and self._norms_only is None:
            self._norms_only = [Scratch(pack) for _, pack in self.parts]
        for (at, pack), scratch in zip(self.parts, self._gradients if full else self._norms_only or [], strict=True):
            mine = tensors if len(self.parts) == 1 and self._order is None else [tensors[i] for i in at]
            flat = pack.load(scratch, mine, whole=whole)
            norms = pack.norms("gradient", flat, mine)
            columns.setdefault("grad_norm", []).append(norms)
            if full:
                columns.setdefault("grad_max", []).append(pack.maxima(flat, mine))
                columns.setdefault("zero_count", []).append(pack.zeros(flat, mine))
                columns.setdefault("nonfinite_count", []).append(pack.nonfinite(flat, mine, norms))
        of_all = {name: self._join(parts) for name, parts in columns.items()}
        of_all["grad_norm"] = self.processes.norms(of_all["grad_norm"])
        if full:
            of_all["grad_max"] = self.processes.maxima(of_all["grad_max"])
            of_all["zero_count"] = self.processes.sums(self._without_stored(of_all["zero_count"], grads))
            of_all["nonfinite_count"] = self.processes.sums(of_all["nonfinite_count"])
        if inverse_scale is not None:
            for name in ("grad_norm", "grad_max"):
                if name in of_all:
                    of_all[name] = of_all[name] * inverse_scale.to(of_all[name])
        reading = Reading(of_all, present, marks)
        if full:  # a large sparse gradient's entries are not where its like's are
            big = [g for g, t in zip(grads, tensors, strict=True) if g is not None and t is not None and t.numel() != g.numel()]
            self._in_scratch = reading if self.special or not big else None
        return reading

    def nothing(self, *, full: bool) -> Reading:
        """A reading of no gradient at all, for ``measure_some`` to fill."""
        names = ("grad_norm", "grad_max", "zero_count", "nonfinite_count") if full else ("grad_norm",)
        size = len(self.items)
        columns = {name: torch.zeros(size, dtype=wide(self.device), device=self.device) for name in names}
        return Reading(columns, np.zeros(size, bool), [0] * size)

    def measure_some(self, parameters: Sequence[Tensor], reading: Reading, *, inverse_scale: Tensor | None = None) -> None:
        """Reads these parameters' gradients into a reading that lacks them (an optimizer that steps inside backward)."""
        for p in parameters:
            i = self.place.get(p)  # type: ignore[call-overload]
            if i is None or reading.present[i] or p.grad is None:
                continue
            g = self._local(p.grad.detach())
            entries = g.numel() if p.grad.layout is torch.strided else p.grad.numel()
            norm = torch.linalg.vector_norm(g, dtype=wide(g.device))
            scale = 1.0 if inverse_scale is None else inverse_scale.to(norm)
            reading.present[i] = True
            found = {
                "grad_norm": norm * scale,
                "grad_max": (g.abs().amax() if g.numel() else norm) * scale,
                "zero_count": entries - torch.count_nonzero(g),
                "nonfinite_count": torch.count_nonzero(g - g),
            }
            for name, column in reading.columns.items():
                column[i] = found[name]

    def merged(self, one: Reading, other: Reading, mine: Bools) -> Reading:
        """The columns of both: those in ``mine`` from the other reading, the rest from the one."""
        if one is other or mine.all():
            return other
        take = self._mask(mine)
        columns = {n: torch.where(take, v, one.columns[n]) for n, v in other.columns.items() if n in one.columns}
        marks = [b if m else a for m, a, b in zip(mine, one.marks, other.marks, strict=True)]
        return Reading(columns, np.where(mine, other.present, one.present), marks)

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
        now = [scratch.flat for scratch in self._gradients]
        square = self._dot(now, now)
        self._past = (now, square)
        self._in_scratch = None
        self._gradients, self._other = self._other, self._gradients  # the next ones are not laid over these
        return None if past is None else self._dot(now, past[0]) / (square.sqrt() * past[1].sqrt())

    # ---- weights

    @property
    def watching(self) -> bool:
        """Whether the weights before this step are held already (several optimizers make one step)."""
        return bool(self._copies)

    @torch.no_grad()
    def before_step(self) -> None:
        """Copies the weights as they are before the optimizer's step."""
        self._copies = []
        for pack, weights in self._load_old():
            big = set(pack.big)
            self._copies.append([_kept(w) if j in big else None for j, w in enumerate(weights)])
        if self._start is None:
            self._keep_start()

    @torch.no_grad()
    def after_step(self) -> dict[str, Tensor]:
        """Weight and update norms (n,), and scalars of the step: its update, relative to the weights, and displacement."""
        if not self._copies or self._start is None or self._start_norm is None:
            return {}
        weight_norms, update_norms, moved = [], [], []
        for k, (at, pack) in enumerate(self.parts):
            weights = self._weights(at)
            new, old, copies = pack.load(self._new[k], weights, whole=True), self._old[k], self._copies[k]
            weight_norms.append(pack.norms("weight", new, weights))
            old.flat.sub_(new.flat)
            for copy, weight in zip(copies, weights, strict=True):
                if copy is not None:
                    copy.sub_(weight)
            update_norms.append(pack.norms("update", old, copies))
            moved.append(torch.sub(new.flat, self._start[k], out=old.flat))
        self._copies = []
        weight_norm = self.processes.norms(self._join(weight_norms))
        update_norm = self.processes.norms(self._join(update_norms))
        displacement = self._dot(moved, moved).sqrt()
        matrix_update = torch.linalg.vector_norm(update_norm * self._matrix)
        floor = torch.maximum(weight_norm * self._matrix, self._lecun)
        return {
            "weight_norm": weight_norm,
            "update_norm": update_norm,
            "total_update_norm": torch.linalg.vector_norm(update_norm),
            "relative_update": matrix_update / torch.linalg.vector_norm(floor),
            "displacement_norm": displacement,
            "displacement": displacement / self._start_norm,
        }

    def narrow(self, kind: str) -> bool:
        return any(pack.narrow(kind) for _, pack in self.parts)

    def learn(self, kind: str, norms: Floats) -> Bools:
        """See ``Packing.learn``; ``norms`` are (k, n) values that have reached the host."""
        trusted = np.ones(norms.shape, bool)
        for at, pack in self.parts:
            trusted[:, at] = pack.learn(kind, norms[:, at])
        return trusted

    def adopt(self) -> None:
        if any(self.processes.sharded):  # the processes could learn different things of their shards
            return
        for _, pack in self.parts:
            pack.adopt()

    # ---- going on

    def follow(self, earlier: Parameters) -> None:
        """Goes on from an earlier list: displacement is counted from where each parameter was first seen."""
        if earlier._start is None:
            return
        known: dict[nn.Parameter, Tensor] = {}
        for (at, pack), flat in zip(earlier.parts, earlier._start, strict=True):
            known.update((earlier.items[at[i]], piece) for i, piece in pack.pieces(flat).items())
        self._load_old()
        self._keep_start()
        for (at, pack), flat in zip(self.parts, self._start or [], strict=True):
            for i, piece in pack.pieces(flat).items():
                first = known.get(self.items[at[i]])
                if first is not None and first.shape == piece.shape:
                    piece.copy_(first)
        self._start_norm = self._dot(self._start or [], self._start or []).sqrt()

    def state_dict(self) -> dict[str, Any]:
        """What later values depend on: the weights at the start, the last gradients, and what was learnt of magnitudes."""
        careful, learnt = (
            [{kind: sorted(at) for kind, at in sets.items()} for sets in every]
            for every in ([pack.careful for _, pack in self.parts], [pack.learnt for _, pack in self.parts])
        )
        past = None if self._past is None else [flat.clone() for flat in self._past[0]]
        return {"start": self._start, "past": past, "careful": careful, "learnt": learnt}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        def placed(flats: Sequence[Tensor] | None) -> list[Tensor] | None:
            return None if flats is None else [f.to(s.flat, copy=True) for f, s in zip(flats, self._old, strict=True)]

        self._start, past = placed(state["start"]), placed(state["past"])
        self._past = None if past is None else (past, self._dot(past, past))
        self._start_norm = None if self._start is None else self._dot(self._start, self._start).sqrt()
        for (_, pack), careful, learnt in zip(self.parts, state["careful"], state["learnt"], strict=True):
            pack.careful = {kind: set(at) for kind, at in careful.items()}
            pack.learnt = {kind: set(at) for kind, at in learnt.items()}

    # ---- inside

    def _load_old(self) -> list[tuple[Packing, Sequence[Tensor]]]:
        """Copies the weights as they are into the scratch of the old ones."""
        loaded = []
        for (at, pack), scratch in zip(self.parts, self._old, strict=True):
            weights = self._weights(at)
            pack.load(scratch, weights, whole=True)
            loaded.append((pack, weights))
        return loaded

    def _weights(self, at: Sequence[int]) -> Sequence[Tensor]:
        """What this process holds of these parameters, to be read without gradient."""
        return [local(self.items[i].detach()) for i in at] if self.special else [self.items[i] for i in at]

    def _keep_start(self) -> None:
        self._start = [scratch.flat.clone() for scratch in self._old]
        self._start_norm = self._dot(self._start, self._start).sqrt()

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

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Values per device -> (n,) in list order on the first device."""
        if not parts:
            return torch.empty(0)
        whole = parts[0] if len(parts) == 1 else torch.cat([p.to(self.device) for p in parts])
        return whole if self._order is None else whole[self._order]

    def _dot(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Inner product over all parameters, a scalar."""
        if not self._plain:
            parts = [pack.dots(x, y) for (_, pack), x, y in zip(self.parts, a, b, strict=True)]
            return self.processes.sums(self._join(parts)).sum()
        return torch.stack([torch.dot(x, y).to(self.device) for x, y in zip(a, b, strict=True)]).sum()

    def _without_stored(self, zeros: Tensor, grads: Sequence[Tensor | None]) -> Tensor:
        """A sparse gradient's zeros are the entries that it does not store as well."""
        for i, g in enumerate(grads):
            if g is not None and g.layout is not torch.strided and g.numel() > SMALL:
                zeros[i] = g.numel() - torch.count_nonzero(local(g))
        return zeros
