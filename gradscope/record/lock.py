"""One writer for a run folder: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from weakref import WeakSet

from gradscope.errors import RunFolderError

LOCK = "lock"
PATIENCE_SECONDS = 1.0
"""How long a writer waits: a reader holds the lock for an instant to see whether a writer does."""
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class WriterLock:
    """Held from its making until ``release``. Raises ``RunFolderError`` where another holds it, ``OSError`` as files do.

    A file system that knows no locks is written without one; a forked child does not hold its parent's.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not _locked(self._file, fcntl.LOCK_EX):
            if time.monotonic() > give_up:
                holder = os.pread(self._file, 32, 0).decode(errors="replace")
                self.release()
                raise RunFolderError(f"{folder}: process {holder or '?'} is writing this run", hint="wait until it has ended")
            time.sleep(0.01)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Let others write; more than once does no harm."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_being_written(folder: Path) -> bool:
    """Whether a writer holds the folder."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


_held: WeakSet[WriterLock] = WeakSet()


def _drop_in_child() -> None:
    for lock in tuple(_held):
        lock.release()  # closes the child's copy alone; the parent's lock stays


os.register_at_fork(after_in_child=_drop_in_child)
