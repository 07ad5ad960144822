"""The verdict for people: what is wrong, by which numbers, why, and what to do; with the gradient by layer as a strip."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradscope.numbers import number
from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.run import Run
from gradscope.render.strip import strip
from gradscope.render.terminal import PLAIN, WIDEST, Terminal, typeset
from gradscope.render.words import chance, count, ended, evidence, fold, forward_order, plain, span
from gradscope.signals.profiles import Profile, depth_profile

NAME = "text"
SUFFIX = ".txt"

VERDICT = {"healthy": ("✓", "bold green"), "pathological": ("✗", "bold red"), "inconclusive": ("?", "bold yellow")}
SEVERITY = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold blue"}


def write(report: Report, run: Run | None = None, *, terminal: Terminal = PLAIN) -> str:
    """The verdict as text that fits the terminal; with the run, its layers, its profile and what could not be seen."""
    return typeset(verdict(report, run, terminal=terminal), terminal)


def verdict(report: Report, run: Run | None = None, *, terminal: Terminal = PLAIN) -> RenderableType:
    """The same for a rich console."""
    parts: list[RenderableType] = [_headline(report, run)]
    if report.remark is not None:
        body = Table.grid()
        body.add_column(max_width=min(terminal.width, WIDEST) - 2)
        body.add_row(Text(plain(report.remark), style="yellow"))
        parts.append(Padding(body, (0, 0, 0, 2)))
    if run is not None:
        parts += profile_strips(depth_profile(run), terminal)
    for finding in report.findings:
        parts += ["", _finding(finding, run, min(terminal.width, WIDEST))]
    parts += [Padding(Text(f"note: {plain(note)}", style="dim"), (1, 0, 0, 0)) for note in (run.manifest.notes if run else ())]
    return Group(*parts)


def _headline(report: Report, run: Run | None) -> Text:
    sign, style = VERDICT[report.verdict.value]
    facts = [count(report.steps, "step")]
    if run is not None:
        facts = [count(sum(layer.trunk for layer in run.catalogue.layers), "layer"), *facts, ended(run)]
    kinds = [(s, sum(f.severity is s for f in report.findings)) for s in sorted(Severity, key=lambda s: -s.rank)]
    found = ", ".join(count(n, s.value) for s, n in kinds if n and s is not Severity.INFO) or (
        "nothing serious" if report.findings else "nothing new" if report.known else "nothing found"
    )
    found = ", ".join([found, *([f"{report.known:,} known"] if report.known else []), *report.left_out])
    if not (report.steps and report.gradients):
        found = f"no {'gradient' if report.steps else 'step'} was recorded"
    return Text.assemble(
        (f"{sign} {report.verdict.value}", style),
        f": {found}   ",
        (plain(report.run), "bold"),
        (f"   {', '.join(facts)}", "dim"),
    )


def profile_strips(profile: Profile, terminal: Terminal) -> list[RenderableType]:
    """The last recorded gradient by layer, and the last that was finite throughout where that is another."""
    shown = profile.measured
    if shown.empty or len(shown.layers) < 2:
        return []
    parts: list[RenderableType] = [
        Padding(Text("gradient by layer, from input to output, in powers of ten", style="dim"), (1, 0, 0, 2))
    ]
    for row in sorted({shown.last_finite_row, len(shown.steps) - 1}):
        line = strip(shown.values[row], shown.states[row], min(terminal.width, WIDEST) - 4, ascii_only=not terminal.unicode)
        words = [] if line.low is None or line.high is None else [f"{number(line.low)} to {number(line.high)}"]
        words += [f"{sign}: {state.words}" for sign, state in line.legend(ascii_only=not terminal.unicode)]
        parts.append(Padding(Text(line.text, no_wrap=True, overflow="crop"), (0, 0, 0, 2)))
        parts.append(Padding(Text(f"step {shown.steps[row]:,}: {', '.join(words)}", style="dim"), (0, 0, 0, 2)))
    return parts


def _finding(finding: Finding, run: Run | None, width: int) -> RenderableType:
    head = Text.assemble(
        (f"{finding.severity.value} {finding.code} {finding.rule}", SEVERITY[finding.severity]),
        (f"  confidence {number(finding.confidence, 2)}", "dim"),
    )
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")

    def fact(name: str, text: str | None, style: str = "") -> None:
        for i, line in enumerate(text.split("\n") if text else ()):
            facts.add_row(name if i == 0 else "", Text(plain(line), style=style))

    fact("layers", fold(finding.layers, forward_order(run, finding.layers)) if finding.layers else None)
    fact("steps", span(finding.steps))
    fact("time", f"time steps {span(finding.timesteps)}" if finding.timesteps else None)
    fact("measured", evidence(finding))
    fact("", chance(finding))
    cause = finding.cause or ("" if finding.cause_code is None else "explained by")
    fact("cause", f"{cause} ({finding.cause_code})" if finding.cause_code else cause)
    for i, remedy in enumerate(finding.remedies):
        fact("try" if i == 0 else "", remedy, "green")
    body = Table.grid()
    body.add_column(max_width=width - 2)
    body.add_row(Text(plain(finding.message)))
    body.add_row(facts)
    return Group(head, Padding(body, (0, 0, 0, 2)))
