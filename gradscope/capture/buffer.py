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
"""Turns a step's values, arrived on the host, into columns (E,) and where they are valid."""


@dataclass(slots=True)
class Pending:
    """One step's rows of one table: host values as numbers or (E,) arrays, device values as tensors of E entries.

    With ``complete``, the device values may be of any length; it makes columns of them once they have arrived.
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
        plain: dict[tuple[str, tuple[str, ...]], list[Pending]] = {}
        for row in rows:  # most steps have nothing but numbers of the host
            if not row.device and row.entities is NO_ENTITY:
                plain.setdefault((row.table, tuple(row.host)), []).append(row)
        rows = [row for row in rows if row.device or row.entities is not NO_ENTITY]
        arrived = iter(_to_host([t for row in rows for t in row.device.values()]))
        groups: dict[tuple[object, ...], list[_Arrived]] = {}
        for row in rows:
            values = {name: next(arrived) for name in row.device}
            columns: Mapping[str, float | Floats]
            columns, valid = (values, row.valid) if row.complete is None else row.complete(values)
            columns = {**columns, **row.host}
            layout = (row.table, row.entities, tuple(columns))
            both = {name: ok & row.valid[name] if name in row.valid else ok for name, ok in valid.items()}
            groups.setdefault(layout, []).append((row.step, columns, {**row.valid, **both}))
        return [_numbers(*layout, some) for layout, some in plain.items()] + [_block(*found) for found in groups.items()]


def _numbers(table: str, names: tuple[str, ...], rows: list[Pending]) -> Block:
    steps = np.array([row.step for row in rows], np.int64)
    return Block(table, steps, NO_ENTITY, {n: np.array([row.host[n] for row in rows], np.float64)[:, None] for n in names}, {})


def _to_host(tensors: list[Tensor]) -> list[Floats]:
    """Each tensor as a flat float64 array; one copy per device, not one per tensor."""
    result: list[Floats] = [np.empty(0)] * len(tensors)
    places: dict[torch.device, list[int]] = {}
    for i, t in enumerate(tensors):
        places.setdefault(t.device, []).append(i)
    for at in places.values():
        # float32 and float64 are joined apart: promoting in cat would be one more pass over everything
        for dtype in {tensors[i].dtype for i in at}:
            same = [i for i in at if tensors[i].dtype is dtype]
            flat = torch.cat([tensors[i].detach().reshape(-1) for i in same]).cpu().to(torch.float64).numpy()
            begin = 0
            for i in same:
                end = begin + tensors[i].numel()
                result[i] = flat[begin:end]
                begin = end
    return result


_Arrived = tuple[int, Mapping[str, float | Floats], dict[str, Bools]]


def _block(layout: tuple[Any, ...], group: list[_Arrived]) -> Block:
    table, entities, names = layout
    full = np.ones(len(entities), bool)
    valid = {
        name: np.stack([mine.get(name, full) for _, _, mine in group]) for name in names if any(name in m for _, _, m in group)
    }
    columns = {name: _stacked([mine[name] for _, mine, _ in group], len(entities)) for name in names}
    return Block(table, np.array([step for step, _, _ in group], np.int64), entities, columns, valid)


def _stacked(values: list[Any], entities: int) -> Floats:
    """(steps, entities), of rows or of numbers that hold for all entities."""
    return np.stack(values) if isinstance(values[0], np.ndarray) else np.repeat(np.array(values, float)[:, None], entities, 1)


def merged(host: Mapping[str, float | None]) -> dict[str, float | Floats]:
    """Host values without those that are absent."""
    return {name: float(value) for name, value in host.items() if value is not None}
