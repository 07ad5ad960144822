"""The journal of a table: rows in the order in which they were recorded, safe on file as soon as ``append`` returns.

A journal is an Arrow IPC stream without its end mark: a schema, then one record batch for each block. Each batch goes to
the file in one write, so that a writer that dies leaves whole batches and at most one that is cut short, which readers drop.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from gradscope.record.arrow import arrow_schema
from gradscope.record.schema import Table


class Journal:
    """A journal that is being written. Raises ``OSError`` where the file cannot be; what was appended before stays whole.

    ``broken`` says that half a message could not be taken back: nothing after it would be read.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.batches = self.size = 0
        self.broken = False
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        try:
            self._write(schema.serialize())
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def append(self, batch: pa.RecordBatch) -> None:
        self._write(batch.serialize())
        self.batches += 1

    @property
    def deleted(self) -> bool:
        """Whether the file was deleted: it still takes what is written, and nobody will read it."""
        return os.fstat(self._file).st_nlink == 0

    def close(self) -> None:
        os.close(self._file)

    def _write(self, message: pa.Buffer) -> None:
        left = memoryview(message)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except BaseException:  # Ctrl-C too: half a message would hide all that comes after it
            try:
                os.ftruncate(self._file, self.size)
            except OSError:
                self.broken = True
            raise
        self.size += message.size


def read_journal(path: Path, table: Table) -> pa.Table:
    """All whole batches of a journal, however it ends."""
    content = pa.py_buffer(path.read_bytes())
    batches: list[pa.RecordBatch] = []
    try:
        stream = pa.ipc.open_stream(content)
        while True:
            batches.append(stream.read_next_batch())
    except (StopIteration, pa.ArrowInvalid, OSError):
        pass  # the end, or the place where it was cut
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else arrow_schema(table))
