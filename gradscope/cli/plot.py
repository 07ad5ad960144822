"""``gradscope plot``: figures of one run, of several overlaid, or of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.folders import RUN, RUNS_DIR, RunsDir, find_run
from gradscope.cli.gate import judged
from gradscope.cli.terminal import next_command
from gradscope.errors import UsageError
from gradscope.render import FIGURES

OVERVIEW = "overview"


Figures = Annotated[
    list[str] | None,
    typer.Option(
        "--figure",
        "-f",
        metavar="FIGURE",
        help=f"{', '.join(FIGURES.built_in)}; repeat it for several. Without it, overview. Of a sweep: curve, map or verdicts.",
    ),
]
OUTPUT = "The file, .png, .svg or .pdf; for several figures a folder. Without it, plots/ in the first run's folder."
DATA = "Write what is drawn as CSV too: a file; for several figures a folder."


def plot(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help=f"{RUN} Several are overlaid. Or a sweep's folder.")
    ] = None,
    figure: Figures = None,
    signal: Annotated[
        str | None,
        typer.Option("--signal", metavar="NAME", help="Of a sweep: which number, or verdict. Without it, the first measured."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="PATH", help=OUTPUT)] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="PATH", help=DATA)] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Draw a recorded run: the gradient by layer and step, the loss and its events, the findings.

    Of a sweep: a number or the verdict over one axis or two, with theory's line where theory has one.
    """
    from gradscope.record.reader import load_run
    from gradscope.render import plot as draw
    from gradscope.render import save, write_data

    folders = [find_run(run, runs_dir) for run in runs] if runs else [find_run(None, runs_dir)]
    if _is_sweep(folders[0]):
        return _sweep(folders, figure or [], signal, output, data)
    if signal is not None:
        raise UsageError("--signal is for a sweep", hint="gradscope plot RUN --figure NAME draws a run")
    loaded = [load_run(folder) for folder in folders]
    names = list(dict.fromkeys(figure or [OVERVIEW]))
    beside, many = "" if len(folders) == 1 else f"-{len(folders)}-runs", len(names) > 1
    own = {name: folders[0] / "plots" / f"{name}{beside}.png" for name in names}
    drawn = {name: _file(output, f"{name}.png", many=many) for name in names} if output else own
    tables = {name: _file(data, f"{name}.csv", many=many) for name in names} if data else {}
    reports = [judged(run, remedies=False) for run in loaded]  # figures mark findings, and tell no remedy
    pages = {name: draw(loaded, name, reports=reports) for name in names}
    for name, page in pages.items():
        print(save(page, drawn[name]))
        if data:
            print(write_data(loaded, name, tables[name]))
    return next_command("check", folders[0])


def _is_sweep(folder: Path) -> bool:
    from gradscope.sweep.layout import is_sweep

    return is_sweep(folder)


def _sweep(folders: list[Path], figures: list[str], signal: str | None, output: Path | None, data: Path | None) -> None:
    """Pictures of one sweep."""
    from gradscope.render import save
    from gradscope.sweep.picture import draw
    from gradscope.sweep.table import read_table

    folder, *others = folders
    if others:
        raise UsageError("of sweeps one is drawn at a time", hint=f"gradscope plot {folder}")
    if data is not None:
        raise UsageError("--data is for runs", hint=f"{folder}/results.parquet has all numbers of the sweep")
    table = read_table(folder)
    names: list[str | None] = [*dict.fromkeys(figures)] or [None]
    pages = {name: draw(table, signal, name) for name in names}
    for name, page in pages.items():
        file = "-".join(word for word in (name, signal) if word) or "sweep"
        print(save(page, _file(output, f"{file}.png", many=len(pages) > 1) if output else folder / "plots" / f"{file}.png"))


def _file(given: Path, name: str, *, many: bool) -> Path:
    """The path as given, or a file in it where it is a folder. Raises ``UsageError`` for a file that is to hold several."""
    if many and given.suffix.lower() in (".png", ".svg", ".pdf", ".csv") and not given.is_dir():
        raise UsageError(f"{given}: a file, and several figures are drawn", hint=f"name a folder, {given.with_suffix('')}")
    return given / name if many or given.is_dir() else given
