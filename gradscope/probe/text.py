"""A probe for people: the verdict to expect, how deep such a net may be, where the decades go, and the layers as a table."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradscope.detect.rules import exploding_gradients, vanishing_gradients
from gradscope.numbers import number
from gradscope.probe.expectation import over_depth
from gradscope.probe.probe import LayerProbe, Predicted, Probe
from gradscope.probe.recurrence import TimeProbe
from gradscope.render.formats.text import VERDICT
from gradscope.render.terminal import PLAIN, WIDEST, Terminal, typeset
from gradscope.render.words import count, plain
from gradscope.signals.attribution import WORDS

NARROW, WIDE = 72, 110
"""Columns from which on the table has what theory predicts, and the predicted intervals too: no number is cut off."""
NAMES = 22
"""Characters that a layer's name has at most in a narrow table."""


def write(probe: Probe, *, terminal: Terminal = PLAIN) -> str:
    """The diagnosis as text that fits the terminal."""
    return typeset(_page(probe, terminal), terminal)


def _page(probe: Probe, terminal: Terminal) -> RenderableType:
    sign, style = VERDICT[probe.report.verdict.value]
    parts: list[RenderableType] = [
        Text.assemble(
            (f"{sign} {probe.report.verdict.value}", style),
            " to expect   ",
            (plain(probe.name), "bold"),
            (f"   {count(len(probe.layers), 'layer')}, untrained", "dim"),
        )
    ]
    width = min(terminal.width, WIDEST)
    for finding in probe.report.findings:
        parts.append(_paragraph(plain(f"{finding.code} {finding.rule}: {finding.message}"), width))
        if finding.cause and not over_depth(finding):
            parts.append(_paragraph(plain(f"cause: {finding.cause}"), width))
    if words := reach_in_words(probe):
        parts.append(_paragraph(plain(words), width))
    parts += [_paragraph(plain(in_time(found)), width) for found in probe.through_time]
    if probe.decades is not None:
        parts.append(_decades(probe, width))
    parts += ["", _table(probe, terminal), ""]
    parts += [_paragraph(line, width, "dim") for line in _remarks(probe)]
    return Group(*parts)


def reach_in_words(probe: Probe) -> str:
    """How the gradient changes in a layer, and how deep such a net may be."""
    reach = probe.reach
    if reach is None:
        return ""
    change = "stays level"
    if abs(reach.gain - 1.0) >= 0.005:
        gain = number(reach.gain)
        change = f"falls to {gain} of itself per layer" if reach.gain < 1.0 else f"grows {gain} times per layer"
    text = f"At this initialisation the gradient {change} on its way back: "
    low, high = number(vanishing_gradients.RATIO.value), number(exploding_gradients.RATIO.value)
    within = f"within {low} to {high} times that at the last hidden layer"
    if math.isinf(reach.layers):
        return f"{text}{within}, with no trend beyond what chance gives at this width."
    return f"{text}{within} up to about {count(int(reach.layers), 'layer')}; this net has {reach.have:,}."


def in_time(found: TimeProbe) -> str:
    """What a time step of a recurrent layer passes back, and what is left at the first."""
    if found.factor is None:
        return f"Through time, no gradient of the last step of {found.layer} that can be measured reaches the first."
    told = f"Through time, {found.layer} passes back {number(found.factor)} of the gradient a step"
    if found.predicted is not None and found.interval is not None:
        low, high = (number(x, 2) for x in found.interval)
        departs = "" if found.agrees else ", from which it departs"
        told += f" (theory: {number(found.predicted)}, {low} to {high} by chance{departs})"
    if found.ratio is not None:
        told += f": {number(found.ratio)} of it is left after {found.steps - 1} steps"
    why = f" Theory has no prediction of that: {found.theory}." if found.theory else ""
    return f"{told}.{why}"


def _paragraph(text: str, width: int, style: str = "") -> RenderableType:
    body = Table.grid()
    body.add_column(max_width=width - 2)
    body.add_row(Text(text, style=style))
    return Padding(body, (0, 0, 0, 2))


def _decades(probe: Probe, width: int) -> RenderableType:
    """Each kind's share of the whole, in powers of ten."""
    decades = probe.decades or {}
    whole = sum(decades.values())
    told = [f"{WORDS[kind]} {value:+.2f}" for kind, value in decades.items() if abs(value) >= 0.005]
    text = f"decades from the last layer to the first: {whole:+.2f}" + (f" = {', '.join(told)}" if told else "")
    parts = [_paragraph(text, width)]
    if probe.cause:
        parts.append(_paragraph(f"cause: {probe.cause}", width))
    return Group(*parts)


def _table(probe: Probe, terminal: Terminal) -> RenderableType:
    wide = terminal.width >= WIDE
    predicted = terminal.width >= NARROW and any(layer.predicted for layer in probe.layers)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    heads = ["signal", "gain", "ratio"]
    if predicted:
        heads = ["signal", "theory", "gain", "theory", *(["allowed"] if wide else []), "ratio", "theory"]
        heads += ["allowed"] if wide else []
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    if predicted:
        table.add_column("", no_wrap=True)
    for layer in probe.layers:
        name = Text(plain(layer.name, None if wide else NAMES))
        style = "bold yellow" if layer.agrees is False else ""
        if not predicted:
            table.add_row(name, _number(layer.rms), _number(layer.gain), _number(layer.ratio), style=style)
            continue
        table.add_row(name, *_columns(layer, wide), "departs" if layer.agrees is False else "", style=style)
    return Padding(table, (0, 0, 0, 2))


def _columns(layer: LayerProbe, wide: bool) -> list[str]:
    p = layer.predicted
    if p is None:
        unknown = [""] * (1 + wide)
        return [_number(layer.rms), "", _number(layer.gain), *unknown, _number(layer.ratio), *unknown]
    columns = [_number(layer.rms), _number(p.rms), _number(layer.gain), _number(p.gain)]
    if wide:
        columns.append(_interval(p.gain_interval))
    columns += [_number(layer.ratio), _number(p.ratio)]
    if wide:
        columns.append(_interval(p.ratio_interval))
    return columns


def _interval(interval: tuple[float, float] | None) -> str:
    return f"{number(interval[0], 2)} - {number(interval[1], 2)}" if interval else ""


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


def _remarks(probe: Probe) -> list[str]:
    lines = ["gain: the gradient's norm from a layer's output to the one before; ratio: against the last layer"]
    if probe.theory is not None:
        what = "over depth" if probe.through_time else "for this net"
        lines.append(f"theory: no prediction {what}: {plain(probe.theory)}")
    elif probe.departures:
        named = ", ".join(plain(name) for name in probe.departures[:3]) + (", ..." if len(probe.departures) > 3 else "")
        lines.append(
            f"theory: {len(probe.departures)} of {count(len(probe.layers), 'layer')} depart from the prediction by more than "
            f"chance allows at this width ({named}); weights that are not freshly drawn, or an input far from Gaussian, do that"
        )
    elif any(isinstance(layer.predicted, Predicted) for layer in probe.layers):
        lines.append("theory: every layer is where it is predicted, as near as chance allows at this width")
    return [*lines, *(f"note: {plain(note)}" for note in probe.notes)]
