"""``gradscope check``: the verdict on a recorded run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.folders import RUN, RUNS_DIR, RunsDir, find_run
from gradscope.cli.gate import FailOn, FailOnOption, gate, judged
from gradscope.cli.terminal import deliver, next_command, note
from gradscope.render import FORMATS

Format = Annotated[str, typer.Option("--format", metavar=f"[{'|'.join(FORMATS.built_in)}]", help="How the verdict is written.")]


def check(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help=RUN)] = None,
    format: Format = "text",
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="RULE", help="Ask this rule alone, by name or code; repeat it for several."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="RULE", help="Do not ask this rule, by name or code; repeat it for several."),
    ] = None,
    fail_on: FailOnOption = FailOn.WARNING,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="A verdict written before with --format json: findings that it has are not told again.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Judge a recorded run: what is wrong, in which layers and steps, by which numbers, and what to do."""
    from gradscope.detect.baseline import beyond, read_baseline
    from gradscope.record.reader import load_run
    from gradscope.render.terminal import PLAIN, Terminal
    from gradscope.render.words import count

    writer = FORMATS.load(format)
    known = read_baseline(baseline) if baseline else ()
    folder = find_run(run, runs_dir)
    recorded = load_run(folder)
    found = judged(recorded, select or (), ignore or ())
    report = beyond(found, known)
    deliver(writer.write(report, recorded, terminal=PLAIN if output else Terminal.of(sys.stdout)), output)
    if known:
        note(f"not told again: {report.known} of {count(len(found.findings), 'finding')}")
    if format == "text" and report.steps:  # of a run without a step there is nothing to draw
        next_command("plot", folder)
    gate(report, fail_on)
