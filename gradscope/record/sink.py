"""Where recorded blocks go. The recorder knows this protocol and nothing of files."""

from __future__ import annotations

from typing import Protocol

from gradscope.record.grid import Block
from gradscope.record.manifest import Manifest
from gradscope.record.run import MemoryTable, Run


class Sink(Protocol):
    """Takes blocks in the order of their steps and shows at any time the run that they make."""

    def append(self, block: Block) -> None: ...

    def describe(self, manifest: Manifest) -> None:
        """Replace the manifest: the catalogue grew, or the run ended."""
        ...

    def close(self) -> None: ...

    def run(self) -> Run:
        """The run so far; may be asked for while recording goes on."""
        ...


class MemorySink:
    """Keeps every block in memory."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.blocks: dict[str, list[Block]] = {}

    def append(self, block: Block) -> None:
        self.blocks.setdefault(block.table, []).append(block)

    def describe(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def close(self) -> None:
        pass

    def run(self) -> Run:
        return Run(self.manifest, {name: MemoryTable(list(blocks)) for name, blocks in self.blocks.items()})
