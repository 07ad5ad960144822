"""``gradscope report``: one HTML file that holds the diagnosis of a run, or of several beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.folders import RUN, RUNS_DIR, RunsDir, find_run
from gradscope.cli.gate import judged
from gradscope.cli.terminal import deliver, next_command
from gradscope.errors import UsageError


def report(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help=f"{RUN} Several are held against the first.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file. Without it, report.html in the first run's folder."),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write an interactive report: verdict and findings, gradient by layer and step, loss, causes, config, comparison.

    One HTML file that needs nothing else and loads nothing: it can be sent, kept beside the run, or put on a server.
    """
    from gradscope.detect.comparison import compare
    from gradscope.record.reader import load_run
    from gradscope.render.report.page import page
    from gradscope.render.report.payload import payload
    from gradscope.render.rows import labels

    folders = [find_run(run, runs_dir) for run in runs] if runs else [find_run(None, runs_dir)]
    loaded = [load_run(folder) for folder in folders]
    reports = [judged(run) for run in loaded]
    beside = "" if len(folders) == 1 else f"-{len(folders)}-runs"
    target = output or folders[0] / f"report{beside}.html"
    if target.is_dir():
        raise UsageError(f"{target} is a folder; the report is one file", hint=f"-o {target / 'report.html'}")
    deliver(page(payload(loaded, reports, compare(loaded, reports, labels(loaded)))), target)
    print(target)
    next_command("check", folders[0])
