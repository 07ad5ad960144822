"""How a run and a report show themselves in a notebook: plain HTML, in which every name is text and never markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from gradscope.numbers import number

if TYPE_CHECKING:
    from gradscope.record.finding import Finding, Report
    from gradscope.record.run import Run

COLOURS = {"healthy": "#1b9e4b", "pathological": "#d6424b", "error": "#d6424b", "warning": "#c4731a", "info": "#4a8fd0"}
"""Verdicts and severities, in colours that can be read on white and on black; the word stands beside each."""
NAMES = 3
"""Layers of a finding that are named."""


def of_report(report: Report) -> str:
    """The verdict, and a row for each finding with its evidence and what to do."""
    verdict = report.verdict.value
    found = f"{len(report.findings)} finding{'' if len(report.findings) == 1 else 's'}, " if report.findings else ""
    facts = ", ".join([f"{found}{report.steps:,} steps", *map(escape, report.left_out)])
    head = f"<p><b>{_coloured(verdict)}</b> {escape(report.run)}: {facts}</p>"
    head += f"<p>{escape(report.remark)}</p>" if report.remark else ""
    if not report.findings:
        return f"<div>{head}</div>"
    titles = ("finding", "severity", "layers", "steps", "measured", "what it is", "what to do")
    return f"<div>{head}{_table(titles, map(_finding, report.findings))}</div>"


def of_run(run: Run) -> str:
    """What the run is, how it ended, and what was watched; reads no more than the manifest and the number of steps."""
    catalogue, manifest = run.catalogue, run.manifest
    trunk = sum(layer.trunk for layer in catalogue.layers)
    facts = {
        "status": run.status.value + (f": {manifest.reason}" if manifest.reason else ""),
        "steps": f"{run.step_count:,}",
        "layers": f"{len(catalogue.layers):,}, {trunk:,} on the way from input to loss",
        "parameters": f"{sum(math.prod(p.shape) for p in catalogue.parameters):,} in {len(catalogue.parameters):,} tensors",
        "recorded": str(manifest.recording.get("cadence", "")),
        "recording took": str(manifest.recording.get("took", "")),
        "created": manifest.created,
        "folder": str(run.path) if run.path is not None else "in memory",
    }
    facts |= {f"note {i}": note for i, note in enumerate(manifest.notes, start=1)}
    rows = ([escape(key), escape(value)] for key, value in facts.items() if value)
    return f"<div><p><b>{escape(run.name)}</b></p>{_table((), rows)}</div>"


def _finding(finding: Finding) -> list[str]:
    rest = len(finding.layers) - NAMES
    layers = ", ".join(finding.layers[:NAMES]) + (f" and {rest:,} more" if rest > 0 else "")
    steps = f"{finding.steps[0]:,}-{finding.steps[1]:,}"
    measured = f"{finding.signal} {number(finding.value)}, threshold {number(finding.threshold)}"
    cause = f" Cause: {finding.cause}." if finding.cause else ""
    return [
        f"<b>{escape(finding.code)}</b> {escape(finding.rule)}",
        _coloured(finding.severity.value),
        *(escape(text) for text in (layers, steps, measured, finding.message + cause)),
        "".join(map(_remedy, finding.remedies)),
    ]


def _remedy(remedy: str) -> str:
    """What to do, and under it the lines of code that do it, if it has any."""
    words, *lines = remedy.split("\n")
    code = "\n".join(line.removeprefix("    ") for line in lines)
    return f"<div>{escape(words)}</div>" + (f'<pre style="text-align: left">{escape(code)}</pre>' if code else "")


def _coloured(word: str) -> str:
    return f'<span style="color: {COLOURS.get(word, "inherit")}">{escape(word)}</span>'


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; titles are ours."""
    head = f"<thead><tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr></thead>" if titles else ""
    cell = '<td style="text-align: left; vertical-align: top">'
    lines = "".join(f"<tr>{''.join(f'{cell}{text}</td>' for text in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{lines}</tbody></table>"
