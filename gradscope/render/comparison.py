"""Runs beside each other for people: what each came to, the gradients on one scale, what changed, what was set up otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradscope.numbers import number
from gradscope.record.comparison import MISSING, Change, Comparison, Difference, Kind, Measured, Outcome
from gradscope.record.finding import Finding
from gradscope.record.run import Run
from gradscope.render.formats.text import SEVERITY, VERDICT
from gradscope.render.strip import strip
from gradscope.render.terminal import PLAIN, WIDEST, Terminal, typeset
from gradscope.render.words import fold, forward_order, plain
from gradscope.signals.profiles import Profile, depth_profile
from gradscope.signals.states import State

FACTS, RUN, LEAST, STEP = 22, 19, 14, 16
"""Columns for the names of facts; for a run (where they do not all fit, the runs stand in several tables), and for its words at
the least (``✗ pathological``: where there is less, names stand above what they name); for the step behind a strip.
"""
GAP = 2
MOST = 24
"""Differences of one section that are shown; of more, the number is said."""
Row = tuple[str, Sequence[Text | str]]
"""A fact or key by name, and what each run has of it."""
CHANGE = {Kind.NEW: "bold red", Kind.WORSE: "red", Kind.SAME: "dim", Kind.BETTER: "green", Kind.GONE: "bold green"}
CAME_TO = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
}
"""What the numbers of an outcome that tell of success are called."""
HOW = "training: the median of the last fifth of the steps; validation: the last one"
SECTIONS = {
    "config": "in the config",
    "network": "in the network and its optimizer",
    "environment": "where it ran",
    "recording": "in how it was recorded",
}


def write(comparison: Comparison, runs: Sequence[Run], *, terminal: Terminal = PLAIN) -> str:
    """The comparison as text that fits the terminal."""
    return typeset(Group(*_page(comparison, runs, terminal)), terminal)


def write_json(comparison: Comparison) -> str:
    """``Comparison.to_dict`` as text; NaN and Infinity cannot stand in it, they raise ``ValueError``."""
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _page(comparison: Comparison, runs: Sequence[Run], terminal: Terminal) -> Iterator[RenderableType]:
    width = min(terminal.width, max(WIDEST, FACTS + RUN * len(runs)))
    beside = max((width - FACTS) // RUN, 2)
    at = list(range(len(runs)))
    groups = [at] if len(at) <= beside else [[0, *at[i : i + beside - 1]] for i in range(1, len(at), beside - 1)]
    for group in groups:
        yield _outcomes([comparison.outcomes[i] for i in group], width)
        if group is groups[-1] and any(outcome.loss for outcome in comparison.outcomes):
            yield Text(HOW, style="dim")
        yield ""
    yield from _strips(comparison, runs, terminal)
    for outcome, run, changes in zip(comparison.outcomes[1:], runs[1:], comparison.changes, strict=True):
        yield from _changes(comparison.outcomes[0], outcome, changes, (runs[0], run), width)
    for section, words in SECTIONS.items():
        found = [d for d in comparison.differences if d.section == section]
        for group in groups:
            here = [d for d in found if any(d.values[i] != d.values[group[0]] for i in group)]
            if here:
                yield _differences(here, words, [comparison.outcomes[i].name for i in group], group, width)
    if not comparison.differences:
        yield Text("nothing that was recorded was set up differently", style="dim")


def _table(names: Sequence[str], rows: Sequence[Row], width: int) -> RenderableType:
    """A column for each run, and the names of the rows in front of them, or above each row where they leave too little room."""
    facts = max(FACTS, *(len(name) + GAP for name, _ in rows))
    above = width < facts + (LEAST + GAP) * len(names)
    each = min((width - (GAP if above else facts)) // len(names) - GAP, 40)

    def lines(style: str, *rows: Sequence[Text | str]) -> Table:
        table = Table.grid(padding=(0, GAP, 0, 0))
        if not above:
            table.add_column(style="dim", width=facts - GAP)
        for _ in names:
            table.add_column(style=style, width=each, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    head = [Text(plain(name, each)) for name in names]
    if not above:
        return Group(lines("bold", ["", *head]), lines("", *([Text(name), *cells] for name, cells in rows)))
    parts: list[RenderableType] = [Padding(lines("bold", head), (0, 0, 0, GAP))]
    for name, cells in rows:
        parts += [Text(name, "dim"), Padding(lines("", cells), (0, 0, 0, GAP))]
    return Group(*parts)


def _outcomes(outcomes: Sequence[Outcome], width: int) -> RenderableType:
    rows: list[Row] = []

    def row(name: str, cell: Callable[[Outcome], Text | str]) -> None:
        cells = [cell(outcome) for outcome in outcomes]
        if any(str(text) for text in cells):
            rows.append((name, cells))

    row("verdict", _verdict)
    row("findings", lambda o: " ".join(dict.fromkeys(f.code for f in o.report.findings)) or "none")
    row("not asked", lambda o: " ".join(o.report.not_asked))
    row("layers", lambda o: f"{o.layers:,}")
    row("parameters", lambda o: f"{o.parameters:,}")
    row("steps", lambda o: f"{o.report.steps:,}, {o.status}")
    row("first to last hidden" if outcomes[0].ratio.startswith("hidden") else "first to last", lambda o: _said(o.end_to_end))
    for key, name in CAME_TO.items():
        row(name, partial(_came_to, key=key))
    row("time", lambda o: f"{number(o.wall_seconds.value)} s" if o.wall_seconds else "")
    return _table([outcome.name for outcome in outcomes], rows, width)


def _verdict(outcome: Outcome) -> Text:
    verdict = outcome.report.verdict.value
    sign, style = VERDICT[verdict]
    return Text(f"{sign} {verdict}", style)


def _came_to(outcome: Outcome, key: str) -> str:
    return (_share if key.endswith("accuracy") else _said)(getattr(outcome, key))


def _said(measured: Measured | None) -> str:
    return number(measured.value) if measured else ""


def _share(measured: Measured | None) -> str:
    return f"{number(100.0 * measured.value)}%" if measured else ""


def _strips(comparison: Comparison, runs: Sequence[Run], terminal: Terminal) -> Iterator[RenderableType]:
    """The gradient by layer of each run at its last step that is finite, all on one scale."""
    shown = [_last_finite(depth_profile(run)) for run in runs]
    drawn = [row for row in shown if row is not None]
    sizes = np.concatenate([np.empty(0), *(np.abs(v[s == State.FINITE]) for v, s, _ in drawn)])
    if not sizes.size:
        return
    low, high = float(sizes.min()), float(sizes.max())
    width = min(terminal.width, WIDEST)
    above = width < FACTS + LEAST + STEP
    start = 0 if above else FACTS
    room = width - start - STEP
    yield Text(f"gradient by layer, input to output, in powers of ten: {number(low)} to {number(high)}", style="dim")
    for outcome, row in zip(comparison.outcomes, shown, strict=True):
        if row is None:
            continue
        values, states, step = row
        line = strip(values, states, room, ascii_only=not terminal.unicode, ends=(low, high))
        name = Text(f"{plain(outcome.name, (width if above else FACTS) - GAP):<{start}}", "bold")
        strand = Text.assemble(line.text, (f"  step {step:,}", "dim"))
        yield from [name, strand] if above else [Text.assemble(name, strand, no_wrap=True, overflow="crop")]
        if legend := line.legend(ascii_only=not terminal.unicode):
            yield Padding(Text(", ".join(f"{sign}: {state.words}" for sign, state in legend), style="dim"), (0, 0, 0, start))
    yield ""


def _last_finite(profile: Profile) -> tuple[Any, Any, int] | None:
    shown = profile.measured
    if shown.empty:
        return None
    row = shown.last_finite_row
    return shown.values[row], shown.states[row], int(shown.steps[row])


def _changes(
    base: Outcome, outcome: Outcome, changes: Sequence[Change], runs: tuple[Run, Run], width: int
) -> Iterator[RenderableType]:
    yield Text.assemble("what changed from ", (plain(base.name, 40), "bold"), " to ", (plain(outcome.name, 40), "bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=6)
    table.add_column(max_width=min(width, WIDEST) - 10)
    for change in changes:
        finding = change.finding
        style = "dim" if change.kind is Kind.SAME else SEVERITY[finding.severity]
        what = Text(f"{finding.severity.value} {finding.code} {finding.rule}", style)
        table.add_row(Text(change.kind.value, CHANGE[change.kind]), what)
        for line in evidence(change, runs):
            table.add_row("", Text(line, "dim"))
    if not changes:
        table.add_row("", Text("nothing was found in either", "dim"))
    yield Padding(table, (0, 0, 1, 2))


def evidence(change: Change, runs: tuple[Run, Run]) -> Iterator[str]:
    """Where it was and is, and by which numbers."""
    before, after = change.before, change.after
    if before and after:
        was, now = _where(before, runs[0]), _where(after, runs[1])
        if was or now:
            yield was if was == now else f"{was or 'no layer'} → {now or 'no layer'}"
        yield f"{plain(after.signal)} {number(before.value)} → {number(after.value)}"
        return
    finding, run = change.finding, runs[1] if after else runs[0]
    where = _where(finding, run)
    if where:
        yield where
    yield f"{plain(finding.signal)} {'is' if after else 'was'} {number(finding.value)}"


def _where(finding: Finding, run: Run) -> str:
    return fold(finding.layers, forward_order(run, finding.layers)) if finding.layers else ""


def _differences(
    found: Sequence[Difference], words: str, names: Sequence[str], group: Sequence[int], width: int
) -> RenderableType:
    rows: list[Row] = [(plain(d.path), [Text(value(d.values[i])) for i in group]) for d in found[:MOST]]
    parts: list[RenderableType] = [Text.assemble("what differs ", (words, "bold")), _table(names, rows, width)]
    if len(found) > MOST:
        parts.append(Text(f"and {len(found) - MOST:,} more; --format json has all of them", style="dim"))
    return Padding(Group(*parts), (0, 0, 1, 0))


def value(of: Any) -> str:
    """A value of a config as YAML would have it; nothing where there is no such key."""
    if of is MISSING:
        return "-"
    return plain(of) if isinstance(of, str) else json.dumps(of, ensure_ascii=False, default=str)
