"""Runs to figures, and figures to files: whole or not at all, and the same bytes for the same runs."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradscope.errors import UsageError, did_you_mean
from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import FIGURES, theme
from gradscope.render.files import write_whole
from gradscope.render.rows import Row

FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"pil_kwargs": {"compress_level": 3}},
    ".svg": {"metadata": {"Date": None}},
    ".pdf": {"metadata": {"CreationDate": None}},
}
"""File formats, with what makes their bytes depend on nothing but the figure."""


class Picture(Figure):
    """A figure of Matplotlib that a notebook shows, whether pyplot was imported there or not."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        _write(self, buffer, ".png")
        return buffer.getvalue()


def plot(runs: Run | Sequence[Run], figure: str = "overview", *, reports: Sequence[Report] = ()) -> Figure:
    """A figure of one run, or of several overlaid on one scale.

    ``figure`` is a name of ``gradscope.render.FIGURES``; ``reports`` are the runs' verdicts, in the same order, whose findings
    are marked. Raises ``UsageError`` for an unknown figure, no run, or a run without a step.
    """
    shown = [runs] if isinstance(runs, Run | str | os.PathLike) else list(runs)
    if not shown:
        raise UsageError("no run to plot")
    for run in shown:
        if not isinstance(run, Run):
            raise UsageError(f"plot: a Run is drawn (got {type(run).__name__})", hint="gradscope.load_run(FOLDER) gives one")
        if not run.step_count:
            raise UsageError(f"the run {run.name!r} has no step: nothing to plot", hint="let it train for one step at least")
    drawn = FIGURES.load(figure)
    if reports and len(reports) != len(shown):
        raise UsageError(f"{len(shown)} runs but {len(reports)} reports: one for each run, or none")
    with theme.style():
        page = Picture(figsize=drawn.size(shown, reports))
        FigureCanvasAgg(page)
        drawn.draw(page, shown, reports)
    return page


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, SVG or PDF, by the path's ending. A failure leaves what was there before, or nothing.

    Raises ``UsageError`` for another ending and where the file cannot be written.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(
            f"cannot draw into {target.name!r}: a figure's file ends in .png, .svg or .pdf{did_you_mean(ending, FORMATS)}"
        )
    write_whole(target, lambda draft: _write(figure, draft, ending))
    return target


def _write(figure: Figure, into: Path | io.BytesIO, ending: str) -> None:
    with theme.style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # a run may be named in any script
        figure.savefig(into, format=ending[1:], **FORMATS[ending])


def write_data(runs: Run | Sequence[Run], figure: str, path: str | os.PathLike[str]) -> Path:
    """The numbers behind a figure as CSV, one row each, in the columns of ``Row``; nothing is reduced.

    Raises ``UsageError`` for an unknown figure and where the file cannot be written.
    """
    shown = [runs] if isinstance(runs, Run) else list(runs)
    rows = FIGURES.load(figure).data(shown)

    def write(draft: Path) -> None:
        with draft.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(Row._fields)
            lines.writerows(rows)

    write_whole(Path(path), write)
    return Path(path)
