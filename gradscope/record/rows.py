"""Tidy rows, as they stand in files: blocks become Arrow rows, sorted rows become blocks again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradscope.record.grid import NO_ENTITY, Block, Bools, Entity, Floats, Ints
from gradscope.record.schema import TABLES, Column, Table

_TYPES = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}


def arrow_schema(table: Table) -> pa.Schema:
    """The keys of a table, then its columns. Keys are never null; a value is null where it is absent."""
    keys = [pa.field(key, pa.string() if key == table.entity else pa.int64(), nullable=False) for key in table.keys]
    return pa.schema(keys + [pa.field(column.name, _TYPES[column.dtype]) for column in table.columns])


def to_batch(block: Block) -> pa.RecordBatch:
    """The rows of a block, step by step. Raises ``ValueError`` for a column that its table does not have."""
    table = TABLES[block.table]
    if unknown := set(block.columns) - set(table.column_names):
        raise ValueError(f"table {table.name!r} has no column {min(unknown)!r}")
    times, entities = len(block.steps), block.entities
    arrays = [pa.array(np.repeat(block.steps, len(entities)))]
    if table.entity:
        arrays.append(pa.array([name for name, _ in entities]).take(pa.array(np.tile(np.arange(len(entities)), times))))
    if table.index:
        arrays.append(pa.array(np.tile(np.array([index for _, index in entities], np.int64), times)))
    arrays += [_column(block, column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(table))


def _column(block: Block, column: Column) -> pa.Array:
    kind = _TYPES[column.dtype]
    if column.name not in block.columns:
        return pa.nulls(block.rows, kind)
    values = np.ascontiguousarray(block.columns[column.name], np.float64).ravel()
    valid = block.valid.get(column.name)
    absent = None if valid is None else ~np.ascontiguousarray(valid).ravel()
    if column.dtype != "float64":  # counts and flags have no NaN: what is not a number there was not read
        unread = ~np.isfinite(values)
        absent = unread if absent is None else unread | absent
        values = np.where(absent, 0, values).astype(column.dtype)
    return pa.array(values, kind, mask=absent)


@dataclass(frozen=True, eq=False)
class Layout:
    """Whose rows stand where, in rows sorted by entity, then step.

    ``counts`` (E,) are the rows of each entity. ``shared`` says that all entities have the same steps: then the rows are a
    dense array (entities x steps). ``first`` and ``last`` are the least and the greatest step.
    """

    entities: tuple[Entity, ...]
    counts: Ints
    shared: bool
    first: int
    last: int

    @cached_property
    def starts(self) -> Ints:
        """(E + 1,): the first row of each entity, and the number of all rows."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def rows(self) -> int:
        return int(self.starts[-1])

    def of(self, name: str) -> tuple[Layout, int]:
        """The layout of one name's rows alone, and the row at which they start."""
        at = [i for i, entity in enumerate(self.entities) if entity[0] == name]
        start, stop = (at[0], at[-1] + 1) if at else (0, 0)
        return self.part(start, stop), int(self.starts[start])

    def part(self, start: int, stop: int) -> Layout:
        """The layout of the entities ``start`` up to ``stop``."""
        return Layout(self.entities[start:stop], self.counts[start:stop], self.shared, self.first, self.last)

    def to_json(self) -> str:
        entities = [[name, index, int(count)] for (name, index), count in zip(self.entities, self.counts, strict=True)]
        return json.dumps({"entities": entities, "shared_steps": self.shared, "steps": [self.first, self.last]})

    @classmethod
    def from_json(cls, text: str | bytes) -> Layout:
        data = json.loads(text)
        entities = tuple((str(name), int(index)) for name, index, _ in data["entities"])
        counts = np.array([count for _, _, count in data["entities"]], np.int64)
        return cls(entities, counts, bool(data["shared_steps"]), *map(int, data["steps"]))


