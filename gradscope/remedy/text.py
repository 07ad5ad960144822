"""A fix for people: what was tried and why it failed, and the training before and after."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradscope.numbers import number
from gradscope.remedy.candidate import Outlook
from gradscope.remedy.cure import Fix, Tried
from gradscope.remedy.trial import Trial, said
from gradscope.render.formats.text import VERDICT, profile_strips
from gradscope.render.terminal import PLAIN, WIDEST, Terminal, typeset
from gradscope.render.words import count, plain
from gradscope.signals.profiles import depth_profile


def write(fix: Fix, *, terminal: Terminal = PLAIN) -> str:
    """The whole as text that fits the terminal."""
    return typeset(_page(fix, terminal), terminal)


def _page(fix: Fix, terminal: Terminal) -> RenderableType:
    if fix.healthy:
        return Group(_training("", fix.sick), _lines([learned(fix.sick), _nothing(fix.sick)], terminal))
    parts: list[RenderableType] = [_training("before  ", fix.sick), *_found(fix.sick, terminal), *_strips(fix.sick, terminal)]
    parts += ["", Text("tried, in the order in which theory expects a cure", style="dim")]
    parts += [_tried(number, tried, terminal) for number, tried in enumerate(fix.tried, 1)]
    if hopeless := [f"{c.name}: {c.hopeless}" for c in fix.left if c.hopeless]:
        parts += ["", Text("not tried, since theory expects no cure", style="dim"), _lines(hopeless, terminal)]
    cure = fix.cure
    if cure is None or cure.trial is None:
        return Group(*parts, "", Text("nothing cures it; no file was written", style="bold red"))
    parts += ["", _training("after   ", cure.trial), _lines([learned(cure.trial)], terminal), *_strips(cure.trial, terminal)]
    return Group(*parts, "", _lines(_made(fix.outlook, cure), terminal))


def _nothing(trial: Trial) -> str:
    remark = trial.report.remark
    return f"nothing to cure was found; {remark[:1].lower()}{remark[1:-1]}" if remark else "nothing to cure"


def _training(word: str, trial: Trial) -> Text:
    """The verdict on one training, and on what."""
    sign, style = VERDICT[trial.report.verdict.value]
    return Text.assemble((word, "dim"), (f"{sign} {said(trial.report)}", style))


def _found(trial: Trial, terminal: Terminal) -> list[RenderableType]:
    """What it learned, and what was found that no other finding explains, with its cause."""
    found = [f"{f.code}: {f.message}" + (f" {f.cause[:1].upper()}{f.cause[1:]}." if f.cause else "") for f in trial.open]
    return [_lines([learned(trial), *found], terminal)]


def learned(trial: Trial) -> str:
    """``training loss 0.257, validation accuracy 94.4% (chance 10.3%)``; the validation loss where numbers are predicted."""
    words = [f"training loss {number(trial.loss)}"]
    chance = trial.chance
    if trial.accuracy is not None:
        words.append(
            f"validation accuracy {trial.accuracy:.1%}"
            + (f" (chance {chance.accuracy:.1%})" if chance and chance.accuracy else "")
        )
    elif trial.validation_loss is not None:
        words.append(
            f"validation loss {number(trial.validation_loss)}" + (f" (the mean alone {number(chance.loss)})" if chance else "")
        )
    return ", ".join(words)


def _strips(trial: Trial, terminal: Terminal) -> list[RenderableType]:
    return profile_strips(depth_profile(trial.run), terminal)


def _tried(place: int, tried: Tried, terminal: Terminal) -> RenderableType:
    trial, candidate = tried.trial, tried.candidate
    sign, style = ("✓", "green") if tried.cures else ("✗", "red")
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=min(terminal.width, WIDEST) - 6)
    table.add_row(f"{place}", Text.assemble((f"{sign} {candidate.name}", style), f": {candidate.assignments}"))
    came = "cures" if tried.cures else tried.shortcoming or ""
    if trial is not None:
        came += f"; {learned(trial)}, {count(trial.report.steps, 'step')}"
    table.add_row("", Text(plain(came), style="dim"))
    return Padding(table, (0, 0, 0, 2))


def _made(before: Outlook | None, cure: Tried) -> list[str]:
    """What was changed, with what theory expects of it, and the gradient's factor per layer before and after."""
    words = ["cured by" if cure.cures else "eased by"] + ["and by"] * (len(cure.candidate.applied) - 1)
    told = [f"{w} {p.remedy}: {p.assignments} ({p.expects})" for w, p in zip(words, cure.candidate.applied, strict=True)]
    now = cure.outlook
    if not (before is None or now is None or before == now or before.gain is None or now.gain is None):
        theory = ""
        if before.predicted is not None and now.predicted is not None:
            theory = f" (theory: {number(now.predicted)}, {number(before.predicted)} before)"
        told.append(
            f"at the start a layer passes back {number(now.gain)} of the gradient, {number(before.gain)} before{theory}"
        )
    return told if cure.cures else [*told, f"the best that was found, though {cure.shortcoming}; more steps may help"]


def _lines(lines: list[str], terminal: Terminal) -> RenderableType:
    table = Table.grid()
    table.add_column(max_width=min(terminal.width, WIDEST) - 2)
    for line in lines:
        table.add_row(Text(plain(line)))
    return Padding(table, (0, 0, 0, 2))
