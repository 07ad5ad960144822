"""The files of a run folder: their names, which of them count, and how one is put in place whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
_PADDING = 2048
_FILE = re.compile(r"part-(?P<first>\d{6,})-(?P<last>\d{6,})\.parquet|journal-(?P<number>\d{6,})\.arrow")


def part_name(first: int, last: int) -> str:
    """The part that holds the rows of the journals ``first`` to ``last``."""
    return f"part-{first:06d}-{last:06d}.parquet"


def journal_name(number: int) -> str:
    return f"journal-{number:06d}.arrow"


@dataclass(frozen=True)
class TableFiles:
    """The files of one table, in the order of their rows. Together they hold every row once.

    ``parts`` are (first, last, path), ``journals`` (number, path). ``superseded`` are files that a part has replaced and that
    its writer did not live to delete: a journal with the number of a part, a part within the range of another.
    ``complete`` says that no number is missing; one can be while files are being replaced.
    """

    parts: tuple[tuple[int, int, Path], ...]
    journals: tuple[tuple[int, Path], ...]
    superseded: tuple[Path, ...]

    @property
    def next_number(self) -> int:
        return 1 + max([last for _, last, _ in self.parts] + [number for number, _ in self.journals], default=-1)

    @property
    def complete(self) -> bool:
        return self.next_number == sum(last - first + 1 for first, last, _ in self.parts) + len(self.journals)


def table_files(folder: Path) -> TableFiles:
    """What a table's folder holds; nothing where there is none."""
    parts, journals = [], []
    for path in folder.iterdir() if folder.is_dir() else ():
        if found := _FILE.fullmatch(path.name):
            if found["number"]:
                journals.append((int(found["number"]), path))
            else:
                parts.append((int(found["first"]), int(found["last"]), path))
    counted: list[tuple[int, int, Path]] = []
    superseded: list[Path] = []
    for first, last, path in sorted(parts, key=lambda part: (part[0], -part[1])):
        if counted and last <= counted[-1][1]:
            superseded.append(path)
        else:
            counted.append((first, last, path))
    covered = {number for first, last, _ in counted for number in range(first, last + 1)}
    superseded += [path for number, path in journals if number in covered]
    return TableFiles(tuple(counted), tuple(sorted(j for j in journals if j[0] not in covered)), tuple(superseded))


def write_manifest(folder: Path, text: str) -> None:
    """Put a manifest in place, padded with blanks: where the disk is full, there is room to state it in the old one's place."""
    path = folder / MANIFEST
    padded = text + " " * (_PADDING - 1 - len(text.encode()) % _PADDING + _PADDING) + "\n"
    try:
        write_whole(path, lambda draft: draft.write_text(padded, "utf-8"))
    except OSError:
        if not path.exists():
            raise
        with path.open("r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if len(text.encode()) > size:
                raise
            file.write(text.encode().ljust(size))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then put it in place at once: a reader sees the old one or the new one.

    Where ``write`` fails, nothing is left of the new one.
    """
    draft = path.with_name(f"{path.name}.tmp")
    try:
        write(draft)
        file = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
