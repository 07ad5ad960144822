"""The run folder: a sink that puts every block on file, and a training that goes on when it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from gradscope.errors import FormatVersionError, RunFolderError
from gradscope.record.files import write_manifest
from gradscope.record.grid import Block
from gradscope.record.lock import LOCK, WriterLock
from gradscope.record.losses import Losses
from gradscope.record.manifest import Manifest, Status
from gradscope.record.reader import FolderTable, read_manifest
from gradscope.record.run import Run
from gradscope.record.schema import FORMAT_VERSION, TABLES
from gradscope.record.writer import RowsLostError, TableWriter


class RunFolder:
    """A sink that stores a run in a folder; made by ``create`` or ``reopen``, its only writer until it is closed.

    ``append`` returns when the rows are on file, so that the death of the training loses nothing of them. After it was made
    it raises no error of files: what cannot be stored is counted, told once and stated in the manifest as
    ``recording.lost_rows``.
    """

    def __init__(self, path: Path, lock: WriterLock, manifest: Manifest, before: Manifest | None = None) -> None:
        self.path = path
        self._before = before
        self._lock: WriterLock | None = lock
        self._manifest = manifest
        self._losses = Losses(str(path), manifest)
        self._tables = {name: TableWriter(path / name, table) for name, table in TABLES.items()}

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest) -> RunFolder:
        """A new run folder. Raises ``RunFolderError`` where there is one, or anything else, or where it cannot be written."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            require_free(path)
            lock = WriterLock(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, lock, manifest)._started(None)

    @classmethod
    def reopen(cls, path: str | Path, *, from_step: int | None = None) -> RunFolder:
        """A run folder to go on with. Its rows of ``from_step`` and later are cut first; without it all are kept, and where
        nothing is added the run ends as it had ended before.

        Raises ``RunFolderError`` where it is no run folder or another process writes it, ``FormatVersionError`` where it was
        recorded in another format: such a run can be read, but not gone on with.
        """
        path = Path(path)
        read_manifest(path)
        try:
            lock = WriterLock(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        manifest = read_manifest(path)
        if manifest.format != FORMAT_VERSION:
            lock.release()
            raise FormatVersionError(f"{path}: recorded in format {manifest.format}; it can be read, but not gone on with")
        going_on = replace(manifest, status=Status.RUNNING, reason=None, finished=None)
        return cls(path, lock, going_on, manifest if from_step is None else None)._started(from_step)

    def append(self, block: Block) -> None:
        """Store a block; see the class for what happens where it cannot be."""
        self._before = None
        try:
            if self._lock is None:
                raise RowsLostError(block.rows, "the run was closed before")
            self._tables[block.table].append(block)
        except RowsLostError as error:
            self._losses.add(error.rows, error)

    def describe(self, manifest: Manifest) -> None:
        """Replace the manifest, at once and whole."""
        self._manifest, self._before = manifest, None
        try:
            self._write_manifest()
        except OSError as error:
            self._losses.add(0, error)

    def close(self) -> None:
        """Make one part of each table and let the folder go; more than once does no harm."""
        if self._lock is None:
            return
        for table in self._tables.values():
            try:
                table.close()
            except RowsLostError as error:
                self._losses.add(error.rows, error)
        self.describe(self._before or self._manifest)
        self._lock.release()
        self._lock = None

    def run(self, keeps: object = None) -> Run:
        """The run up to now. ``keeps`` is held as long as the run may be read."""
        tables = {n: FolderTable(self.path / n, t.table, upto=t.last_step, keeps=keeps) for n, t in self._tables.items()}
        return Run(self._losses.stated(self._manifest), tables, self.path)

    def _started(self, from_step: int | None) -> RunFolder:
        """Take over what the folder holds, and state that it is being written."""
        try:
            for table in self._tables.values():
                table.recover(from_step)
            self._write_manifest()
        except BaseException as error:
            if self._lock:
                self._lock.release()
            if isinstance(error, OSError | pa.ArrowException):
                raise _unwritable(self.path, error) from error
            raise
        return self

    def _write_manifest(self) -> None:
        """What is written is also what ``run`` shows: the same run, loaded, is equal."""
        data = self._losses.stated(self._manifest).to_dict()
        data = json.loads(json.dumps(data, default=str), parse_constant=str)  # JSON has no NaN and no Infinity
        self._manifest = Manifest.from_dict(data)
        write_manifest(self.path, json.dumps(data, indent=1))


def require_free(path: Path) -> None:
    """Raises ``RunFolderError`` where no run folder can be made because of what is there: before work is done for nothing."""
    try:
        taken = path.exists() and any(entry.name != LOCK for entry in path.iterdir())
    except OSError as error:
        raise _unwritable(path, error) from error
    if taken:
        hint = "name a folder that does not exist yet, or is empty"
        raise RunFolderError(f"{path}: the folder exists and is not empty", hint=hint)


def _unwritable(path: Path, error: Exception) -> RunFolderError:
    return RunFolderError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")
