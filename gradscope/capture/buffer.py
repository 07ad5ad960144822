"""Values wait here on the device until a flush brings all of them to the host in one copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gradscope.record.grid import NO_ENTITY, Block, Bools, Entity, Floats

Check = Callable[[str, Floats], Bools | None]
"""Given a column's name and its (k, E) values on the host, which of them can be trusted; None is all."""


@dataclass
class Pending:
    """One step's rows of one table: host values as numbers or (E,) arrays, device values as tensors of E entries."""

    table: str
    step: int
    entities: tuple[Entity, ...] = NO_ENTITY
    host: dict[str, float | Floats] = field(default_factory=dict)
    device: dict[str, Tensor] = field(default_factory=dict)
    valid: dict[str, Bools] = field(default_factory=dict)
    check: Check | None = None

    @property
    def layout(self) -> tuple[object, ...]:
        return (self.table, self.entities, tuple(self.host), tuple(self.device), self.check)


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
        arrived = iter(_to_host([t for row in rows for t in row.device.values()]))
        groups: dict[tuple[object, ...], list[tuple[Pending, dict[str, Floats]]]] = {}
        for row in rows:
            values = {name: next(arrived) for name in row.device}
            groups.setdefault(row.layout, []).append((row, values))
        return [_block(group) for group in groups.values()]


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
            ends = np.cumsum([tensors[i].numel() for i in same])
            for i, piece in zip(same, np.split(flat, ends[:-1]), strict=True):
                result[i] = piece
    return result


def _block(group: list[tuple[Pending, dict[str, Floats]]]) -> Block:
    first = group[0][0]
    width = len(first.entities)
    steps = np.array([row.step for row, _ in group], np.int64)
    columns: dict[str, Floats] = {}
    valid: dict[str, Bools] = {}
    for name in (*first.host, *first.device):
        stacked = np.empty((len(group), width))
        for i, (row, values) in enumerate(group):
            stacked[i] = values[name] if name in values else row.host[name]
        columns[name] = stacked
        if any(name in row.valid for row, _ in group):
            valid[name] = np.stack([row.valid.get(name, np.ones(width, bool)) for row, _ in group])
        if first.check is not None and (trusted := first.check(name, stacked)) is not None and not trusted.all():
            valid[name] = valid.get(name, np.ones(stacked.shape, bool)) & trusted
    return Block(first.table, steps, first.entities, columns, valid)


def merged(host: Mapping[str, float | None]) -> dict[str, float | Floats]:
    """Host values without those that are absent."""
    return {name: float(value) for name, value in host.items() if value is not None}
