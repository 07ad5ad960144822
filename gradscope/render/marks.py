"""Findings drawn into figures: a lane of bars over the axis they belong to, bands and boxes in the data, thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gradscope.record.finding import Finding, Report
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.render.words import contiguous, count, number

LANE = 0.175
"""Inches that one finding's bar takes."""
MOST = 4
"""Findings that get a bar; of more, the number is said."""

Span = tuple[float, float]
Mark = tuple[Finding, list[Span], str]
"""A finding, where it stands along an axis, and its colour."""


def positions(finding: Finding, run: Run, layers: Sequence[str]) -> list[int]:
    """Where a finding's layers stand among ``layers``: by name, a parameter at its layer, others at the station before."""
    place = {name: i for i, name in enumerate(layers)}
    station: dict[str, int] = {}
    at = 0
    for layer in run.catalogue.layers:
        at = place.get(layer.name, at)
        station[layer.name] = at
    for parameter in run.catalogue.parameters:
        station.setdefault(parameter.name, station.get(parameter.layer, place.get(parameter.layer, -1)))
    found = (place.get(name, station.get(name, -1)) for name in finding.layers)
    return sorted({i for i in found if i >= 0})


def over_layers(runs: Sequence[Run], reports: Sequence[Report], layers: Sequence[Sequence[str]]) -> list[Mark]:
    """Each finding that names layers, along an axis of layers 1 to L."""
    marks = []
    for i, (run, report, names) in enumerate(zip(runs, reports, layers, strict=False)):
        for finding in report.findings:
            spans = [(a + 0.5, b + 1.5) for a, b in contiguous(positions(finding, run, names))]
            if spans:
                marks.append((finding, spans, _colour(finding, i, len(runs))))
    return marks


def over_steps(runs: Sequence[Run], reports: Sequence[Report]) -> list[Mark]:
    """Each finding, along an axis of steps."""
    return [
        (finding, [(finding.steps[0] - 0.5, finding.steps[1] + 0.5)], _colour(finding, i, len(runs)))
        for i, (_, report) in enumerate(zip(runs, reports, strict=False))
        for finding in report.findings
    ]


def lane_height(marks: Sequence[Mark]) -> float:
    """Inches that a lane for these needs; 0 for none."""
    return LANE * min(len(marks), MOST + 1)


def lane(axes: Axes, marks: Sequence[Mark], limits: tuple[float, float]) -> None:
    """One bar per finding over the stretch it concerns, with its code and rule; the worst is at the bottom, by the data."""
    rows = min(len(marks), MOST + 1)
    axes.set_axis_off()
    axes.set_xlim(*limits)
    axes.set_ylim(0, rows)
    low, high = limits
    for row, (finding, spans, colour) in enumerate(marks[:MOST]):
        for start, stop in spans:
            axes.add_patch(
                Rectangle((start, row + 0.08), stop - start, 0.16, color=colour, lw=0, gid=f"finding-{finding.code}")
            )
        start, stop = spans[0][0], spans[-1][1]
        middle = min(max((start + stop) / 2, low + 0.14 * (high - low)), high - 0.14 * (high - low))
        axes.text(middle, row + 0.32, f"{finding.code} {finding.rule}", size=7.5, color=colour, ha="center", va="bottom")
    if len(marks) > MOST:
        axes.text(
            (low + high) / 2,
            MOST + 0.3,
            f"and {count(len(marks) - MOST, 'more finding')}",
            size=7.5,
            color=theme.QUIET,
            ha="center",
        )


def bands(axes: Axes, marks: Iterable[Mark]) -> None:
    """The stretch of each finding shaded through the data, with its ends drawn so that it is seen without colour."""
    for finding, spans, colour in marks:
        for start, stop in spans:
            axes.axvspan(start, stop, color=colour, alpha=0.07, lw=0, zorder=0.5, gid=f"finding-{finding.code}")
            for edge in (start, stop):
                axes.axvline(edge, color=colour, lw=0.7, alpha=0.5, zorder=0.6)


def boxes(axes: Axes, run: Run, report: Report, layers: Sequence[str], end: int) -> None:
    """The layers and steps of each finding as a frame in a map of layers over steps, with its code."""
    outline = [withStroke(linewidth=2.6, foreground="white")]
    for row, finding in enumerate(report.findings):
        start, stop = finding.steps[0] - 0.5, finding.steps[1] + 0.5
        spans = contiguous(positions(finding, run, layers))
        for a, b in spans:
            frame = Rectangle((start, a + 0.5), stop - start, b - a + 1, fill=False, gid=f"finding-{finding.code}", lw=1.3)
            frame.set(edgecolor=theme.SEVERITY[finding.severity], path_effects=outline, clip_on=False, zorder=5)
            axes.add_patch(frame)
        if spans:
            x = start + (stop - start) * 0.02 if stop - start > 0.12 * end else start
            near_end = x > 0.85 * end
            text = axes.text(x, spans[-1][1] + 1.25, finding.code, size=8, weight="bold", ha="right" if near_end else "left")
            text.set(color=theme.SEVERITY[finding.severity], path_effects=outline, va="top", zorder=6 + row)


def thresholds(axes: Axes, findings: Iterable[Finding], scale: Mapping[str, tuple[float, str]], *, left: bool = False) -> None:
    """A dashed line where a finding's threshold lies, said at the left or the right end.

    ``scale`` maps a signal to the height that 1 has on this axis, and to the words for what it is a share of.
    """
    for finding in {(f.code, f.signal, f.threshold): f for f in findings if drawable(f, scale)}.values():
        unit, of = scale[finding.signal]
        colour, height = theme.SEVERITY[finding.severity], finding.threshold * unit
        axes.axhline(height, color=colour, lw=1.0, ls=(0, (4, 3)), zorder=1.5, gid=f"threshold-{finding.code}")
        axes.text(
            0.006 if left else 0.994,
            height,
            f"{finding.code} threshold: {number(finding.threshold)}{of}",
            transform=axes.get_yaxis_transform(),
            size=7.5,
            color=colour,
            ha="left" if left else "right",
            va="bottom",
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )


def drawable(finding: Finding, scale: Mapping[str, tuple[float, str]]) -> bool:
    """Whether a finding's threshold has a height on an axis of this scale."""
    return finding.signal in scale and finding.state == "finite" and finding.threshold > 0.0


def _colour(finding: Finding, i: int, runs: int) -> str:
    return theme.SEVERITY[finding.severity] if runs == 1 else theme.run_look(i).colour
