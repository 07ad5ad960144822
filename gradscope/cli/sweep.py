"""``gradscope sweep``: many trainings from one file, and the table of what became of them."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope.cli.folders import RUNS_DIR, RunsDir
from gradscope.cli.options import Written, WrittenOption
from gradscope.cli.terminal import INTERRUPTED, as_json, deliver, next_command, note, warn
from gradscope.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from gradscope.sweep.find import Bracket
    from gradscope.sweep.plan import Plan
    from gradscope.sweep.progress import Result
    from gradscope.sweep.table import Table
    from gradscope.sweep.view import SweepView

UNTIL, TOLERANCE = "pathological", 0.05
"""What a search looks for, and how narrow it makes a bracket, where nothing else is asked."""


def sweep(
    sweep: Annotated[
        Path, typer.Argument(metavar="SWEEP", help="A YAML file; gradscope schema sweep says what may stand in it.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The sweep's folder; left out, the sweep's name in the runs folder."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", metavar="N", min=1, help="Processes at a time; left out, one a core, or one where they share a GPU."
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            "--find", metavar="KEY", help="Halve this axis until the edge of --until is found, in place of all points."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="VERDICT",
            help=f"What --find looks for: a verdict, or a rule by name or code; left out, {UNTIL}.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=1e-6,
            max=1.0,
            help=f"How narrow --find makes a bracket, as a share; left out, {TOLERANCE}.",
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try points again whose training could not be carried out.")] = False,
    format: WrittenOption = Written.TEXT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the table alone.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Train a base config at every point of some axes, and tabulate verdicts and numbers.

    What is finished is never trained again: the same command goes on where it was interrupted, and with what is new in the
    file. A point that diverges, runs out of memory or contradicts itself is a row of the table like any other.
    """
    from gradscope.sweep.plan import load_sweep

    plan = load_sweep(sweep)
    if find is None and (until is not None or tolerance is not None):
        raise UsageError(f"{'--tolerance' if until is None else '--until'} is for a search", hint="--find KEY searches an axis")
    until, tolerance = until or UNTIL, tolerance or TOLERANCE
    if find is not None:
        from gradscope.sweep.find import searchable, turning

        searchable(plan, find)  # both raise for what is not there, before anything is trained
        turning(until)

    from gradscope.sweep.executors.local import Executor, usual_jobs
    from gradscope.sweep.folder import SweepFolder
    from gradscope.sweep.progress import Runs
    from gradscope.sweep.view import SweepView

    folder, results, brackets, interrupted = out or runs_dir / plan.name, list[Any](), None, False
    jobs = min(jobs or usual_jobs({p.config.device for p in plan.points if p.config}), max(len(plan.points), 1))
    with closing(SweepFolder(folder, plan)) as opened:
        try:
            view = nullcontext() if quiet else SweepView(plan.name, len(plan.points), sys.stderr, plan.sweep.measure, jobs=jobs)
            with view as shown, Executor(jobs) as executor:
                runs = Runs(opened, executor, retry=retry)
                brackets = _carry_out(plan, runs, results, shown, find, until, tolerance)
        except KeyboardInterrupt:
            interrupted = True
        table = _tabulated(plan, results, folder)
    if not interrupted:
        deliver(_written(table, brackets, find, until, format), None)
    _ending(plan, results, folder, interrupted=interrupted, quiet=quiet)


def _carry_out(
    plan: Plan, runs: Any, results: list[Result], view: SweepView | None, find: str | None, until: str, tolerance: float
) -> list[Bracket] | None:
    """All points, or a search; ``results`` is filled as they come, so that an interrupt leaves what there is."""
    from gradscope.sweep.find import find as search

    def told(result: Result, more: int | None = None) -> None:
        results.append(result)
        if view is not None:
            view.update(result, more=more)

    if find is not None:
        return search(plan, find, until, runs, tolerance=tolerance, told=told)
    for point in plan.mixed():
        runs.submit(point)
    for result in runs.results():
        told(result)
    return None


def _tabulated(plan: Plan, results: list[Result], folder: Path) -> Table:
    from gradscope.sweep.table import table_of, write_table

    table = table_of(plan, results)
    if results:
        write_table(table, folder)
    return table


def _written(table: Table, brackets: list[Bracket] | None, find: str | None, until: str, format: Written) -> str:
    from gradscope.render.terminal import Terminal
    from gradscope.sweep.table import to_dict
    from gradscope.sweep.text import write, write_brackets

    if format is Written.JSON:
        searched = {} if brackets is None else {"find": find, "until": until, "brackets": [b.to_dict() for b in brackets]}
        return as_json({**to_dict(table), **searched})
    text = write(table, terminal=Terminal.of(sys.stdout))
    return text if brackets is None or find is None else f"{text}\n{write_brackets(find, until, brackets)}"


def _ending(plan: Plan, results: list[Result], folder: Path, *, interrupted: bool, quiet: bool) -> None:
    from gradscope.sweep.outcome import End

    if not quiet and results:
        note(f"sweep folder: {folder}")
    if interrupted:
        warn(f"interrupted after {len(results):,} of {len(plan.points):,} points; the same command goes on")
        raise typer.Exit(INTERRUPTED)
    failed = [r for r in results if r.outcome.end is End.FAILED]
    if failed and len(failed) == len(results):
        raise TrainingError(f"no point could be carried out: {failed[0].outcome.reason}")
    if failed:
        warn(f"{len(failed):,} points could not be carried out", hint="gradscope sweep --retry tries them again")
    if not quiet:
        next_command("plot", folder)
