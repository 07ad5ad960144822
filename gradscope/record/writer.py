"""The writing side of one table: a journal that becomes a part when it is long enough, and parts that become one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from gradscope.errors import RunFolderError
from gradscope.record.arrow import to_batch
from gradscope.record.files import journal_name, part_name, table_files
from gradscope.record.grid import Block
from gradscope.record.journal import Journal, read_journal
from gradscope.record.parts import Part, write_part
from gradscope.record.rows import sort_rows
from gradscope.record.schema import Column, Table

JOURNAL_BYTES = 16 << 20
"""Size at which a journal becomes a part; bounds the memory that this takes, and what a reader of a live run must sort."""
JOURNAL_BATCHES = 1024
"""Batches at which it does, however small: each costs a reader some microseconds."""
SMALL_ROWS, SMALL_PARTS = 1 << 16, 16
"""So many parts in a row of fewer rows than this become one: a slow training does not leave thousands of files."""
DELETED = "its files were deleted"
_TOLERATED = (OSError, pa.ArrowException, RunFolderError)
"""What may go wrong with a file while others are made of it: then it stays as it is."""


@contextmanager
def _putting_together() -> Iterator[None]:
    """Makes parts of what is stored; where that fails all stays as it was. The 20 MiB and more that it took are given back."""
    with suppress(*_TOLERATED):
        yield
    pa.default_memory_pool().release_unused()


class RowsLostError(OSError):
    """Rows that could not be stored, or that were and are gone; ``rows`` says how many."""

    def __init__(self, rows: int, reason: str) -> None:
        super().__init__(reason)
        self.rows = rows


class TableWriter:
    """Writes one table's folder. Blocks come in the order of their steps. ``last_step`` is the greatest step it holds."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder = folder
        self.table = table
        self.last_step = -1
        self._rows = 0
        self._recorded: set[str] = set()
        self._journal: Journal | None = None
        self._next = 0
        self._parts: list[tuple[int, int, int]] = []  # first and last journal, rows

    def append(self, block: Block) -> None:
        """Store the rows of a block. Raises ``RowsLostError``; what was stored before stays, the next block is tried anew."""
        if not block.rows:
            return
        if gone := self._deleted():
            raise RowsLostError(gone + block.rows, DELETED)
        first, last = int(block.steps.min()), int(block.steps.max())
        new = set(block.columns) - self._recorded
        if self._journal and (new or (self._is_long(self._journal) and first > self.last_step)):
            self._seal()
        self._recorded |= new
        batch = to_batch(block, self._columns)
        try:
            self._journal = self._journal or self._open(batch)
            self._journal.append(batch)
        except OSError as error:
            if self._journal and self._journal.broken:
                self._seal()
            raise RowsLostError(block.rows, error.strerror or str(error)) from error
        self._rows += block.rows
        self.last_step = max(self.last_step, last)

    def close(self) -> None:
        """Make one part of all; what cannot become one stays as it is and is read so. Raises ``RowsLostError``."""
        if gone := self._deleted():
            raise RowsLostError(gone, DELETED)
        self._end_journal()
        with _putting_together():
            files = table_files(self.folder)
            for number, _ in files.journals:
                self._convert(number, fresh=len(files.parts) + len(files.journals) > 1)
            self._load()
            if len(self._parts) > 1:
                self._merge(self._parts)

    def recover(self, before: int | None) -> None:
        """Take over what another writer left; rows of step ``before`` and later are cut. Raises ``OSError``."""
        files = table_files(self.folder)
        for path in (*files.superseded, *self.folder.glob("*.tmp")):
            path.unlink()
        for number, _ in files.journals:
            self._convert(number, before)
        for _, _, path in files.parts:
            if (
                before is not None
                and Part(path).layout.last >= before
                and not write_part(path, self.table, [Part(path)], before=before)
            ):
                path.unlink()
        self._load()

    def _load(self) -> None:
        files = table_files(self.folder)
        layouts = [Part(path).layout for _, _, path in files.parts]
        self._parts = [(first, last, layout.rows) for (first, last, _), layout in zip(files.parts, layouts, strict=True)]
        self._next = files.next_number
        self.last_step = max((layout.last for layout in layouts), default=-1)

    @property
    def _columns(self) -> tuple[Column, ...]:
        """Those that were recorded so far: a journal has no others, so that what a run never records costs it nothing."""
        return tuple(column for column in self.table.columns if column.name in self._recorded)

    def _open(self, batch: pa.RecordBatch) -> Journal:
        self.folder.mkdir(exist_ok=True)
        journal = Journal(self.folder / journal_name(self._next), batch.schema)
        self._next += 1
        return journal

    def _deleted(self) -> int:
        """The rows that were stored and are gone because somebody deleted the journal that is being written."""
        if self._journal is None or not self._journal.deleted:
            return 0
        self._end_journal()
        gone, self._rows = self._rows, 0
        return gone

    @staticmethod
    def _is_long(journal: Journal) -> bool:
        return journal.size >= JOURNAL_BYTES or journal.batches >= JOURNAL_BATCHES

    def _end_journal(self) -> None:
        if self._journal:
            self._journal.close()
            self._journal = None

    def _seal(self) -> None:
        """End the journal and make a part of it; where that fails it stays a journal, and nothing is lost."""
        self._end_journal()
        with _putting_together():
            self._convert(self._next - 1)
            small = self._small_tail()
            if len(small) >= SMALL_PARTS:
                self._merge(small)

    def _convert(self, number: int, before: int | None = None, *, fresh: bool = True) -> None:
        """The part is whole before its journal goes; a reader that finds both takes the part."""
        path = self.folder / journal_name(number)
        rows = sort_rows(read_journal(path, self.table), self.table)
        part = self.folder / part_name(number, number)
        count = write_part(part, self.table, [rows], before=before, fresh=fresh)
        path.unlink()
        if count:
            self._parts.append((number, number, count))
        elif number == self._next - 1:
            self._next = number

    def _small_tail(self) -> list[tuple[int, int, int]]:
        """The newest parts, as far as each is small and none is missing between them."""
        tail: list[tuple[int, int, int]] = []
        for part in reversed(self._parts):
            if part[2] >= SMALL_ROWS or (tail and part[1] + 1 != tail[0][0]):
                break
            tail.insert(0, part)
        return tail

    def _merge(self, parts: list[tuple[int, int, int]]) -> None:
        """Make one part of some that follow each other; it stands for all journals from the first's to the last's."""
        paths = [self.folder / part_name(first, last) for first, last, _ in parts]
        first, last = parts[0][0], parts[-1][1]
        rows = write_part(self.folder / part_name(first, last), self.table, [Part(path) for path in paths])
        self._parts = [part for part in self._parts if part not in parts] + [(first, last, rows)]
        for path in paths:
            path.unlink()
