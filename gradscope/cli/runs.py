"""``gradscope runs``: what has been recorded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope.cli.folders import RUNS_DIR, RunsDir, folders
from gradscope.cli.gate import judged
from gradscope.cli.terminal import deliver, hanging, next_command, note
from gradscope.errors import GradscopeError

if TYPE_CHECKING:
    from gradscope.record.manifest import Manifest

HEADER = ("run", "status", "steps", "started (UTC)", "verdict")


def runs(
    runs_dir: RunsDir = RUNS_DIR,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="How many, the newest first; 0 for all.")
    ] = 20,
) -> None:
    """List the recorded runs, the newest first, each with its verdict."""
    found = list(folders(runs_dir))
    if not found:
        note(f"no run in {runs_dir}")
        return
    table: list[tuple[str, ...]] = [
        HEADER,
        *(tuple(_row(path, manifest)) for path, manifest in (found[:limit] if limit else found)),
    ]
    deliver("\n".join(_lines(table, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)), None)
    if limit and len(found) > limit:
        note(f"{len(found) - limit} older runs are not shown; gradscope runs --limit 0 shows all")
    next_command("check", found[0][0])


def _lines(table: list[tuple[str, ...]], room: int | None) -> Iterator[str]:
    """A run a line; where there is no room for that without the time at which it began, on a line below its name."""
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]

    def start(row: Sequence[str], columns: Sequence[int]) -> str:
        return "".join(f"{row[i]:<{widths[i]}}  " for i in columns)

    whole = sum(widths) + 2 * len(widths) - 2
    brief = whole - widths[3] - 2
    for row in table:
        if room is None or whole <= room:
            yield start(row, range(4)) + row[4]
        elif brief <= room:
            yield start(row, range(3)) + row[4]
        else:
            yield row[0]
            yield hanging("  " + start(row, (1, 2)), row[4])


def _row(path: Path, manifest: Manifest) -> Iterator[str]:
    from gradscope.record.finding import Severity
    from gradscope.record.reader import load_run

    yield path.name
    try:
        run = load_run(path)
        report = judged(run)
    except GradscopeError:
        yield from (manifest.status.value, "?", manifest.created[:19], "cannot be read")
        return
    codes = " ".join(dict.fromkeys(f.code for f in report.findings if f.severity is not Severity.INFO))
    yield from (
        run.status.value,
        str(report.steps),
        manifest.created[:19].replace("T", " "),
        f"{report.verdict.value} {codes}".strip(),
    )
