"""Findings drawn into figures: a lane of bars over the axis they belong to, bands and boxes in the data, thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gradscope.numbers import number
from gradscope.record.finding import Finding, Report
from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.render.places import positions
from gradscope.render.rows import labels
from gradscope.render.words import contiguous, count, plain

LANE = 0.175
"""Inches that one finding's bar takes."""
MOST = 4
"""Findings that get a bar; of more, the number is said."""

CODE = (0.5, 0.15)
"""Inches, wide and high, that a finding's code takes in a map."""
WORDS, LETTER = 0.14, 0.057
"""Inches that the words on a threshold take, and about so many for each letter."""

Span = tuple[float, float]
Places = list[tuple[bool, float]]
"""Where words stand on lines: whether at the left, and over which height in inches."""


@dataclass(frozen=True)
class Mark:
    """A finding and where it stands along an axis; of several runs in the run's colour and with its name."""

    finding: Finding
    spans: Sequence[Span]
    colour: str
    label: str


def over_layers(runs: Sequence[Run], reports: Sequence[Report], layers: Sequence[Sequence[str]]) -> list[Mark]:
    """Each finding that names layers, along an axis of layers 1 to L."""
    marks = []
    for i, (run, report, names) in enumerate(zip(runs, reports, layers, strict=False)):
        for finding in report.findings:
            spans = [(a + 0.5, b + 1.5) for a, b in contiguous(positions(finding, run, names))]
            if spans:
                marks.append(mark(finding, spans, i, runs))
    return marks


def over_steps(runs: Sequence[Run], reports: Sequence[Report]) -> list[Mark]:
    """Each finding, along an axis of steps."""
    return [
        mark(finding, [(finding.steps[0] - 0.5, finding.steps[1] + 0.5)], i, runs)
        for i, (_, report) in enumerate(zip(runs, reports, strict=False))
        for finding in report.findings
    ]


def lane_height(marks: Sequence[Mark]) -> float:
    """Inches that a lane for these needs; 0 for none."""
    return LANE * min(len(marks), MOST + 1)


def lane(axes: Axes, marks: Sequence[Mark]) -> None:
    """Over the axes, one bar per finding along what it concerns, with its code and rule; the first next to the data."""
    wide, tall = theme.inches(axes)
    low, high = axes.get_xlim()
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}

    def up(inches: float) -> float:
        return 1.0 + inches / tall

    for row, mark in enumerate(marks[:MOST]):
        foot = 0.03 + row * LANE
        spans = [(max(start, low), min(stop, high)) for start, stop in mark.spans if start < high and stop > low]
        for start, stop in spans:
            bar = Rectangle((start, up(foot)), stop - start, 0.026 / tall, color=mark.colour, lw=0, **place)
            bar.set_gid(f"finding-{mark.finding.code}")
            axes.add_patch(bar)
        room = min(0.034 * len(mark.label) / wide, 0.5) * (high - low)
        middle = (spans[0][0] + spans[-1][1]) / 2 if spans else high
        middle = min(max(middle, low + room), high - room)
        axes.text(middle, up(foot + 0.035), mark.label, size=7.5, color=mark.colour, ha="center", va="bottom", **place)
    if len(marks) > MOST:
        more = f"and {count(len(marks) - MOST, 'more finding')}"
        axes.text((low + high) / 2, up(0.06 + MOST * LANE), more, size=7.5, color=theme.QUIET, ha="center", **place)


def bands(axes: Axes, marks: Iterable[Mark]) -> None:
    """The stretch of each finding shaded through the data, with its ends drawn so that it is seen without colour."""
    for mark in marks:
        for start, stop in mark.spans:
            low, high = axes.get_xlim()
            if start <= low and high <= stop:
                continue  # all of it: the lane says so, and shade everywhere shows nothing
            axes.axvspan(start, stop, color=mark.colour, alpha=0.07, lw=0, zorder=0.5, gid=f"finding-{mark.finding.code}")
            for edge in (start, stop):
                axes.axvline(edge, color=mark.colour, lw=0.7, alpha=0.5, zorder=0.6)


