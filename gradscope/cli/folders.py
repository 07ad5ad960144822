"""Which run a command means: a folder, a name under the runs folder, or the newest there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope.errors import GradscopeError, RunFolderError, did_you_mean

if TYPE_CHECKING:
    from gradscope.record.manifest import Manifest

RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir", envvar="GRADSCOPE_RUNS", metavar="DIR", help="The folder that holds the runs.", show_default=True
    ),
]
RUNS_DIR = Path("runs")

RUN = "A run folder, or a name under the runs folder; left out, the newest there."


def find_run(run: Path | None, runs_dir: Path) -> Path:
    """The folder of a run. Raises ``RunFolderError`` where there is none."""
    if run is None:
        found = list(folders(runs_dir))
        if not found:
            raise RunFolderError(
                f"{runs_dir}: no run in it", hint="gradscope run CONFIG makes one; --runs-dir names another folder"
            )
        return found[0][0]
    if run.exists() or run.is_absolute() or len(run.parts) > 1:
        return run
    if (runs_dir / run).exists():
        return runs_dir / run
    near = did_you_mean(run, (p.name for p, _ in folders(runs_dir)))
    raise RunFolderError(f"{run}: there is no such folder, here or in {runs_dir}{near}", hint="gradscope runs lists them")


def folders(runs_dir: Path) -> Iterator[tuple[Path, Manifest]]:
    """The runs in a folder, newest first. What cannot be read as one is left out."""
    from gradscope.record.reader import read_manifest

    found = []
    for path in runs_dir.iterdir() if runs_dir.is_dir() else ():
        try:
            found.append((path, read_manifest(path)))
        except GradscopeError:
            continue
    yield from sorted(found, key=lambda f: (f[1].created, f[0].stat().st_ctime_ns), reverse=True)
