"""Where recorded blocks go. The recorder knows this protocol and nothing of files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from gradscope.record.grid import Block, Bools
from gradscope.record.manifest import Manifest
from gradscope.record.run import MemoryTable, Run

BLOCK_BYTES = 4 << 20
"""Size up to which small blocks are joined."""


class Sink(Protocol):
    """Takes blocks in the order of their steps and shows at any time the run that they make.

    A value is recorded once: several blocks may share a step and an entity, each with other columns. A block is the sink's
    own once it is appended; nobody writes to its arrays any more.
    """

    def append(self, block: Block) -> None: ...

    def describe(self, manifest: Manifest) -> None:
        """Replace the manifest: the catalogue grew, or the run ended."""
        ...

    def close(self) -> None: ...

    def run(self) -> Run:
        """The run so far; may be asked for while recording goes on."""
        ...


class MemorySink:
    """Keeps every block in memory, small ones joined: a long run of short blocks is no longer to read than one of long ones."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._kept: dict[object, list[Block]] = {}

    def append(self, block: Block) -> None:
        if not block.rows:
            return
        kept = self._kept.setdefault((block.table, block.entities, frozenset(block.columns)), [])
        while kept and _may_join(kept[-1], block):
            block = _joined(kept.pop(), block)
        kept.append(block)

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks, table by table."""
        return (block for kept in self._kept.values() for block in kept)

    def describe(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def close(self) -> None:
        pass

    def run(self) -> Run:
        tables: dict[str, list[Block]] = {}
        for block in self.blocks:
            tables.setdefault(block.table, []).append(block)
        return Run(self.manifest, {name: MemoryTable(blocks) for name, blocks in tables.items()})


def _may_join(before: Block, after: Block) -> bool:
    """Whether to join: equals and larger with smaller, so that each row is copied a few times only, whatever comes."""
    small = before.rows <= after.rows and before.nbytes < BLOCK_BYTES
    return small and bool(before.steps[-1] < after.steps[0])


def _joined(before: Block, after: Block) -> Block:
    columns = {name: np.concatenate([values, after.columns[name]]) for name, values in before.columns.items()}
    valid = {name: np.concatenate([_valid(before, name), _valid(after, name)]) for name in {*before.valid, *after.valid}}
    return Block(before.table, np.concatenate([before.steps, after.steps]), before.entities, columns, valid)


def _valid(block: Block, column: str) -> Bools:
    valid = block.valid.get(column)
    return np.ones(block.columns[column].shape, bool) if valid is None else valid
