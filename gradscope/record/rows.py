"""Sorted rows: a table by entity, then step, with a layout that says whose rows stand where; and the blocks they make."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gradscope.record.arrow import arrow_schema, present, repeated, to_arrow, to_numpy
from gradscope.record.grid import NO_ENTITY, Block, Bools, Entity, Floats, Ints, union
from gradscope.record.run import Rank
from gradscope.record.schema import Table

_ENDLESS = np.iinfo(np.int64).max


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

    @property
    def owners(self) -> Ints:
        """(rows,): the place of each row's entity."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def between(self, first: Entity, last: Entity) -> tuple[Layout, int]:
        """The layout of the entities from ``first`` to ``last`` alone, and the row at which they start."""
        start, stop = bisect_left(self.entities, first), bisect_right(self.entities, last)
        shared = self.shared or stop - start == 1
        here = Layout(self.entities[start:stop], self.counts[start:stop], shared, self.first, self.last)
        return here, int(self.starts[start])

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

    def read(self, columns: list[str], spans: Sequence[tuple[int, int]]) -> pa.Table:
        """The rows from here up to there, span after span; a column that the source does not have is left out."""
        ...


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Sorted rows in memory: ``table`` has their steps and values, whose they are stands in the layout."""

    table: pa.Table
    layout: Layout

    def read(self, columns: list[str], spans: Sequence[tuple[int, int]]) -> pa.Table:
        rows = self.table.select([column for column in columns if column in self.table.column_names])
        return pa.concat_tables([rows.slice(start, stop - start) for start, stop in spans])

    def between(self, first: Entity, last: Entity) -> SortedRows | None:
        """The rows of the entities from ``first`` to ``last`` alone, if there are any."""
        here, start = self.layout.between(first, last)
        return SortedRows(self.table.slice(start, here.rows), here) if here.rows else None

    def with_keys(self, table: Table) -> pa.Table:
        """The tidy rows, as ``arrow_schema`` has them."""
        keys, layout = [], self.layout
        if table.entity:
            keys.append(repeated([name for name, _ in layout.entities], layout.owners))
        if table.index:
            keys.append(to_arrow(np.array([index for _, index in layout.entities], np.int64)[layout.owners]))
        return pa.Table.from_arrays([self.table["step"], *keys, *self.table.columns[1:]], schema=arrow_schema(table))

    def before(self, step: int) -> SortedRows:
        """Those of the rows that are of an earlier step."""
        if self.layout.last < step:
            return self
        kept = to_numpy(self.table["step"]) < step
        return _sorted(self.table.filter(to_arrow(kept)), self.layout.owners[kept], self.layout.entities)


def sort_rows(rows: pa.Table, table: Table) -> SortedRows:
    """Tidy rows of a table, in any order, sorted by entity, then step; of rows with the same keys one is made."""
    owners, entities = _entities(rows, table)
    return _sorted(rows.drop_columns([key for key in table.keys if key != "step"]), owners, entities)


def unite(pieces: Sequence[SortedRows]) -> SortedRows:
    """Rows of several sources as if they had been sorted together."""
    pieces = [piece for piece in pieces if piece.layout.rows] or pieces
    if len(pieces) == 1:
        return pieces[0]
    entities = tuple(sorted({entity for piece in pieces for entity in piece.layout.entities}))
    place = {entity: i for i, entity in enumerate(entities)}
    owners = [np.array([place[entity] for entity in piece.layout.entities])[piece.layout.owners] for piece in pieces]
    return _sorted(pa.concat_tables([piece.table for piece in pieces]), np.concatenate(owners), entities)


def _sorted(rows: pa.Table, owners: Ints, entities: tuple[Entity, ...]) -> SortedRows:
    """Rows with the place (n,) of each one's owner among the entities."""
    rows, steps = rows.combine_chunks(), to_numpy(rows["step"])
    if len(entities) > 1:
        keys = owners.astype(np.uint16 if len(entities) <= 1 << 16 else np.int64)  # 16 bits are sorted by radix
        order = np.argsort(keys, kind="stable")
        rows, steps, owners = rows.take(to_arrow(order)), steps[order], owners[order]
    ascends = (np.diff(owners) > 0) | (np.diff(steps) > 0)
    if not ascends.all():
        order = np.lexsort((steps, owners))
        rows, steps, owners = rows.take(to_arrow(order)), steps[order], owners[order]
        group = np.concatenate([[0], np.cumsum((np.diff(owners) > 0) | (np.diff(steps) > 0))])
        rows, firsts = _one_each(rows, group)
        steps, owners = steps[firsts], owners[firsts]
    counts = np.bincount(owners, minlength=len(entities))
    if not counts.all():
        entities, counts = tuple(e for e, count in zip(entities, counts, strict=True) if count), counts[counts > 0]
    shared = len(set(counts.tolist())) <= 1
    if shared and len(entities) > 1:
        shared = not np.diff(steps.reshape(len(entities), -1), axis=0).any()
    span = (int(steps.min()), int(steps.max())) if len(steps) else (0, -1)
    return SortedRows(rows, Layout(entities, counts, shared, *span))


