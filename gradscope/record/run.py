"""``Run``: a recorded training, live or loaded, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from gradscope.record import notebook
from gradscope.record.grid import Block, Entity, Grid, Ints, assemble, union
from gradscope.record.manifest import Catalogue, Manifest, Status
from gradscope.record.schema import TABLES

Rank = Callable[[Entity], tuple[int, str, int]]
"""Sort key of an entity."""


class TableData(Protocol):
    """Where a run's values come from: blocks in memory, or files."""

    def grid(self, column: str, rank: Rank, steps: Ints | None = None) -> Grid:
        """A column, (steps x entities), whole or at these steps; its entities in the order of ``rank`` if that is cheap."""
        ...

    def extent(self) -> tuple[Ints, int]:
        """The steps at which the table has any row, and the number of its entities; reads no values."""
        ...

    def series(self, column: str, name: str) -> Grid:
        """The same for one entity name alone (all its calls or time steps) at its own steps, without reading the others."""
        ...

    def at(self, column: str, step: int) -> Grid:
        """The same at one step alone, without reading what was stored of steps far from it."""
        ...


class MemoryTable:
    """A table held in memory as the blocks that were recorded."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks

    def grid(self, column: str, rank: Rank, steps: Ints | None = None) -> Grid:
        return assemble(column, self.blocks if steps is None else [block.among(steps, column) for block in self.blocks])

    def extent(self) -> tuple[Ints, int]:
        return union([block.steps for block in self.blocks]), len({e for block in self.blocks for e in block.entities})

    def series(self, column: str, name: str) -> Grid:
        return assemble(column, [alone for block in self.blocks if (alone := block.only(name)).rows])

    def at(self, column: str, step: int) -> Grid:
        return assemble(column, [alone for block in self.blocks if (alone := block.at(step)).rows])


class Run:
    """What was recorded of one training.

    ``grid("parameters", "grad_norm")`` is the dense array (steps x parameters) of a column; rows are the steps at which that
    table has any row, entities stand in forward order as the catalogue has them. A live run and the same run loaded from
    its folder compare equal.
    """

    def __init__(self, manifest: Manifest, tables: Mapping[str, TableData], path: Path | None = None) -> None:
        self.manifest = manifest
        self.path = path
        self._tables = dict(tables)
        self._cache: dict[tuple[str, str], Grid] = {}
        self._thinned: dict[int | None, tuple[dict[tuple[str, str], Grid], dict[str, Ints | None]]] = {}
        """What ``record.thinned`` has read, by the last step that counts: grids, and each table's steps."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def status(self) -> Status:
        return self.manifest.status

    @property
    def catalogue(self) -> Catalogue:
        return self.manifest.catalogue

    @property
    def step_count(self) -> int:
        return len(self.grid("steps", "loss").steps)

    def grid(self, table: str, column: str) -> Grid:
        """Raises ``KeyError`` for a table or column that the schema does not have."""
        schema = TABLES[table]
        if column not in schema.column_names:
            raise KeyError(f"table {table!r} has no column {column!r}")
        key = (table, column)
        if key not in self._cache:
            self._cache[key] = self._read(table, column)
        return self._cache[key]

    def series(self, table: str, column: str, name: str) -> Grid:
        """One layer's or parameter's values alone, at the steps that it has rows for; reads no other's."""
        if column not in TABLES[table].column_names:
            raise KeyError(f"table {table!r} has no column {column!r}")
        data = self._tables.get(table)
        grid = data.series(column, name) if data else assemble(column, [])
        return grid.only(sorted(grid.entities))

    def at(self, table: str, column: str, step: int) -> Grid:
        """All layers or parameters at one step alone: one row, or none where the table has nothing there."""
        if column not in TABLES[table].column_names:
            raise KeyError(f"table {table!r} has no column {column!r}")
        if (whole := self._cache.get((table, column))) is not None:
            return whole.at(np.flatnonzero(whole.steps == step))
        data = self._tables.get(table)
        grid = data.at(column, step) if data else assemble(column, [])
        return grid.only(sorted(grid.entities, key=self._rank(table)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return NotImplemented
        return self.manifest == other.manifest and all(
            self.grid(t, c) == other.grid(t, c) for t, schema in TABLES.items() for c in schema.column_names
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.status.value}, {self.step_count} steps, {len(self.catalogue.layers)} layers>"

    def _repr_html_(self) -> str:
        return notebook.of_run(self)

    def _read(self, table: str, column: str, steps: Ints | None = None) -> Grid:
        data, rank = self._tables.get(table), self._rank(table)
        grid = data.grid(column, rank, steps) if data else assemble(column, [])
        return grid.only(sorted(grid.entities, key=rank))

    def _rank(self, table: str) -> Rank:
        catalogue = self.catalogue
        names = [p.name for p in catalogue.parameters] if table == "parameters" else [i.name for i in catalogue.layers]
        return _Rank({name: i for i, name in enumerate(names)})


class _Rank:
    """Sort key of an entity: forward order, those that the catalogue lacks last, by name."""

    def __init__(self, order: dict[str, int]) -> None:
        self.order = order

    def __call__(self, entity: Entity) -> tuple[int, str, int]:
        return (self.order.get(entity[0], len(self.order)), entity[0], entity[1])
