"""Blocks as Arrow rows, and columns between Arrow and numpy.

Columns are made of buffers and read as buffers: Arrow's own ``array`` and ``to_numpy`` import pandas where it is installed,
which would cost a training half a second and 50 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradscope.record.grid import Block, Bools, Ints
from gradscope.record.schema import TABLES, Column, Table

_TYPES = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
_KINDS = {"f": pa.float64(), "i": pa.int64(), "b": pa.bool_()}


@cache
def arrow_schema(table: Table, columns: tuple[Column, ...] | None = None) -> pa.Schema:
    """The keys of a table, then its columns, or these. Keys are never null; a value is null where it is absent."""
    keys = [pa.field(key, pa.string() if key == table.entity else pa.int64(), nullable=False) for key in table.keys]
    return pa.schema(
        keys + [pa.field(column.name, _TYPES[column.dtype]) for column in (table.columns if columns is None else columns)]
    )


def to_batch(block: Block, columns: tuple[Column, ...] | None = None) -> pa.RecordBatch:
    """The rows of a block, step by step, with all columns of its table, or these; they must be all that the block has.

    Raises ``ValueError`` for a column that its table does not have.
    """
    table = TABLES[block.table]
    if unknown := set(block.columns) - set(table.column_names):
        raise ValueError(f"table {table.name!r} has no column {min(unknown)!r}")
    times, count = len(block.steps), len(block.entities)
    arrays = [to_arrow(np.repeat(block.steps, count))]
    if table.entity:
        arrays.append(repeated([name for name, _ in block.entities], np.tile(np.arange(count), times)))
    if table.index:
        arrays.append(to_arrow(np.tile(np.array([index for _, index in block.entities], np.int64), times)))
    arrays += [_column(block, column) for column in (table.columns if columns is None else columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(table, columns))


def _column(block: Block, column: Column) -> pa.Array:
    if column.name not in block.columns:
        return pa.nulls(block.rows, _TYPES[column.dtype])
    values = np.asarray(block.columns[column.name], np.float64).ravel()
    valid = block.valid.get(column.name)
    absent = None if valid is None else ~np.asarray(valid).ravel()
    if column.dtype == "float64":
        return to_arrow(values, absent)
    unread = ~np.isfinite(values)  # counts and flags have no NaN: what is no number there was not read
    absent = unread if absent is None else unread | absent
    return to_arrow(np.where(absent, 0.0, values).astype(column.dtype), absent)


def to_arrow(values: NDArray[Any], absent: Bools | None = None) -> pa.Array:
    """An array (n,) of float64, int64 or bool as an Arrow column, null where absent."""
    kind = _KINDS[values.dtype.kind]
    data = np.packbits(values, bitorder="little") if values.dtype == bool else np.ascontiguousarray(values)
    valid = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(data)])


def repeated(names: Sequence[str], places: Ints) -> pa.Array:
    """The names at these places (n,), as an Arrow column."""
    encoded = [name.encode() for name in names]
    offsets = np.cumsum([0] + [len(name) for name in encoded], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(names), buffers).take(to_arrow(places))


def to_numpy(values: Any) -> NDArray[Any]:
    """A column of float64, int64, int32 or bool as it lies in memory, uncopied if it is in one piece; a null is any value."""
    pieces = [_bits(chunk, 1) if chunk.type == pa.bool_() else _words(chunk) for chunk in _chunks(values)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.empty(0)


def present(values: Any) -> Bools:
    """Where a column has a value."""
    pieces = [_bits(chunk, 0) if chunk.null_count else np.ones(len(chunk), bool) for chunk in _chunks(values)]
    return np.concatenate(pieces) if pieces else np.empty(0, bool)


def _chunks(values: Any) -> list[Any]:
    return list(values.chunks) if isinstance(values, pa.ChunkedArray) else [values]


def _words(chunk: Any) -> NDArray[Any]:
    kind = np.dtype(str(chunk.type).replace("double", "float64"))
    data = chunk.buffers()[1]
    return np.frombuffer(data, kind, len(chunk), chunk.offset * kind.itemsize) if len(chunk) else np.empty(0, kind)


def _bits(chunk: Any, buffer: int) -> Bools:
    if not len(chunk):
        return np.empty(0, bool)
    packed = np.frombuffer(chunk.buffers()[buffer], np.uint8)
    return np.unpackbits(packed, count=chunk.offset + len(chunk), bitorder="little")[chunk.offset :].view(bool)
