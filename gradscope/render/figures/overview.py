"""The whole diagnosis on one page: the verdict, the gradient by layer, the same over the steps, the loss."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from gradscope.record.finding import Finding, Report
from gradscope.record.run import Run
from gradscope.render import rows, theme
from gradscope.render.figures import heatmap, loss, profile
from gradscope.render.words import count, plain

NAME = "overview"
TITLE = "Overview"

MOST = 3
"""Findings of one run that are spelt out; of several runs one each."""
WIDTH, RUN, LINE, LOSS = 13.0, 0.27, 0.2, 3.0
"""Inches of the page, of a run's line, of a finding's line, and of the loss."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return WIDTH, 8.2 + _head(runs, reports) + 0.9 * max(len(runs) - 3, 0) + loss.growth(runs, reports)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for figure in (profile, loss):
        yield from figure.data(runs)


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    height, top, below = theme.page(figure)[1], _head(runs, reports), LOSS + loss.growth(runs, reports)
    shares = [top, height - top - below, below]
    head, body, foot = figure.subfigures(3, 1, height_ratios=shares, squeeze=False)[:, 0]
    left, right = body.subfigures(1, 2, width_ratios=[1.06, 1.0], squeeze=False)[0]
    _verdict(head, runs, reports)
    profile.draw(left, runs, reports)
    heatmap.draw(right, runs, reports)
    loss.draw(foot, runs, reports)


def _spelt_out(runs: Sequence[Run], report: Report) -> tuple[Finding, ...]:
    return report.findings[: MOST if len(runs) == 1 else 1]


def _head(runs: Sequence[Run], reports: Sequence[Report]) -> float:
    """Inches for the verdict."""
    lines = [_said(finding) for report in reports for finding in _spelt_out(runs, report)]
    remarks = sum(report.remark is not None for report in reports)
    return 0.3 + RUN * len(runs) + LINE * remarks + sum(LINE + 0.8 * LINE * (len(said) - 1) for said in lines)


def _verdict(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    """A line per run with its verdict, and under it what was found."""
    width, height = theme.page(figure)
    down, large = 0.1, 15 if len(runs) == 1 else 11

    def write(x: float, text: str, **look: Any) -> float:
        """On the line ``down`` inches from the top, from ``x`` inches on; returns where it ends."""
        drawn = figure.text(x / width, 1.0 - down / height, text, va="baseline", **look)
        return x + drawn.get_window_extent().width / figure.dpi

    for i, (name, run) in enumerate(zip(rows.labels(runs), runs, strict=True)):
        down += RUN
        x = 0.15
        if reports:
            verdict = reports[i].verdict.value
            look = {"size": large, "weight": "bold", "color": theme.VERDICT[verdict]}
            x = write(x, f"{theme.VERDICT_SIGN[verdict]} {verdict}", **look) + 0.15
        x = write(x, plain(name, 60), size=large, weight="bold") + 0.15
        depth = sum(layer.trunk for layer in run.catalogue.layers)
        facts = [
            count(depth, "layer"),
            count(run.step_count, "step"),
            run.status.value,
            *(reports[i].left_out if reports else ()),
        ]
        if reports and len(reports[i].findings) > len(_spelt_out(runs, reports[i])):
            facts.append(f"{len(reports[i].findings):,} findings, the worst first")
        write(x, ", ".join(facts), size=9.5, color=theme.QUIET)
        if reports and (remark := reports[i].remark) is not None:
            down += LINE
            write(0.15, remark, size=9)
        for finding in _spelt_out(runs, reports[i]) if reports else ():
            first, *more = _said(finding)
            down += LINE
            name = f"{finding.code} {finding.rule}"
            x = write(0.15, name, size=9, weight="bold", color=theme.SEVERITY[finding.severity]) + 0.12
            write(x, first, size=9)
            for line in more:
                down += 0.8 * LINE
                write(x, line, size=9)


def _said(finding: Finding) -> list[str]:
    """What was found, in one line beside its code or in two, cut where it needs more. The figures below show where and when."""
    room = int((WIDTH - 0.4 - 0.09 * len(f"{finding.code} {finding.rule}")) * 16.0)
    first, *rest = textwrap.wrap(plain(finding.message), room) or [""]
    return [first, *textwrap.wrap(" ".join(rest), room, max_lines=1, placeholder=" …")]
