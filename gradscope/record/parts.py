"""Parts of a table: Parquet files of sorted rows, so that one layer's values stand together and are read alone.

Rows are sorted by name, index, step. A row group holds one name, or several small ones; what stands where is written as
``Layout`` into the file's footer, so that names are never read. Numbers are split into byte planes before they are
compressed: the low bytes of what was measured in float32 are then free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradscope.errors import RunFolderError
from gradscope.record.arrow import arrow_schema, to_numpy
from gradscope.record.files import write_whole
from gradscope.record.grid import Entity, Ints
from gradscope.record.rows import Layout, SortedRows, Source, unite
from gradscope.record.schema import Table

GROUP_ROWS = 1 << 14
"""Rows that a row group holds before the next name gets its own."""
FRESH_GROUP_ROWS = 1 << 11
"""The same in fresh parts: of each, a merge holds one row group in memory."""
SERIES_ROWS = 1 << 17
"""Rows of one entity after which its row group is ended: what bounds the memory of a merge."""
_LAYOUT = b"gradscope.layout"


class Part:
    """One Parquet file of a table. Every read opens it anew, so that many parts hold no file open.

    A file that is gone raises ``FileNotFoundError`` (it was merged into another, or deleted), a damaged one ``RunFolderError``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def layout(self) -> Layout:
        with _told(self.path):
            return Layout.from_json(self._footer.metadata[_LAYOUT])

    @cached_property
    def group_starts(self) -> Ints:
        """(G + 1,): the first row of each row group, and the number of all rows."""
        return np.cumsum([0] + [self._footer.row_group(i).num_rows for i in range(self._footer.num_row_groups)])

    def read(self, columns: list[str], spans: Sequence[tuple[int, int]]) -> pa.Table:
        groups = [range(*self.groups(*span)) for span in spans]
        whole = all((self.group_starts[[g.start, g.stop]] == span).all() for g, span in zip(groups, spans, strict=True))
        if whole:  # read in the order that is asked for: nothing is copied
            return self.read_groups(columns, list(chain.from_iterable(groups)))
        first, last = min(g.start for g in groups), max(g.stop for g in groups)
        rows, begin = self.read_groups(columns, range(first, last)), int(self.group_starts[first])
        return pa.concat_tables([rows.slice(start - begin, stop - start) for start, stop in spans])

    def groups(self, start: int, stop: int) -> tuple[int, int]:
        """The row groups, first and one past the last, in which these rows stand."""
        first = int(np.searchsorted(self.group_starts, start, side="right")) - 1
        return first, max(first, int(np.searchsorted(self.group_starts, stop, side="left")))

    def read_groups(self, columns: list[str], groups: Sequence[int], *, threads: bool = True) -> pa.Table:
        with _told(self.path):
            known = set(self._footer.schema.names)
            file = pq.ParquetFile(self.path, metadata=self._footer)
            return file.read_row_groups(groups, [c for c in columns if c in known], use_threads=threads)

    @cached_property
    def _footer(self) -> Any:
        with _told(self.path):
            return pq.read_metadata(self.path)


class _Forwards(Part):
    """A part that is read once, from front to back: keeps the row group in which the last read ended."""

    _kept: tuple[int, pa.Table] | None = None

    def read(self, columns: list[str], spans: Sequence[tuple[int, int]]) -> pa.Table:
        ((start, stop),) = spans
        first, last = self.groups(start, stop)
        kept, self._kept = self._kept, None
        if kept and kept[0] == first:
            new = [self.read_groups(columns, range(first + 1, last), threads=False)] if last > first + 1 else []
            rows = pa.concat_tables([kept[1], *new])
        else:
            rows = self.read_groups(columns, range(first, last), threads=False)
        begin, end = int(self.group_starts[first]), int(self.group_starts[last])
        if stop < end:
            self._kept = last - 1, rows.slice(int(self.group_starts[last - 1]) - begin)
        return rows.slice(start - begin, stop - start)


def write_part(path: Path, table: Table, sources: Sequence[Source], *, before: int | None = None, fresh: bool = False) -> int:
    """Write the rows of all sources, which stand in the order of their steps, as one part; gives the number of its rows.

    Rows of step ``before`` and later are left out; where no row is left, nothing is written. A ``fresh`` part will be merged:
    it is written in half the time and takes a sixth more room. Memory is bounded: a few row groups of each source. Raises
    ``OSError`` or ``pyarrow.ArrowException`` where the file cannot be written.
    """
    sources = [_Forwards(source.path) if isinstance(source, Part) else source for source in sources]
    merged = _merged(sources, table, before, FRESH_GROUP_ROWS if fresh else GROUP_ROWS)
    start = next(merged, None)
    if start is None:
        return 0
    written = _Written()

    def write(draft: Path) -> None:
        with pa.OSFile(str(draft), "wb") as file, _writer(file, table, fresh) as writer:
            for rows in chain([start], merged):
                writer.write_table(rows.with_keys(table), row_group_size=rows.layout.rows)
                written.add(rows)
            writer.add_key_value_metadata({_LAYOUT.decode(): written.layout().to_json()})

    write_whole(path, write)
    return written.layout().rows


