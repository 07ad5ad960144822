"""Dense arrays, steps x entities: the form in which values are recorded, stored in memory and judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Entity = tuple[str, int]
"""A name and an index within it: the call for a layer, t for a time step, 0 for a parameter, ("", 0) for a step."""

NO_ENTITY: tuple[Entity, ...] = (("", 0),)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one table as they leave the recorder: ``steps`` (k,), ``entities`` (E), each column (k, E) float64.

    ``valid`` (k, E) says where a column has a value; a column without an entry there is valid throughout, a column that
    is missing altogether is null throughout. Steps ascend. What holds a block may hold it for long: its arrays are not to be
    written to.
    """

    table: str
    steps: Ints
    entities: tuple[Entity, ...]
    columns: Mapping[str, Floats]
    valid: Mapping[str, Bools] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.steps) * len(self.entities)

    @property
    def nbytes(self) -> int:
        return self.steps.nbytes + sum(c.nbytes for c in self.columns.values()) + sum(v.nbytes for v in self.valid.values())

    def only(self, name: str) -> Block:
        """The same block with the entities of one name."""
        at = [i for i, entity in enumerate(self.entities) if entity[0] == name]
        if len(at) == len(self.entities):
            return self
        columns = {column: values[:, at] for column, values in self.columns.items()}
        valid = {column: there[:, at] for column, there in self.valid.items()}
        return Block(self.table, self.steps, tuple(self.entities[i] for i in at), columns, valid)

    def at(self, step: int) -> Block:
        """The same block with one step alone."""
        return self._rows(np.flatnonzero(self.steps == step), self.columns)

    def among(self, steps: Ints, column: str) -> Block:
        """One column of the block, if it has it, at those of its steps that are among these."""
        return self._rows(np.flatnonzero(np.isin(self.steps, steps)), [column])

    def _rows(self, rows: Ints, names: Iterable[str]) -> Block:
        columns = {name: self.columns[name][rows] for name in names if name in self.columns}
        valid = {name: self.valid[name][rows] for name in columns if name in self.valid}
        return Block(self.table, self.steps[rows], self.entities, columns, valid)


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """One column of one table: ``values`` and ``present`` are (S, E); where not present, the value is NaN and means nothing."""

    column: str
    steps: Ints
    entities: tuple[Entity, ...]
    values: Floats
    present: Bools

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.entities)

    def __repr__(self) -> str:
        return f"<Grid {self.column!r}, {len(self.steps):,} steps x {len(self.entities):,}>"

    @property
    def empty(self) -> bool:
        return not self.present.any()

    def only(self, entities: Iterable[Entity]) -> Grid:
        """The same grid with these entities, in this order; those that it lacks are left out."""
        place = {e: i for i, e in enumerate(self.entities)}
        kept = tuple(e for e in entities if e in place)
        if kept == self.entities:
            return self
        at = [place[e] for e in kept]
        values: Floats = self.values.T.take(at, axis=0).T  # the values of one entity stay together
        present: Bools = self.present.T.take(at, axis=0).T
        return Grid(self.column, self.steps, kept, values, present)

    def at(self, rows: Ints) -> Grid:
        """The same grid with these rows alone."""
        return Grid(self.column, self.steps[rows], self.entities, self.values[rows], self.present[rows])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (
            self.column == other.column
            and self.entities == other.entities
            and np.array_equal(self.steps, other.steps)
            and np.array_equal(self.present, other.present)
            and np.array_equal(self.values, other.values, equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]


def union(pieces: Sequence[Ints]) -> Ints:
    """All steps once, ascending; quick where they do already."""
    steps = np.concatenate([np.empty(0, np.int64), *pieces])
    if (np.diff(steps) > 0).all():
        return steps
    steps = np.sort(steps, kind="stable")
    return steps[np.diff(steps, prepend=steps[0] - 1) > 0]


def assemble(column: str, blocks: Sequence[Block]) -> Grid:
    """One column of many blocks as one grid: the union of their steps (ascending) and entities (as first seen).

    Where blocks share rows, a value that is present stands, whichever block has it. The arrays may be the blocks' own: they
    are not to be written to.
    """
    blocks = [b for b in blocks if b.rows]
    if len(blocks) == 1 and column in blocks[0].columns and (np.diff(blocks[0].steps) > 0).all():
        return _alone(column, blocks[0])
    entities = tuple(dict.fromkeys(e for b in blocks for e in b.entities))
    steps = union([b.steps for b in blocks])
    values = np.full((len(steps), len(entities)), np.nan)
    present = np.zeros(values.shape, bool)
    place = {e: i for i, e in enumerate(entities)}
    for block in blocks:
        if column not in block.columns:
            continue
        at = np.ix_(np.searchsorted(steps, block.steps), np.array([place[e] for e in block.entities]))
        ok = block.valid.get(column)
        values[at] = block.columns[column] if ok is None else np.where(ok, block.columns[column], values[at])
        present[at] = True if ok is None else present[at] | ok
    return Grid(column, steps, entities, values, present)


def _alone(column: str, block: Block) -> Grid:
    values = np.asarray(block.columns[column], np.float64)
    present = block.valid.get(column)
    if present is None:
        present = np.ones(values.shape, bool)
    elif not np.isnan(values[~present]).all():
        values = np.where(present, values, np.nan)
    return Grid(column, block.steps, block.entities, values, present)
