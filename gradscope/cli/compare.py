"""``gradscope compare``: recorded runs beside each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.folders import RUNS_DIR, RunsDir, find_run
from gradscope.cli.gate import FailOn, gate, judged
from gradscope.cli.options import Written, WrittenOption
from gradscope.cli.terminal import deliver, next_command, note
from gradscope.errors import UsageError

FIGURE = "overview"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two run folders or more, or names under the runs folder.")],
    format: WrittenOption = Written.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw them overlaid, on one scale, too: .png, .svg or .pdf."),
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(
            "--fail-on",
            metavar=f"[{'|'.join(FailOn)}]",
            help="Exit with 1 where a finding as bad as this is new in a later run, or worse than in the first.",
        ),
    ] = FailOn.NEVER,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Hold recorded runs against the first of them: verdicts, losses, what changed, and what was set up differently.

    A finding is worse where it is more severe, in a layer that was well before, or ten times further beyond its threshold.
    """
    from gradscope.detect.comparison import compare as held
    from gradscope.record.reader import load_run
    from gradscope.render.comparison import write, write_json
    from gradscope.render.rows import labels
    from gradscope.render.terminal import Terminal

    if len(runs) < 2:
        raise UsageError(f"one run, {runs[0]}, has nothing to be compared with", hint="gradscope compare RUN RUN")
    folders = [find_run(run, runs_dir) for run in runs]
    loaded = [load_run(folder) for folder in folders]
    reports = [judged(run) for run in loaded]
    found = held(loaded, reports, labels(loaded))
    if output is not None:
        from gradscope.render import plot, save

        note(f"figure: {save(plot(loaded, FIGURE, reports=reports), output)}")
    if format is Written.JSON:
        deliver(write_json(found), None)
    else:
        deliver(write(found, loaded, terminal=Terminal.of(sys.stdout)), None)
        next_command("report", *folders)
    gate(replace(reports[0], findings=found.worsened), fail_on)
