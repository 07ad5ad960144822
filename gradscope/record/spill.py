"""A record without a folder of its own: in memory while it is small, in a temporary folder when it grows."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from gradscope.errors import RunFolderError
from gradscope.record.grid import Block
from gradscope.record.losses import Losses
from gradscope.record.manifest import Manifest
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.record.store import RunFolder

LIMIT_BYTES = 64 << 20


class SpillingSink:
    """A sink for a run that nobody gave a folder. The temporary one goes when neither the sink nor a run of it is left.

    Where there is no room for a temporary folder, memory keeps what it holds; the rest is counted as lost, and told once.
    """

    def __init__(self, manifest: Manifest, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._sink: MemorySink | RunFolder = MemorySink(manifest)
        self._manifest = manifest
        self._bytes = 0
        self._place: _TemporaryFolder | None = None
        self._losses = Losses("the record", manifest)
        self._full: RunFolderError | None = None

    def append(self, block: Block) -> None:
        if isinstance(self._sink, MemorySink):
            if self._bytes + block.nbytes > self.limit_bytes and not self._full:
                self._sink = self._spilled(self._sink)
            self._bytes += block.nbytes
        if self._full:
            self._losses.add(block.rows, self._full)
        else:
            self._sink.append(block)

    def describe(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._sink.describe(self._losses.stated(manifest))

    def close(self) -> None:
        self.describe(self._manifest)
        self._sink.close()

    def run(self) -> Run:
        if isinstance(self._sink, RunFolder):
            return self._sink.run(keeps=self._place)
        self._sink.describe(self._losses.stated(self._manifest))
        return self._sink.run()

    def _spilled(self, memory: MemorySink) -> MemorySink | RunFolder:
        try:
            place = _TemporaryFolder()
            folder = RunFolder.create(place.path, self._manifest)
        except OSError as error:
            self._full = RunFolderError(f"no temporary folder: {error.strerror or error}")
        except RunFolderError as error:
            self._full = error
        else:
            self._place = place
            for block in sorted(memory.blocks, key=lambda block: int(block.steps[0])):
                folder.append(block)
            return folder
        return memory


class _TemporaryFolder:
    """A folder that lives as long as this object does, or the interpreter; a forked child leaves its parent's alone."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gradscope-"))
        weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
