"""Blocks to store: made by a seed, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gradscope.record.grid import NO_ENTITY, Block, Entity
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo, Status
from gradscope.record.schema import TABLES, Column
from gradscope.record.sink import Sink

LAYERS = ("stem", "layers.0", "layers.2", "layers.10", "größe", "head")

MANIFEST = Manifest(
    "net",
    created="2026-01-02T03:04:05+00:00",
    gradscope="0.1.0",
    environment={"torch": "2.13.0"},
    config={"seed": 1, "clip_norm": float("inf")},
    recording={"every": {"layers": 10}},
    catalogue=Catalogue(
        tuple(LayerInfo(name, "Linear", i, (f"{name}.weight",), trunk=True, width=8) for i, name in enumerate(LAYERS)),
        tuple(ParameterInfo(f"{name}.weight", name, (8, 8)) for name in LAYERS),
    ),
)
FINISHED = replace(MANIFEST, status=Status.FINISHED, finished="2026-01-02T03:05:05+00:00")


def training(steps: int, *, chunk: int = 10, layers: int = 6, seed: int = 0) -> Iterator[Block]:
    """What a recorder gives: every ``chunk`` steps a block of each table, layers of every third step alone."""
    draw = np.random.default_rng(seed)
    names = [f"layers.{i}" for i in range(layers)]
    for start in range(0, steps, chunk):
        at = np.arange(start, min(start + chunk, steps))
        yield values("steps", at, NO_ENTITY, draw, ("loss", "total_norm", "skipped", "wall_seconds"))
        yield values("parameters", at, [(f"{n}.weight", 0) for n in names], draw, ("grad_norm", "zero_count", "frozen"))
        yield values("layers", at[at % 3 == 0], [(n, 0) for n in names], draw, ("forward_norm", "backward_norm", "rows"))
        yield values("timesteps", at[at % 3 == 0], [("rnn", t) for t in range(3)], draw, ("backward_norm",))


def values(
    table: str, steps: Sequence[int], entities: Sequence[Entity], draw: np.random.Generator, columns: Sequence[str]
) -> Block:
    kinds = {column.name: column.dtype for column in TABLES[table].columns}
    shape = (len(steps), len(entities))
    made = {}
    for column in columns:
        many = draw.lognormal(size=shape)
        made[column] = (
            many if kinds[column] == "float64" else np.floor(many) if kinds[column] == "int64" else np.floor(many) % 2
        )
    return Block(table, np.asarray(steps, np.int64), tuple(entities), made)


def store(sink: Sink, blocks: Sequence[Block], manifest: Manifest = FINISHED) -> None:
    for block in blocks:
        sink.append(block)
    sink.describe(manifest)
    sink.close()


@st.composite
def recordings(draw: st.DrawFn) -> list[Block]:
    """Any blocks that a recorder may give: steps ascend in each table, a value is given once, blocks may share a step."""
    blocks = []
    for table in TABLES.values():
        step = draw(st.integers(0, 3))
        for _ in range(draw(st.integers(0, 4))):
            steps = np.cumsum([step, *draw(st.lists(st.integers(1, 5), max_size=3))])
            step = int(steps[-1]) + draw(st.integers(1, 5))
            half = draw(st.integers(0, len(table.columns)))
            entities = draw(_entities(table.entity is not None, table.index is not None))
            for columns in (table.columns[:half], table.columns[half:]):  # two blocks share their rows, not their columns
                if columns:
                    blocks.append(draw(_block(table.name, steps, entities, columns)))
    return blocks


@st.composite
def _entities(draw: st.DrawFn, named: bool, indexed: bool) -> tuple[Entity, ...]:
    if not named:
        return NO_ENTITY
    names = st.sampled_from(LAYERS)
    index = st.integers(0, 3) if indexed else st.just(0)
    return tuple(draw(st.lists(st.tuples(names, index), min_size=1, max_size=5, unique=True)))


@st.composite
def _block(draw: st.DrawFn, table: str, steps: np.ndarray, entities: tuple[Entity, ...], columns: Sequence[Column]) -> Block:
    shape = (len(steps), len(entities))
    given, valid = {}, {}
    for column in columns:
        if draw(st.booleans()):
            kinds = {"float64": st.floats(), "int64": st.integers(0, 1 << 50).map(float), "bool": st.sampled_from([0.0, 1.0])}
            given[column.name] = draw(arrays.arrays(np.float64, shape, elements=kinds[column.dtype]))
            if draw(st.booleans()):
                valid[column.name] = draw(arrays.arrays(bool, shape))
    return Block(table, steps, entities, given, valid)
