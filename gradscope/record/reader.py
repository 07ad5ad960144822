"""Runs from their folders: opening one reads the manifest alone, each column is read when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gradscope.errors import FormatVersionError, GradscopeWarning, RunFolderError, did_you_mean, warn
from gradscope.record.files import MANIFEST, table_files
from gradscope.record.grid import Block, Grid, Ints, assemble, union
from gradscope.record.lock import is_being_written
from gradscope.record.manifest import Manifest, Status
from gradscope.record.run import Rank, Run
from gradscope.record.schema import FORMAT_VERSION, TABLES, Table

if TYPE_CHECKING:
    from gradscope.record.rows import Source

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For each older format version: what makes of its manifest one of the next version. Version 1 is the first."""
_TRIES = 10
T = TypeVar("T")


def load_run(path: str | Path) -> Run:
    """The run in a folder. One that says it is running and that nobody writes is shown as interrupted.

    Raises ``RunFolderError`` where there is no run or its files are damaged (which may show only when values are read),
    ``FormatVersionError`` where a newer version has recorded it.
    """
    path = Path(path)
    written = is_being_written(path)  # asked first: a writer that ends in between has stated how
    manifest = read_manifest(path)
    if manifest.status is Status.RUNNING and not written:
        manifest = replace(manifest, status=Status.INTERRUPTED)
    return Run(manifest, {name: FolderTable(path / name, table) for name, table in TABLES.items()}, path)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run folder, as it stands. Raises as ``load_run`` does."""
    try:
        data = json.loads((path / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not path.exists():
            near = did_you_mean(path.name, (p.parent.name for p in path.parent.glob(f"*/{MANIFEST}")))
            raise RunFolderError(f"{path}: there is no such folder{near}", hint="gradscope runs lists them") from None
        inside = sorted(p.parent for of in ("*", "points/*") for p in path.glob(f"{of}/{MANIFEST}"))  # or a sweep's
        runs = "1 run" if len(inside) == 1 else f"{len(inside):,} runs"
        hint = f"it holds {runs}; name one, as in {inside[-1]}" if inside else None
        raise RunFolderError(f"{path}: not a run folder: it has no {MANIFEST}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path / MANIFEST}: cannot be read: {error}") from error
    version = data.get("format") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise RunFolderError(f"{path / MANIFEST}: not a run's manifest: it states no format version")
    if version > FORMAT_VERSION:
        message = f"{path}: recorded in format {version}; this version of Gradscope reads formats up to {FORMAT_VERSION}"
        raise FormatVersionError(message, hint="upgrade Gradscope to read it")
    try:
        while data["format"] < FORMAT_VERSION:
            data = UPGRADES[data["format"]](data)
        return Manifest.from_dict(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{path / MANIFEST}: the file is damaged: {error}") from error


class FolderTable:
    """One table of a run folder, as its files are when it is first read; rows that are added later are not seen.

    Files that its writer replaces meanwhile are found under their new names. ``upto`` is the last step that is seen;
    ``keeps`` holds what must live as long as this does.
    """

    def __init__(self, folder: Path, table: Table, *, upto: int | None = None, keeps: object = None) -> None:
        self._folder = folder
        self._table = table
        self._upto = upto
        self._keeps = keeps
        self._sources: list[Source] | None = None

    def grid(self, column: str, rank: Rank, steps: Ints | None = None) -> Grid:
        return assemble(column, self._blocks(column, rank=rank, steps=steps))

    def extent(self) -> tuple[Ints, int]:
        from gradscope.record.rows import steps_of

        found = self._read(lambda sources: [(steps_of(source, self._upto), source.layout.entities) for source in sources])
        return union([steps for steps, _ in found]), len({entity for _, entities in found for entity in entities})

    def series(self, column: str, name: str) -> Grid:
        return assemble(column, self._blocks(column, name=name))

    def at(self, column: str, step: int) -> Grid:
        return assemble(column, self._blocks(column, steps=np.array([step])))

    def _blocks(
        self, column: str, *, name: str | None = None, rank: Rank | None = None, steps: Ints | None = None
    ) -> list[Block]:
        from gradscope.record.rows import to_block

        def blocks(sources: list[Source]) -> list[Block]:
            if steps is not None:
                ends = [np.searchsorted(steps, [s.layout.first, s.layout.last + 1]) for s in sources]
                sources = [s for s, (start, stop) in zip(sources, ends, strict=True) if start < stop]
            return [to_block(s, self._table, column, name=name, upto=self._upto, rank=rank, among=steps) for s in sources]

        return self._read(blocks)

    def _read(self, read: Callable[[list[Source]], list[T]]) -> list[T]:
        """What is made of the sources, which may be made into other files meanwhile."""
        for _ in range(_TRIES):
            try:
                self._sources = self._sources if self._sources is not None else self._found()
                return read(self._sources)
            except FileNotFoundError:  # made into another file since
                self._sources = None
        raise RunFolderError(f"{self._folder}: its files go faster than they can be read")

    def _found(self) -> list[Source]:
        from gradscope.record.journal import read_journal
        from gradscope.record.parts import Part
        from gradscope.record.rows import sort_rows

        for _ in range(_TRIES):
            files = table_files(self._folder)
            if files.complete:
                break
        else:
            warn(f"{self._folder}: some of its files are missing", GradscopeWarning)
        found: list[tuple[int, Source]] = [(first, Part(path)) for first, _, path in files.parts]
        found += [(number, sort_rows(read_journal(path, self._table), self._table)) for number, path in files.journals]
        sources = [source for _, source in sorted(found, key=lambda item: item[0])]
        if self._upto is None:
            self._upto = max((source.layout.last for source in sources), default=-1)
        return sources