def _entities(rows: pa.Table, table: Table) -> tuple[Ints, tuple[Entity, ...]]:
    """The place (n,) of each row's entity among the entities, which are sorted by name, then index."""
    if table.entity is None:
        return np.zeros(rows.num_rows, np.int64), NO_ENTITY
    coded = rows[table.entity].combine_chunks().dictionary_encode()
    names: list[str] = coded.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    owners = rank[to_numpy(coded.indices)]
    index = to_numpy(rows[table.index]) if table.index else np.zeros(0, np.int64)
    if not index.any():
        return owners, tuple((names[i], 0) for i in by_name)
    spread = int(index.max()) + 1
    keys, owners = np.unique(owners * spread + index, return_inverse=True)
    return owners, tuple((names[by_name[key // spread]], int(key % spread)) for key in keys)


def _one_each(rows: pa.Table, group: Ints) -> tuple[pa.Table, Ints]:
    """One row for each group (n,) of neighbours, made of the values present in it, and where each group begins."""
    firsts = np.flatnonzero(np.diff(group, prepend=-1))
    arrays: list[Any] = []
    for values in rows.columns:
        (there,) = np.nonzero(present(values))
        at = np.full(len(firsts), -1)
        at[group[there]] = there
        arrays.append(values.take(to_arrow(at, at < 0)))
    return pa.Table.from_arrays(arrays, schema=rows.schema), firsts


def to_block(
    source: Source,
    table: Table,
    column: str,
    *,
    name: str | None = None,
    upto: int | None = None,
    among: Ints | None = None,
    rank: Rank | None = None,
) -> Block:
    """One column as a block, of one name alone where one is given, without the steps after ``upto``, or with those that are
    ``among`` these alone; reads nothing else.

    Where all entities have the same steps they come in the order of ``rank``, as cheaply as in any other.
    """
    layout, start = (source.layout, 0) if name is None else source.layout.between((name, 0), (name, _ENDLESS))
    if not layout.rows:
        return Block(table.name, np.empty(0, np.int64), (), {})
    if not layout.shared:
        block = _scattered(source.read(["step", column], [(start, start + layout.rows)]), layout, table, column, upto)
        return block if among is None else block.among(among, column)
    order = sorted(range(len(layout.entities)), key=lambda i: rank(layout.entities[i]) if rank else i)
    length = int(layout.counts[0])
    spans = [(start + first * length, start + last * length) for first, last in _runs(order)]
    read = source.read(["step", column] if len(order) == 1 else [column], spans)
    timed = read if len(order) == 1 else source.read(["step"], [(start, start + length)])
    steps = to_numpy(timed["step"])
    kept: slice | Ints = slice(None if upto is None else int(np.searchsorted(steps, upto, side="right")))
    if among is not None:
        kept = np.flatnonzero(np.isin(steps[kept], among))
    values, absent = _numbers(read, column, (len(order), length), kept)
    valid = {} if absent is None else {column: ~absent.T}
    return Block(table.name, steps[kept], tuple(layout.entities[i] for i in order), {column: values.T}, valid)


def steps_of(source: Source, upto: int | None = None) -> Ints:
    """The steps of the rows, up to that one; reads no values."""
    layout = source.layout
    if not layout.rows:
        return union([])
    read = to_numpy(source.read(["step"], [(0, int(layout.counts[0]) if layout.shared else layout.rows)])["step"])
    spans = [(0, len(read))] if layout.shared else pairwise(layout.starts)
    return _union_of(_upto(read, spans, upto), read)


def _scattered(read: pa.Table, layout: Layout, table: Table, column: str, upto: int | None) -> Block:
    """The same where entities have steps of their own, most of them the same all the same."""
    (known, missing), steps = _numbers(read, column, (1, layout.rows)), to_numpy(read["step"])
    values, absent = known[0], None if missing is None else missing[0]
    spans = _upto(steps, pairwise(layout.starts), upto)
    left = [i for i, (start, stop) in enumerate(spans) if start < stop]
    rows = _union_of(spans, steps)
    dense, there = np.full((len(left), len(rows)), np.nan), np.zeros((len(left), len(rows)), bool)
    for place, (start, stop) in enumerate(spans[i] for i in left):
        at = slice(None) if stop - start == len(rows) else np.searchsorted(rows, steps[start:stop])
        dense[place, at] = values[start:stop]
        there[place, at] = True if absent is None else ~absent[start:stop]
    return Block(table.name, rows, tuple(layout.entities[i] for i in left), {column: dense.T}, {column: there.T})


def _upto(steps: Ints, spans: Iterable[tuple[int, int]], upto: int | None) -> list[tuple[int, int]]:
    """Spans of ascending steps, cut off after a step."""
    ends = [(int(start), int(stop)) for start, stop in spans]
    if upto is None:
        return ends
    return [(start, start + int(np.searchsorted(steps[start:stop], upto, side="right"))) for start, stop in ends]


def _union_of(spans: Sequence[tuple[int, int]], steps: Ints) -> Ints:
    """All steps that the spans have, ascending; quick where most of them have the same."""
    found = union([])
    for start, stop in spans:
        if not np.array_equal(steps[start:stop], found):
            found = union([found, steps[start:stop]])
    return found


def _runs(order: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of consecutive places, from the first up to the last: 4 5 6 0 1 is (4, 7), (0, 2)."""
    begin = 0
    for i in range(1, len(order) + 1):
        if i == len(order) or order[i] != order[i - 1] + 1:
            yield order[begin], order[i - 1] + 1
            begin = i


def _numbers(
    rows: pa.Table, column: str, shape: tuple[int, int], kept: slice | Ints = slice(None)
) -> tuple[Floats, Bools | None]:
    """Values as an array of a shape, some of its columns, NaN where absent, and where they are absent if they are anywhere.

    A column that is not there is absent.
    """
    if column not in rows.column_names:
        nothing = np.full(shape, np.nan)[:, kept]
        return nothing, np.ones(nothing.shape, bool)
    values = to_numpy(rows[column]).reshape(shape)[:, kept].astype(np.float64, copy=False)
    if not rows[column].null_count:
        return values, None
    absent = ~present(rows[column]).reshape(shape)[:, kept]
    return np.where(absent, np.nan, values), absent