def boxes(axes: Axes, run: Run, report: Report, layers: Sequence[str], end: int) -> None:
    """The layers and steps of each finding as a frame in a map of layers over the steps up to ``end``, with its code."""
    outline, taken = [withStroke(linewidth=2.6, foreground="white")], list[tuple[float, float]]()
    across, (wide, _) = end + 1.0, theme.inches(axes)
    for row, finding in enumerate(report.findings):
        start, stop = finding.steps[0] - 0.5, min(finding.steps[1], end) + 0.5
        if start >= end:
            continue
        spans = contiguous(positions(finding, run, layers))
        for a, b in spans:
            frame = Rectangle((start, a + 0.5), stop - start, b - a + 1, fill=False, gid=f"finding-{finding.code}", lw=1.3)
            frame.set(edgecolor=theme.SEVERITY[finding.severity], path_effects=outline, clip_on=False, zorder=5)
            axes.add_patch(frame)
        if spans:
            near_end = start > 0.85 * end
            corner = (start, spans[-1][1] + 1.5)
            x, y = wide * start / across, theme.up(axes, corner[1])
            under = 0.0
            while any(abs(x - a) < CODE[0] and abs(y - under - b) < CODE[1] for a, b in taken):
                under += CODE[1]  # another's code stands there
            taken.append((x, y - under))
            inside = (-3.0 if near_end else 3.0, -2.5 - 72.0 * under)
            place: dict[str, Any] = {"xytext": inside, "textcoords": "offset points", "va": "top"}
            text = axes.annotate(finding.code, corner, ha="right" if near_end else "left", size=8, weight="bold", **place)
            text.set(color=theme.SEVERITY[finding.severity], path_effects=outline, zorder=6 + row)


def thresholds(axes: Axes, findings: Iterable[Finding], scale: Mapping[str, tuple[float, str]], curve: Floats) -> Places:
    """A dashed line where a finding's threshold lies, with its words as ``caption`` places them; these places.

    ``scale`` maps a signal to the height that 1 has on this axis, and to the words for what it is a share of.
    """
    taken: Places = []
    for finding in {(f.code, f.signal, f.threshold): f for f in findings if drawable(f, scale)}.values():
        unit, of = scale[finding.signal]
        colour, height = theme.SEVERITY[finding.severity], finding.threshold * unit
        words = f"{finding.code} threshold: {_limit(finding)}{of}"
        axes.axhline(height, color=colour, lw=1.0, ls=(0, (4, 3)), zorder=1.5, gid=f"threshold-{finding.code}")
        caption(axes, height, words, colour, curve, taken)
    return taken


def caption(axes: Axes, height: float, words: str, colour: str, curve: Floats, taken: Places) -> None:
    """Words on a line at a height: at the end at which the curve (its values (n,), first position to last, or several (k, n))
    keeps further off, over the line or under it, as the curve, the words in ``taken`` and the ends of the axis leave room.
    """
    span = max(1, math.ceil(curve.shape[-1] * LETTER * len(words) / theme.inches(axes)[0]))
    ends = {True: curve[..., :span], False: curve[..., -span:]}
    first = _distance(ends[True], height) > _distance(ends[False], height)
    at, low, high = theme.up(axes, height), *(theme.up(axes, end) for end in axes.get_ylim())

    def trouble(place: tuple[bool, bool]) -> tuple[bool, float]:
        left, over = place
        foot = at if over else at - WORDS
        out = foot < low or foot + WORDS > high
        met = any(left == side and abs(foot - other) < 0.99 * WORDS for side, other in taken)
        return out or met, -min(_clear(axes, ends[left], foot), WORDS)

    left, over = min(((side, over) for side in (first, not first) for over in (True, False)), key=trouble)
    taken.append((left, at if over else at - WORDS))
    axes.text(
        0.006 if left else 0.994,
        height,
        words,
        transform=axes.get_yaxis_transform(),
        size=7.5,
        color=colour,
        ha="left" if left else "right",
        va="bottom" if over else "top",
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )


def _clear(axes: Axes, curve: Floats, foot: float) -> float:
    """Inches between a piece of a curve and words that stand on ``foot`` inches; 0 where it runs through them."""
    there = [theme.up(axes, float(value)) for value in curve[(curve > 0.0) & np.isfinite(curve)]]
    return max(min(there) - foot - WORDS, foot - max(there), 0.0) if there else math.inf


def _distance(curve: Floats, height: float) -> float:
    """How far, as a logarithm, a piece of a curve keeps from a height; 0 where it crosses it."""
    there = curve[(curve > 0.0) & np.isfinite(curve)]
    if not there.size:
        return math.inf
    off = np.log(there / height)
    return 0.0 if off.min() < 0.0 < off.max() else float(np.abs(off).min())


def _limit(finding: Finding) -> str:
    """A threshold as its axis has it: shares in per cent."""
    return f"{number(100.0 * finding.threshold)}%" if finding.signal.endswith("_share") else number(finding.threshold)


def drawable(finding: Finding, scale: Mapping[str, tuple[float, str]]) -> bool:
    """Whether a finding's threshold has a height on an axis of this scale."""
    return finding.signal in scale and finding.state == "finite" and finding.threshold > 0.0


def mark(finding: Finding, spans: Sequence[Span], i: int, runs: Sequence[Run]) -> Mark:
    """A finding of the i-th run: in its severity's colour, of several runs in the run's and with its name."""
    name = f"{finding.code} {finding.rule}{' through time' if finding.timesteps else ''}"
    if len(runs) == 1:
        return Mark(finding, spans, theme.SEVERITY[finding.severity], name)
    return Mark(finding, spans, theme.run_look(i).colour, f"{name}: {plain(labels(runs)[i], 30)}")
