"""A file that a user asked for: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gradscope.errors import UsageError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then put it in place, so that nobody ever sees half of it.

    Folders on the way are made and a link is followed. Two that write one file at a time do not meet: each has a draft of its
    own. Raises ``UsageError`` where it cannot be written.
    """
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        if target.exists() and not target.is_file():  # a pipe, /dev/stdout: written to, never replaced
            write(target)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        draft.replace(target)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