class Source(Protocol):
    """Sorted rows, wherever they are."""

    @property
    def layout(self) -> Layout: ...

    def read(self, columns: list[str], start: int, stop: int) -> pa.Table:
        """These rows; a column that the source does not have is left out."""
        ...


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Sorted rows in memory."""

    table: pa.Table
    layout: Layout

    def read(self, columns: list[str], start: int, stop: int) -> pa.Table:
        return self.table.select(columns).slice(start, stop - start)


def sort_rows(rows: pa.Table, table: Table) -> SortedRows:
    """Rows of a table sorted by entity, then step; of rows with the same keys one is made."""
    rows = rows.combine_chunks()
    steps = rows["step"].to_numpy()
    ids, entities = _entities(rows, table)
    in_order = bool((np.diff(steps) >= 0).all())
    order = np.argsort(ids, kind="stable") if in_order else np.lexsort((steps, ids))
    if not np.array_equal(order, np.arange(len(order))):
        rows, steps, ids = rows.take(pa.array(order)), steps[order], ids[order]
    again = (np.diff(ids) == 0) & (np.diff(steps) == 0)
    if again.any():
        group = np.concatenate([[0], np.cumsum(~again)])
        firsts = np.flatnonzero(np.diff(group, prepend=-1))
        rows, steps, ids = _united(rows, table, group, firsts), steps[firsts], ids[firsts]
    counts = np.bincount(ids, minlength=len(entities))
    shared = bool((counts == counts[0]).all()) if len(entities) else True
    if shared and len(entities) > 1:
        shared = bool((np.diff(steps.reshape(len(entities), -1), axis=0) == 0).all())
    span = (int(steps.min()), int(steps.max())) if len(steps) else (0, -1)
    return SortedRows(rows, Layout(entities, counts, shared, *span))


def _entities(rows: pa.Table, table: Table) -> tuple[Ints, tuple[Entity, ...]]:
    """The place (n,) of each row's entity among the entities, which are sorted by name, then index."""
    if table.entity is None:
        return np.zeros(rows.num_rows, np.uint16), NO_ENTITY if rows.num_rows else ()
    coded = pa.chunked_array(rows[table.entity]).combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    names: list[str] = coded.dictionary.to_pylist()
    rank = np.empty(len(names), np.int64)
    by_name = sorted(range(len(names)), key=names.__getitem__)
    rank[by_name] = np.arange(len(names))
    ids = rank[coded.indices.to_numpy()]
    if table.index is None:
        entities: tuple[Entity, ...] = tuple((names[i], 0) for i in by_name)
    else:
        index = rows[table.index].to_numpy()
        spread = int(index.max()) + 1 if len(index) else 1
        keys, ids = np.unique(ids * spread + index, return_inverse=True)
        entities = tuple((names[by_name[key // spread]], int(key % spread)) for key in keys)
    return ids.astype(np.uint16 if len(entities) <= 1 << 16 else np.int64), entities  # 16 bits sort by radix


def _united(rows: pa.Table, table: Table, group: Ints, firsts: Ints) -> pa.Table:
    """One row for each group (n,) of rows with the same keys, which begin at ``firsts``; each value is the one present."""
    arrays: list[Any] = [rows[key].take(pa.array(firsts)) for key in table.keys]
    for column in table.columns:
        (there,) = np.nonzero(rows[column.name].is_valid().to_numpy())
        at = np.full(len(firsts), -1)
        at[group[there]] = there
        arrays.append(rows[column.name].take(pa.array(at, mask=at < 0)))
    return pa.Table.from_arrays(arrays, schema=rows.schema)


def to_block(source: Source, table: Table, column: str, name: str | None = None, upto: int | None = None) -> Block:
    """One column as a block, of one name alone where one is given, without the steps after ``upto``. Reads nothing else."""
    layout, start = source.layout.of(name) if name is not None else (source.layout, 0)
    stop = start + layout.rows
    if not layout.rows:
        return Block(table.name, np.empty(0, np.int64), (), {})
    if layout.shared:
        steps = source.read(["step"], start, start + int(layout.counts[0]))["step"].to_numpy()
        values, valid = _numbers(source.read([column], start, stop), column, layout.rows)
        kept = len(steps) if upto is None else int(np.searchsorted(steps, upto, side="right"))
        dense = values.reshape(len(layout.entities), -1).T[:kept]
        there = valid.reshape(len(layout.entities), -1).T[:kept]
        return Block(table.name, steps[:kept], layout.entities, {column: dense}, {column: there})
    read = source.read(["step", column], start, stop)
    (values, valid), steps = _numbers(read, column, layout.rows), read["step"].to_numpy()
    owner = np.repeat(np.arange(len(layout.entities)), layout.counts)
    if upto is not None and layout.last > upto:
        kept = steps <= upto
        values, valid, steps, owner = values[kept], valid[kept], steps[kept], owner[kept]
    seen, owner = np.unique(owner, return_inverse=True)
    union, row = np.unique(steps, return_inverse=True)
    dense, there = np.full((len(union), len(seen)), np.nan), np.zeros((len(union), len(seen)), bool)
    dense[row, owner], there[row, owner] = values, valid
    return Block(table.name, union, tuple(layout.entities[i] for i in seen), {column: dense}, {column: there})


def _numbers(rows: pa.Table, column: str, count: int) -> tuple[Floats, Bools]:
    """Values, NaN where absent, and whether there is one; all absent where the source has no such column."""
    if column not in rows.column_names:
        return np.full(count, np.nan), np.zeros(count, bool)
    values = rows[column]
    if values.type != pa.float64():
        values = pc.cast(values, pa.float64(), safe=False)
    valid = values.is_valid().to_numpy() if values.null_count else np.ones(count, bool)
    return values.to_numpy(), valid
