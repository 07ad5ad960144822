"""What is read of the weights: their norms, what a step changed, and how far they have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.capture.packing import NARROW, PLAIN, Packing, Scratch, kinds_of, wide
from gradscope.capture.portions import Portions


class Weights:
    """The weights before and after a step, and at the start."""

    def __init__(self, portions: Portions) -> None:
        self.portions = portions
        self._old = portions.scratches()
        items, device = portions.items, portions.device
        matrix = [p.dim() >= 2 and p.is_floating_point() for p in items]
        rows = [p.shape[0] ** 0.5 if m else 0.0 for p, m in zip(items, matrix, strict=True)]
        self._matrix = torch.tensor(matrix, device=device).to(wide(device))
        self._lecun = torch.tensor(rows, dtype=wide(device), device=device)
        """Norm of each matrix under LeCun's initialisation (variance 1 / fan_in): the square root of its rows."""
        self._start: list[Scratch] | None = None
        self._start_norm: Tensor | None = None
        self._copies: list[list[Tensor | None]] = []
        """Of the large weights before the step, by portion."""
        self.watching = False
        """Whether the weights before this step are held already (several optimizers make one step)."""
        self._wide = any(p.dtype not in NARROW for p in items)
        """Whether weights are kept in float64."""
        self._alike = False
        """Whether all weights are plain ones of float32, as they were seen before the step."""

    @torch.no_grad()
    def before_step(self) -> None:
        """Copies the weights as they are before the optimizer's step."""
        earlier, self._copies = self._copies, []
        for k, (pack, weights) in enumerate(self._load_old()):
            copies: list[Tensor | None] = earlier[k] if earlier else [None] * len(weights)
            for j in pack.big:
                copies[j] = _kept(weights[j], copies[j])
            self._copies.append(copies)
        self.watching = True
        if self._start is None:
            self._begin_at([scratch.flat for scratch in self._old])

    @torch.no_grad()
    def not_stepped(self) -> None:
        """After a step that no optimizer took: displacement is counted from its weights too, if it is the first."""
        if self._start is None:
            self._load_old()
            self._begin_at([scratch.flat for scratch in self._old])

    @torch.no_grad()
    def after_step(self) -> dict[str, Tensor]:
        """Weight and update norms (n,), and scalars of the step: its update, relative to the weights, and displacement."""
        if not self.watching or self._start is None or self._start_norm is None:
            return {}
        weight_norms, update_norms, moved = [], [], []
        for k, (at, pack) in enumerate(self.portions.parts):
            weights = self.portions.weights(at)
            passing, copies = self.portions.passing[k], self._copies[k]
            pack.load(passing, weights, whole=True, alike=self._alike)
            new = self.portions.one[k].widened(passing)
            weight_norms.append(pack.norms(new, weights))
            change = self.portions.other[k].widened(self._old[k])
            change.flat.sub_(new.flat)
            for j in pack.big:
                if (copy := copies[j]) is not None:
                    copy.sub_(weights[j])
            update_norms.append(pack.norms(change, copies))
            way = change.widened(self._start[k])
            way.flat.sub_(new.flat)
            moved.append(self.portions.product(k, way, way))
        self.watching = False
        if not self.portions.on_cpu:  # there memory is dear, and costs nothing to take again
            self._copies = []
        weight_norm = self.portions.processes.norms(self.portions.join(weight_norms))
        update_norm = self.portions.processes.norms(self.portions.join(update_norms))
        displacement = self.portions.total(moved).sqrt()
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

    def rest(self) -> None:
        """Before a step that does not read them: no memory is kept for their like."""
        self._copies = []

    def follow(self, earlier: Weights) -> None:
        """Goes on from an earlier list: displacement is counted from where each parameter was first seen."""
        if earlier._start is None:
            return
        known: dict[nn.Parameter, Tensor] = {}
        for (at, pack), scratch in zip(earlier.portions.parts, earlier._start, strict=True):
            known.update((earlier.portions.items[at[i]], piece) for i, piece in pack.pieces(scratch.flat).items())
        self._load_old()
        self._begin_at([scratch.flat for scratch in self._old])
        for (at, pack), scratch in zip(self.portions.parts, self._start or [], strict=True):
            for i, piece in pack.pieces(scratch.flat).items():
                first = known.get(self.portions.items[at[i]])
                if first is not None and first.shape == piece.shape:
                    piece.copy_(first)
        self._start_norm = self.portions.dot(self._start or [], self._start or []).sqrt()

    def state_dict(self) -> dict[str, Any]:
        return {"start": None if self._start is None else [scratch.flat for scratch in self._start]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if (start := state["start"]) is not None:
            self._begin_at(start)

    def _load_old(self) -> list[tuple[Packing, Sequence[Tensor]]]:
        """Copies the weights as they are into the scratch of the old ones."""
        loaded = []
        kinds = kinds_of(self.portions.items)
        self._alike = not self.portions.special and kinds == PLAIN
        if not self._alike and not self._wide and any(dtype not in NARROW for dtype, _ in kinds):
            self._widen()  # the model has become one of float64
        for (at, pack), scratch in zip(self.portions.parts, self._old, strict=True):
            weights = self.portions.weights(at)
            pack.load(scratch, weights, whole=True, alike=self._alike)
            loaded.append((pack, weights))
        return loaded

    def _widen(self) -> None:
        self._wide = True
        self.portions.widen()
        self._old = self.portions.scratches(wide)
        if self._start is not None:
            self._begin_at([scratch.flat for scratch in self._start])

    def _begin_at(self, flats: Sequence[Tensor]) -> None:
        """Counts displacement from these entries, one flat tensor a portion."""
        self._start = self.portions.scratches(wide if self._wide else None)
        for scratch, flat in zip(self._start, flats, strict=True):
            scratch.flat.copy_(flat)
        self._start_norm = self.portions.dot(self._start, self._start).sqrt()


def _kept(weight: Tensor, place: Tensor | None) -> Tensor:
    """A copy, in float32 where a difference of two would not be exact; in the place of an earlier one that is like it."""
    dtype = torch.float32 if weight.element_size() < 4 else weight.dtype
    if place is None or place.dtype != dtype or place.shape != weight.shape:
        return weight.to(dtype, copy=True)
    return place.copy_(weight)
