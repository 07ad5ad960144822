"""Values wait here on the device until a flush brings all of them to the host in one copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.record.grid import NO_ENTITY, Block, Bools, Entity, Floats

Complete = Callable[[Mapping[str, Floats]], tuple[dict[str, Floats], dict[str, Bools]]]
"""Turns values (k, m) of k steps, arrived on the host, into columns (k, E) and where they are valid."""


@dataclass(slots=True)
class Pending:
    """One step's rows of one table: host values as numbers or (E,) arrays, device values as tensors of E entries.

    With ``complete``, the device values may be of any length; it makes columns of them once they have arrived. Rows with an
    equal one and the same layout are completed together.
    """

    table: str
    step: int
    entities: tuple[Entity, ...] = NO_ENTITY
    host: dict[str, float | Floats] = field(default_factory=dict)
    device: dict[str, Tensor] = field(default_factory=dict)
    valid: dict[str, Bools] = field(default_factory=dict)
    complete: Complete | None = None


class Buffer:
    """Collects ``Pending`` rows; ``drain`` turns them into blocks, steps of one layout together."""

    def __init__(self) -> None:
        self._rows: list[Pending] = []
        self.size = 0

    def add(self, row: Pending) -> None:
        self._rows.append(row)
        self.size += len(row.entities) * (len(row.device) + len(row.host))

    def drain(self) -> list[Block]:
        """Waits for the device once."""
        rows, self._rows, self.size = self._rows, [], 0
        alike: dict[tuple[object, ...], list[Pending]] = {}
        for row in rows:
            device = tuple([(name, t.numel(), t.dtype, t.device) for name, t in row.device.items()])
            alike.setdefault((row.table, row.entities, tuple(row.host), device, tuple(row.valid), row.complete), []).append(row)
        groups = list(alike.values())
        arrived = iter(_to_host([[row.device[name] for row in group] for group in groups for name in group[0].device]))
        return [_block(group, {name: next(arrived) for name in group[0].device}) for group in groups]


def _block(group: list[Pending], arrived: dict[str, Floats]) -> Block:
    first = group[0]
    shape = (len(group), len(first.entities))
    columns, found = (arrived, {}) if first.complete is None else first.complete(arrived)
    host = {name: _stacked([row.host[name] for row in group], shape[1]) for name in first.host}
    valid = {name: np.stack([row.valid[name] for row in group]) for name in first.valid}
    for name, ok in found.items():
        valid[name] = valid[name] & ok if name in valid else np.broadcast_to(ok, shape)
    return Block(first.table, np.array([row.step for row in group], np.int64), first.entities, {**columns, **host}, valid)


def _stacked(values: list[Any], entities: int) -> Floats:
    """(k, entities), of rows or of numbers that hold for all entities."""
    return np.stack(values) if isinstance(values[0], np.ndarray) else np.repeat(np.array(values, float)[:, None], entities, 1)


def _to_host(groups: list[list[Tensor]]) -> list[Floats]:
    """Tensors of one size, type and device as a float64 array (k, size) each; one copy per device, not one per tensor."""
    result: list[Floats] = [np.empty(0)] * len(groups)
    places: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensors in enumerate(groups):
        # float32 and float64 are joined apart: promoting in cat would be one more pass over everything
        places.setdefault((tensors[0].device, tensors[0].dtype), []).append(i)
    with torch.no_grad():
        for at in places.values():
            flat = (
                torch.cat([t if t.dim() == 1 else t.reshape(-1) for i in at for t in groups[i]]).cpu().to(torch.float64).numpy()
            )
            begin = 0
            for i in at:
                end = begin + len(groups[i]) * groups[i][0].numel()
                result[i] = flat[begin:end].reshape(len(groups[i]), -1)
                begin = end
    return result
