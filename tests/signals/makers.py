"""Runs with a handful of known numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink

Table = Sequence[Sequence[float | None]]


def chain(
    layers: Mapping[str, Table] | None = None,
    parameters: Mapping[str, Table] | None = None,
    steps: Mapping[str, Sequence[float | None]] | None = None,
    *,
    names: Sequence[str] = ("a", "b", "c"),
    width: int | None = 100,
) -> Run:
    """A net of linear layers: each table's columns as rows of steps by layers; None is absent. A layer has one matrix."""
    catalogue = Catalogue(
        tuple(LayerInfo(name, "Linear", i, (f"{name}.weight",), trunk=True, width=width) for i, name in enumerate(names)),
        tuple(ParameterInfo(f"{name}.weight", name, (4, 4)) for name in names),
    )
    sink = MemorySink(Manifest("chain", catalogue=catalogue))
    if layers:
        sink.append(block("layers", tuple((name, 0) for name in names), layers))
    if parameters:
        sink.append(block("parameters", tuple((f"{name}.weight", 0) for name in names), parameters))
    if steps:
        sink.append(block("steps", NO_ENTITY, {column: [[value] for value in values] for column, values in steps.items()}))
    return sink.run()


def block(table: str, entities: tuple[tuple[str, int], ...], columns: Mapping[str, Table]) -> Block:
    arrays = {
        name: np.array([[np.nan if v is None else v for v in row] for row in rows], float) for name, rows in columns.items()
    }
    valid = {name: np.array([[v is not None for v in row] for row in rows]) for name, rows in columns.items()}
    return Block(table, np.arange(len(next(iter(arrays.values())))), entities, arrays, valid)