@contextmanager
def _writer(file: Any, table: Table, fresh: bool) -> Iterator[Any]:
    schema = arrow_schema(table)
    floats = {f.name: "BYTE_STREAM_SPLIT" for f in schema if f.type == pa.float64()}
    integers = {f.name: "DELTA_BINARY_PACKED" for f in schema if f.type == pa.int64()}
    writer = pq.ParquetWriter(
        file,
        schema,
        compression="lz4" if fresh else "zstd",
        compression_level=None if fresh else 1,
        use_dictionary=False,
        column_encoding=floats | integers,
        write_statistics=list(table.keys),
    )
    try:
        yield writer
        writer.close()
    finally:
        writer.is_open = False  # after a failure there is nothing to finish


def _merged(sources: Sequence[Source], table: Table, before: int | None, group_rows: int) -> Iterator[SortedRows]:
    """Row groups, in order. Several small ones are read and sorted at once: a read costs more than the rows it gives."""
    for batch in _batches(_groups([source.layout for source in sources], group_rows)):
        held: list[SortedRows] = []
        for piece in (piece for source in sources for piece in _pieces(source, table, batch[0].first, batch[-1].last)):
            if held and sum(rows.layout.rows for rows in held) >= SERIES_ROWS and _follows(piece, held):
                yield unite(held)
                held = []
            held.append(piece if before is None else piece.before(before))
        united = unite(held)
        yield from filter(None, (united.between(group.first, group.last) for group in batch))


@dataclass(frozen=True)
class _Group:
    """A row group to be: its first and last entity, and how many rows the sources have for it."""

    first: Entity
    last: Entity
    rows: int


def _groups(layouts: Sequence[Layout], group_rows: int) -> Iterator[_Group]:
    """One name, or several small ones; of a large name some entities."""
    counts: Counter[Entity] = Counter()
    for layout in layouts:
        counts.update(dict(zip(layout.entities, layout.counts.tolist(), strict=True)))
    group: list[Entity] = []
    held = 0
    for _, entities in groupby(sorted(counts), key=itemgetter(0)):
        members = list(entities)
        whole = sum(counts[entity] for entity in members)
        for i, entity in enumerate(members):
            if group and held + (counts[entity] if i else whole) > group_rows:
                yield _Group(group[0], group[-1], held)
                group, held = [], 0
            group.append(entity)
            held += counts[entity]
    if group:
        yield _Group(group[0], group[-1], held)


def _batches(groups: Iterator[_Group]) -> Iterator[list[_Group]]:
    """Neighbours that are small enough to be dealt with together."""
    batch: list[_Group] = []
    for group in groups:
        if batch and sum(member.rows for member in batch) + group.rows > SERIES_ROWS:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _follows(piece: SortedRows, held: Sequence[SortedRows]) -> bool:
    """Whether the piece belongs to the same entity, all of it after all that is held."""
    same = {entity for rows in (piece, *held) for entity in rows.layout.entities}
    return len(same) == 1 and piece.layout.first > max(rows.layout.last for rows in held)


def _pieces(source: Source, table: Table, first: Entity, last: Entity) -> Iterator[SortedRows]:
    """The rows of these entities; those of a single one in stretches of bounded length."""
    here, begin = source.layout.between(first, last)
    if len(here.entities) > 1:
        yield SortedRows(_values(source, table, begin, begin + here.rows), here)
        return
    for start in range(begin, begin + here.rows, SERIES_ROWS):
        stop = min(start + SERIES_ROWS, begin + here.rows)
        rows = _values(source, table, start, stop)
        first_step, last_step = rows["step"][0].as_py(), rows["step"][-1].as_py()
        yield SortedRows(rows, Layout(here.entities, np.array([stop - start]), True, first_step, last_step))


def _values(source: Source, table: Table, start: int, stop: int) -> pa.Table:
    """Steps and all columns of today; those that an older part lacks are null."""
    fields = [field for field in arrow_schema(table) if field.name not in table.keys[1:]]
    rows = source.read([field.name for field in fields], [(start, stop)])
    if rows.num_columns == len(fields):
        return rows
    known = set(rows.column_names)
    arrays = [rows[f.name] if f.name in known else pa.nulls(rows.num_rows, f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class _Written:
    """What was written so far stands where. An entity with many rows comes in several row groups, one after the other."""

    def __init__(self) -> None:
        self._counts: dict[Entity, int] = {}
        self._steps = np.empty(0, np.int64)  # of the first entity
        self._shared = True
        self._range = (np.iinfo(np.int64).max, np.iinfo(np.int64).min)

    def add(self, rows: SortedRows) -> None:
        layout, steps = rows.layout, to_numpy(rows.table["step"])
        self._range = min(self._range[0], layout.first), max(self._range[1], layout.last)
        for i, (entity, count) in enumerate(zip(layout.entities, layout.counts.tolist(), strict=True)):
            done = self._counts.get(entity, 0)
            self._counts[entity] = done + count
            own = steps[layout.starts[i] : layout.starts[i + 1]]
            if len(self._counts) == 1:
                self._steps = np.concatenate([self._steps, own])
            elif self._shared and not (layout.shared and i):  # one that shares with the first of its row group needs no look
                self._shared = np.array_equal(own, self._steps[done : done + count])

    def layout(self) -> Layout:
        counts = np.fromiter(self._counts.values(), np.int64)
        shared = self._shared and bool((counts == len(self._steps)).all())
        return Layout(tuple(self._counts), counts, shared, *self._range)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Anything that is wrong with a file becomes one line; only its absence stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFolderError(f"{path}: the file is damaged: {reason}") from error
